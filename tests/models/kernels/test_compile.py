"""Every kernel compiles for every kind of GPU on a machine without one, and fits into its registers and memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.kernels import TARGETS

MOST_STACK_BYTES, OF_READING = 32, 256
"""Of a thread. What reads spans fills its registers, but with addresses: a tile that goes to memory would be 4 KB."""


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_the_kernels_compile_and_fit(target):
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "benchmarks.kernels", f"targets={target}"]
    root = Path(__file__).parents[3]
    run = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment)
    assert run.returncode == 0, run.stderr
    kernels = json.loads(run.stdout)[target]
    assert len(kernels) == 31
    for name, figures in kernels.items():
        assert figures["shared_bytes"] <= TARGETS[target].shared_bytes, name
        assert figures["stack_bytes"] <= (OF_READING if name.startswith("read_") else MOST_STACK_BYTES), name
        assert figures["programs_per_sm"] >= 2, name
        assert (figures["matrix_instructions"] > 0) == name.startswith(("sum_", "read_")), name
    # Rows of the projection that are multiples of 8 numbers, and not of 16, are read as widely.
    for name in ("sum_spans", "read_spans"):
        small, large = kernels[f"{name}, SISO of 187M"], kernels[f"{name}, SISO"]
        assert small["instructions"] <= 1.01 * large["instructions"]
