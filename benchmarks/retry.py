"""`python -m benchmarks.retry [before=COMMIT]`: what one second try costs all answers that are decoded beside it.

Prints JSON: CPU-milliseconds of a step's choosing and of looking for loops, on one thread, for 128 answers over a
vocabulary of 128,256: all greedy, and with one or all of them at the temperature of a second try. On a CPU it is all of
a step but the model; on a GPU the device chooses, and the host looks for loops while it works on the next step. With
`before`, the same in the sources of an earlier commit.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from benchmarks import measure
from models.engine import sampling
from models.engine.sampling import Sampler, choose_all, loop_start

ROWS, VOCAB_SIZE = 128, 128_256
SAMPLED = {"128 greedy": 0, "127 greedy and a second try": 1, "128 second tries": 128}
TEMPERATURE = 0.7
OUTPUT = [(place * 7919) % 50_021 for place in range(400)]
"""Of each answer so far, without a loop."""


def milliseconds(work: Callable[[], object]) -> float:
    return round(1e3 * measure.least_cpu_seconds({"": work})[""], 2)


def measured() -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(ROWS, VOCAB_SIZE, generator=generator)
    # Where earlier commits define it too.
    make, report = vars(sampling)["Sampling"], {}
    for name, count in SAMPLED.items():
        samplers = [Sampler(make(512, TEMPERATURE if row < count else 0.0, seed=row)) for row in range(ROWS)]
        report[name] = milliseconds(partial(choose_all, logits, samplers))
    return report


def looking_for_loops() -> float:
    return milliseconds(lambda: [loop_start(OUTPUT) for _ in range(ROWS)])


def earlier(commit: str) -> dict[str, object]:
    """Measured by this file, with the modules of that commit."""
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as scratch:
        archive = subprocess.run(["git", "archive", commit], cwd=root, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", scratch], input=archive, check=True)
        (Path(scratch) / "benchmarks" / "retry.py").write_bytes(Path(__file__).read_bytes())
        command = [sys.executable, "-m", "benchmarks.retry"]
        run = subprocess.run(command, cwd=scratch, capture_output=True, encoding="utf-8", check=True)
    found: dict[str, object] = json.loads(run.stdout)
    return {name: found[name] for name in ("milliseconds_of_a_step", "milliseconds_of_looking_for_loops")}


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    before = measure.arguments(before="")["before"]
    report: dict[str, object] = {
        "milliseconds_of_a_step": measured(),
        "milliseconds_of_looking_for_loops": looking_for_loops(),
    }
    if before:
        report |= {"before": {"commit": before, **earlier(before)}}
    measure.publish("retry", **report)


if __name__ == "__main__":
    main()
