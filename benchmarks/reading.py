"""`python -m benchmarks.reading [megabytes=10,1000] [model=default]`: whether memory grows with a long document.

Prints JSON: tokens, megabytes of text per CPU-second and peak memory of a process that sends one text of each size
through reading, extraction, cutting and tokenizing, with a counter in place of the model unless one is named, and how
far the peaks are apart. Each size is read in a fresh process. With the tokenizer of the default model 1 GB takes some
twelve minutes; with the default model 20 MB take half an hour.
"""

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pydoc_data.topics import topics

import torch

from benchmarks import measure
from benchmarks.length import peak_bytes, spread
from configs.settings import InputSettings
from models.backends import engines, heap
from models.engine.request import Prompt, Request, Sampling
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.documents.token_feed import TokenFeed
from pipeline.schemas.document import Document

MEGABYTE = 1_000_000
STEP_TOKENS = 2048


def write_text(path: Path, num_bytes: int, seed: int = 0) -> None:
    """Real words in ever new order, in paragraphs."""
    words, draw = " ".join(topics.values()).split(), random.Random(seed)
    with path.open("wb") as file:
        while (missing := num_bytes - file.tell()) > 0:
            line = " ".join(draw.choices(words, k=draw.randint(5, 120))) + f" {draw.random()}\n"
            file.write(line.encode()[:missing])


def read_one(path: Path, tokenizer: str, model: str) -> dict[str, float]:
    """In this process."""
    news = threading.Event()
    source = Document(str(path), str(path), "etag", path.stat().st_size)
    inputs = InputSettings(sources=(str(path),))
    found = Tokenizer.find(tokenizer or None, model or "default")
    read = through(model, found, news) if model else partial(count, news=news)
    loaded = peak_bytes()
    feed = TokenFeed(source, inputs, found, news.set)
    started = time.process_time()
    tokens = read(feed)
    seconds = time.process_time() - started
    feed.close()
    return {
        "megabytes": source.size_bytes / MEGABYTE,
        "tokens": tokens,
        "cpu_seconds": round(seconds, 1),
        "megabytes_per_cpu_second": round(source.size_bytes / MEGABYTE / seconds, 3),
        "peak_rss_bytes_before": loaded,
        "peak_rss_bytes": peak_bytes(),
    }


def count(feed: TokenFeed, news: threading.Event) -> int:
    tokens = 0
    while not (feed.ended and not feed.ready):
        news.clear()
        while ready := min(feed.ready, STEP_TOKENS):
            tokens += len(feed.take(ready))
        if not feed.ended:
            news.wait()
    return tokens


def through(model: str, tokenizer: Tokenizer, news: threading.Event) -> Callable[[TokenFeed], int]:
    """What reads a document with the engine, as an actor does, and answers one question."""
    heap.keep_freed_memory()
    torch.set_num_threads(1)
    loaded = checkpoint.load(checkpoint.resolve(model), torch.float32, "cpu")
    engine = engines.around(loaded, {tokenizer.end_id}, num_slots=2, step_tokens=STEP_TOKENS)
    engine.warm_up()

    def read(feed: TokenFeed) -> int:
        engine.submit(Request("document", feed, (Prompt((tokenizer.end_id,), Sampling(max_tokens=1)),)))
        tokens = 0
        while engine.busy:
            news.clear()
            done = engine.step()
            tokens += sum(finished.tokens_read for finished in done.finished)
            if done.kind == "wait" and engine.busy:
                news.wait()
        return tokens

    return read


def in_a_fresh_process(megabytes: float, tokenizer: str, model: str, directory: str) -> dict[str, float]:
    path = Path(directory) / "document.txt"
    write_text(path, round(megabytes * MEGABYTE))
    command = [sys.executable, "-m", "benchmarks.reading", f"one={path}", f"tokenizer={tokenizer}", f"model={model}"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main(megabytes: str, tokenizer: str, model: str, one: str) -> None:
    if one:
        print(json.dumps(read_one(Path(one), tokenizer, model)))
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        readings = [in_a_fresh_process(float(size), tokenizer, model, directory) for size in megabytes.split(",")]
    measure.publish(
        "reading",
        tokenizer=tokenizer or model or "default",
        model=model or "none",
        readings=readings,
        spread={"peak_rss_bytes": spread([reading["peak_rss_bytes"] for reading in readings])},
    )


if __name__ == "__main__":
    main(**measure.arguments(megabytes="10,1000", tokenizer="", model="", one=""))
