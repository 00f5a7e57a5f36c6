"""`python -m benchmarks.length [lengths=16384,65536]`: whether a long document costs more a token than a short one.

Prints JSON: tokens per CPU-second of one thread and peak memory of a process that reads one document of each length
through the engine, and their spread. Each length is read in a fresh process. A million tokens take over ten minutes.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks import measure, subjects
from models.backends import engines, heap
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, Request, Sampling

STEP_TOKENS = 2048


def read_one(num_tokens: int) -> dict[str, float]:
    """In this process."""
    heap.keep_freed_memory()
    torch.set_num_threads(1)
    engine = engines.around(subjects.ours(), end_ids={0}, num_slots=1, step_tokens=STEP_TOKENS)
    engine.warm_up()
    warm = peak_bytes()
    tokens = np.random.default_rng(0).integers(1, subjects.VOCAB_SIZE, num_tokens, dtype=np.int32)
    engine.submit(Request("document", ArrayFeed(tokens), (Prompt((1,), Sampling(max_tokens=1)),)))

    def read() -> None:
        while engine.busy:
            engine.step()

    seconds = measure.cpu_seconds(read)
    return {
        "tokens": num_tokens,
        "cpu_seconds": round(seconds, 1),
        "tokens_per_cpu_second": round(num_tokens / seconds),
        "peak_rss_bytes_after_warm_up": warm,
        "peak_rss_bytes": peak_bytes(),
    }


def peak_bytes() -> int:
    """VmHWM, which Linux keeps."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def in_a_fresh_process(num_tokens: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.length", f"one={num_tokens}"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def spread(values: list[float]) -> float:
    return round(max(values) / min(values) - 1, 4)


def main(lengths: str, one: str) -> None:
    if one:
        print(json.dumps(read_one(int(one))))
        return
    torch.set_num_threads(1)
    readings = [in_a_fresh_process(length) for length in lengths.split(",")]
    measure.publish(
        "length",
        model={"parameters": subjects.num_parameters(subjects.ours())},
        step_tokens=STEP_TOKENS,
        readings=readings,
        spread={
            name: spread([reading[name] for reading in readings])
            for name in ("tokens_per_cpu_second", "peak_rss_bytes")
        },
    )


if __name__ == "__main__":
    main(**measure.arguments(lengths="16384,65536,262144", one=""))
