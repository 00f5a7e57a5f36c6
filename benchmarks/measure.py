"""How the programs of this folder measure: on one thread, in CPU-seconds, several things in turn within one run.

CPU-seconds, since wall time on a shared machine says little; in turn and the least of several rounds, since on such a
machine even CPU time varies, and what is compared must have met the same minutes.
"""

import json
import platform
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch

ROUNDS = 5
Name = TypeVar("Name")


def arguments(**defaults: str) -> dict[str, str]:
    """What `key=value` on the command line makes of the defaults."""
    given = {key: value for key, _, value in (word.partition("=") for word in sys.argv[1:])}
    if unknown := given.keys() - defaults.keys():
        sys.exit(f"no such argument: {', '.join(sorted(unknown))}; there is {', '.join(defaults) or 'none'}")
    return defaults | given


def cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def least_cpu_seconds(works: Mapping[Name, Callable[[], object]], rounds: int = ROUNDS) -> dict[Name, float]:
    """Of each work, run in turn, after a round that does not count."""
    for work in works.values():
        work()
    timings = [{name: cpu_seconds(work) for name, work in works.items()} for _ in range(rounds)]
    return {name: min(timing[name] for timing in timings) for name in works}


def matmul(rows: int = 1024, width: int = 512) -> tuple[Callable[[], object], int]:
    """A large fp32 matrix product, and its floating-point operations."""
    left, right = torch.randn(rows, width), torch.randn(width, 4 * width)
    return lambda: left @ right, 2 * rows * width * 4 * width


def sweep(num_bytes: int = 1 << 28) -> tuple[Callable[[], object], int]:
    """Reading and writing a table far larger than any cache, and the bytes moved."""
    table = torch.ones(num_bytes // 4)
    return lambda: table.mul_(1.0), 2 * num_bytes


def publish(benchmark: str, **results: object) -> None:
    """Print JSON with the hardware named."""
    hardware = {"machine": platform.machine(), "processor": _processor(), "threads": torch.get_num_threads()}
    about = {"benchmark": benchmark, "hardware": hardware, "torch": torch.__version__, "dtype": "float32"}
    print(json.dumps(about | results, indent=2))


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
