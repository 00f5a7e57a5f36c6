"""`python -m benchmarks.reading [megabytes=10,1000]`: whether memory grows with a document that an actor reads itself.

Prints JSON: tokens, megabytes of text per CPU-second and peak memory of a process that sends one text of each size
through reading, extraction, cutting and tokenising, with a counter in place of the model, and how far the peaks are
apart. Each size is read in a fresh process. With the tokenizer of the default model 1 GB takes some twelve minutes.
"""

import json
import random
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from pydoc_data.topics import topics

import torch

from benchmarks import measure
from benchmarks.length import peak_bytes, spread
from configs.settings import InputSettings
from models.tokenizer import Tokenizer
from pipeline.documents import Document
from pipeline.token_feed import TokenFeed

MEGABYTE = 1_000_000
STEP_TOKENS = 2048


def write_text(path: Path, num_bytes: int) -> None:
    """Real words in ever new order, in paragraphs."""
    words, draw = " ".join(topics.values()).split(), random.Random(0)
    with path.open("wb") as file:
        while (missing := num_bytes - file.tell()) > 0:
            line = " ".join(draw.choices(words, k=draw.randint(5, 120))) + f" {draw.random()}\n"
            file.write(line.encode()[:missing])


def read_one(path: Path, tokenizer: str) -> dict[str, float]:
    """In this process."""
    news, tokens = threading.Event(), 0
    source = Document(str(path), str(path), "etag", path.stat().st_size)
    inputs = InputSettings(sources=(str(path),))
    found = Tokenizer.find(tokenizer or None, "default")
    loaded = peak_bytes()
    feed = TokenFeed(source, inputs, found, news.set)

    def read() -> None:
        nonlocal tokens
        while not (feed.ended and not feed.ready):
            news.clear()
            while count := min(feed.ready, STEP_TOKENS):
                tokens += len(feed.take(count))
            if not feed.ended:
                news.wait()

    seconds = measure.cpu_seconds(read)
    feed.close()
    return {
        "megabytes": source.size_bytes / MEGABYTE,
        "tokens": tokens,
        "cpu_seconds": round(seconds, 1),
        "megabytes_per_cpu_second": round(source.size_bytes / MEGABYTE / seconds, 2),
        "peak_rss_bytes_before": loaded,
        "peak_rss_bytes": peak_bytes(),
    }


def in_a_fresh_process(megabytes: float, tokenizer: str, directory: str) -> dict[str, float]:
    path = Path(directory) / "document.txt"
    write_text(path, round(megabytes * MEGABYTE))
    command = [sys.executable, "-m", "benchmarks.reading", f"one={path}", f"tokenizer={tokenizer}"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main(megabytes: str, tokenizer: str, one: str) -> None:
    if one:
        print(json.dumps(read_one(Path(one), tokenizer)))
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        readings = [in_a_fresh_process(float(size), tokenizer, directory) for size in megabytes.split(",")]
    measure.publish(
        "reading",
        tokenizer=tokenizer or "default",
        readings=readings,
        spread={"peak_rss_bytes": spread([reading["peak_rss_bytes"] for reading in readings])},
    )


if __name__ == "__main__":
    main(**measure.arguments(megabytes="10,1000", tokenizer="", one=""))
