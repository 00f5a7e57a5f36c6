"""`python -m benchmarks.prefill [key=value ...]`: how fast a model reads on this machine's CPU, and against what limit.

Prints JSON: tokens per CPU-second of the reading pass for several mixes of lengths, what the projections' matrix
products alone would allow at the measured speed of a matrix product, and the ratio. CPU-seconds, since wall time on a
shared machine says little.
"""

import json
import platform
import sys
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import torch

from models import checkpoint
from models.language_model import MambaLM

REPEATS = 5
PACKS = {"one document": [2048], "eight equal": [256] * 8, "ragged": [1500, 300, 120, 64, 40, 16, 7, 1]}


def cpu_seconds(work: Callable[[], object]) -> float:
    """The least of several runs, after one that does not count."""
    work()
    best = float("inf")
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def tokens_per_cpu_second(model: MambaLM, lengths: list[int]) -> float:
    tokens = torch.zeros(sum(lengths), dtype=torch.long)
    state = model.empty_state(len(lengths))
    bounds = [0, *accumulate(lengths)]
    return sum(lengths) / cpu_seconds(lambda: model.prefill(tokens, bounds, state))


def matmul_flops_per_second(width: int) -> float:
    left, right = torch.randn(2048, width), torch.randn(width, 4 * width)
    return 2 * 2048 * width * 4 * width / cpu_seconds(lambda: left @ right)


@torch.inference_mode()
def main(uri: str = "default") -> None:
    torch.set_num_threads(1)
    model = checkpoint.load(checkpoint.resolve(uri))
    projections = sum(2 * p.numel() for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2)
    peak = matmul_flops_per_second(model.config.d_model)
    limit = peak / projections
    measured = {name: tokens_per_cpu_second(model, lengths) for name, lengths in PACKS.items()}
    report = {
        "benchmark": "prefill",
        "hardware": {"machine": platform.machine(), "processor": _processor(), "threads": 1},
        "torch": torch.__version__,
        "model": {"uri": uri, "parameters": sum(p.numel() for p in model.parameters()), "dtype": "float32"},
        "matmul_gflops_per_second": round(peak / 1e9, 1),
        "projection_flops_per_token": projections,
        "limit_tokens_per_cpu_second": round(limit),
        "tokens_per_cpu_second": {name: round(rate) for name, rate in measured.items()},
        "share_of_limit": {name: round(rate / limit, 3) for name, rate in measured.items()},
    }
    print(json.dumps(report, indent=2))


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


if __name__ == "__main__":
    main(*sys.argv[1:])
