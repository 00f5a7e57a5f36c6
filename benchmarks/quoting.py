"""`python -m benchmarks.quoting [megabytes=0.6,0.9]`: whether a second run keeps to its quote.

Two runs of `jobs.summarize` over documents of real words, of other sizes in each, on this machine's CPU with the
default model. The first measures the machine, the second is quoted by that. Prints JSON: tokens, device-seconds and
dollars that the second was quoted and took, and the ratio of each. Some five minutes.
"""

import json
import random
import tempfile
from pathlib import Path

from benchmarks import measure
from benchmarks.going_on import Output
from benchmarks.reading import MEGABYTE, write_text

SMALLEST, LARGEST = 2_000, 60_000
"""Bytes of a document."""


def write_documents(folder: Path, num_bytes: int, seed: int) -> None:
    folder.mkdir()
    draw, written = random.Random(seed), 0
    while written < num_bytes:
        size = round(SMALLEST * (LARGEST / SMALLEST) ** draw.random())
        write_text(folder / f"{seed} {written}.txt", size, seed + written)
        written += size


def main(megabytes: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        for seed, size in enumerate(megabytes.split(",")):
            documents = folder / f"documents {seed}"
            write_documents(documents, round(float(size) * MEGABYTE), seed)
            output = Output(folder / "output", documents)
            assert output.summarize() == 0
        job = output.job()
    quote = json.loads(job["quote"])
    pairs = {
        "tokens": (quote["tokens"], job["tokens_read"]),
        "device_seconds": (quote["device_seconds"], job["device_seconds"]),
        "cost": (quote["cost"], job["cost"]),
    }
    measure.publish(
        "quoting",
        model="default",
        documents=job["documents_total"],
        quoted={name: round(float(said), 6) for name, (said, _) in pairs.items()},
        actual={name: round(float(took), 6) for name, (_, took) in pairs.items()},
        actual_to_quoted={name: round(float(took) / float(said), 4) for name, (said, took) in pairs.items()},
        speed=quote["speed_source"],
    )


if __name__ == "__main__":
    main(**measure.arguments(megabytes="0.6,0.9"))
