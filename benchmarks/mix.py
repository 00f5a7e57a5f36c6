"""`python -m benchmarks.mix [scale=0.1] [model=default] [plot=FILE.png]`: whether a mix of lengths keeps a device busy.

One document of a million tokens and 200 of 2K to 20K, times `scale`, against a uniform load of as many documents and
tokens: the engine alone, in turn, in CPU-seconds of one thread; and the mix through `jobs.summarize` and Ray Data,
against the engine alone by wall time. Prints JSON; plots the documents and answers in the slots over time.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import measure
from models.backends import engines
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, Request, Sampling
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.prompts import template

LONG, MANY, LEAST, MOST = 1_000_000, 200, 2000, 20_000
SLOTS, STEP_TOKENS, ANSWER_TOKENS = 16, 2048, 32
SAMPLING = Sampling(ANSWER_TOKENS)
Sample = tuple[float, int, int]
"""CPU-seconds since the start, documents being read, answers in the slots."""


def lengths_of_mix(scale: float) -> list[int]:
    """The longest first, as the driver of a run sends them."""
    random = np.random.default_rng(0)
    short = random.integers(LEAST, MOST, int(MANY * scale)).tolist()
    return [int(LONG * scale), *sorted(short, reverse=True)]


def run(engine: Engine, documents: list[np.ndarray], question: tuple[int, ...]) -> tuple[list[Sample], float, float]:
    """Slot occupancy by pass, CPU-seconds and seconds."""
    for name, tokens in enumerate(documents):
        engine.submit(Request(name, ArrayFeed(tokens), (Prompt(question, SAMPLING),)))
    samples, cpu, wall = [], time.process_time(), time.monotonic()
    while engine.busy:
        engine.step()
        samples.append((time.process_time() - cpu, engine.num_reading, engine.num_answering))
    return samples, time.process_time() - cpu, time.monotonic() - wall


def text_of(num_tokens: int, tokenizer: Tokenizer, seed: int) -> tuple[str, np.ndarray]:
    """English of about so many tokens, and its tokens: the Python reference, begun at another place for each seed."""
    from pydoc_data.topics import topics

    everything = "\n\n".join(topics.values())
    start = everything.find("\n", seed * 7919 % (len(everything) // 2))
    text = (everything[start:] + everything) * (1 + num_tokens * 5 // len(everything))
    parts, count = [], 1
    for part in tokenize.cut([text]):
        if count >= num_tokens:
            break
        parts.append(part)
        count += len(tokenizer.encode(part))
    return "".join(parts), tokenize.tokens(parts, tokenizer)


def through_ray(texts: list[str], model: str) -> dict[str, Any]:
    """The same documents through `jobs.summarize`: the run's row in `jobs` and what its actor did."""
    with tempfile.TemporaryDirectory() as scratch:
        for index, text in enumerate(texts):
            (Path(scratch) / "docs").mkdir(exist_ok=True)
            (Path(scratch) / f"docs/{index:04}.txt").write_text(text, encoding="utf-8")
        settings = [
            f"input.sources=[{scratch}/docs]", f"output.uri={scratch}/out", f"model.uri={model}",
            f"engine.slots={SLOTS}", f"engine.step_tokens={STEP_TOKENS}", "citations=false",
            f"prompts=[{{name: summary, instruction: Summarize., max_tokens: {ANSWER_TOKENS}}}]",
            "run.ray_address=local",
        ]  # fmt: skip
        command = [sys.executable, "-m", "jobs.summarize", "configs/demo.yaml", *settings]
        subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[1])
        sums = "sum(device_seconds)::double as seconds, sum(tokens_read)::bigint as tokens"
        query = f"select kind, {sums} from costs group by 1"
        command = [sys.executable, "-m", "jobs.query", f"{scratch}/out", query, "--format", "json"]
        rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    by_kind = {row["kind"]: row for row in rows}
    return {
        "tokens": by_kind["document"]["tokens"],
        "seconds_on_documents": by_kind["document"]["seconds"],
        "seconds_idle": by_kind.get("idle", {"seconds": 0.0})["seconds"],
    }


def plot(curves: dict[str, list[Sample]], path: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(curves), 1, figsize=(9, 2.6 * len(curves)), sharex=True, layout="constrained")
    for axis, (name, samples) in zip(axes, curves.items(), strict=True):
        seconds, reading, answering = zip(*samples, strict=True)
        axis.stackplot(seconds, reading, answering, labels=("being read", "answering"), colors=("#3b6ea5", "#e0a458"))
        axis.set_title(name, loc="left")
        axis.set_ylabel("documents and answers")
    axes[0].legend(loc="upper right", frameon=False)
    axes[-1].set_xlabel("CPU-seconds")
    figure.savefig(path, dpi=110)


def main() -> None:
    given = measure.arguments(scale="0.1", model="default", plot="benchmarks/results/mix-occupancy.png")
    torch.set_num_threads(1)
    directory = checkpoint.resolve(given["model"])
    model, tokenizer = checkpoint.load(directory), Tokenizer.load(directory)
    question = tuple(tokenizer.encode(template.render("Summarize the document.")))
    lengths = lengths_of_mix(float(given["scale"]))
    pairs = [text_of(length, tokenizer, seed) for seed, length in enumerate(lengths)]
    mix = [tokens for _, tokens in pairs]
    everything = np.concatenate(mix)
    loads = {"mix": mix, "uniform": np.array_split(everything, len(mix))}
    curves, report = {}, {}
    for name, documents in loads.items():
        engine = engines.around(model, {tokenizer.end_id}, SLOTS, STEP_TOKENS)
        engine.warm_up()
        curves[name], cpu, wall = run(engine, documents, question)
        report[name] = {
            "documents": len(documents),
            "tokens": len(everything),
            "longest": max(map(len, documents)),
            "tokens_per_cpu_second": round(len(everything) / cpu, 1),
            "tokens_per_second": round(len(everything) / wall, 1),
        }
    ray = through_ray([text for text, _ in pairs], given["model"])
    rate = ray["tokens"] / (ray["seconds_on_documents"] + ray["seconds_idle"])
    plot(curves, Path(given["plot"]))
    measure.publish(
        "mix",
        **report,
        mix_to_uniform=round(report["mix"]["tokens_per_cpu_second"] / report["uniform"]["tokens_per_cpu_second"], 3),
        through_ray=ray | {"tokens_per_second": round(rate, 1)},
        ray_to_engine_alone=round(rate / report["mix"]["tokens_per_second"], 3),
    )


if __name__ == "__main__":
    main()
