"""Every kernel compiles for Hopper on a machine without a GPU, uses its matrix unit, and fits into its memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SHARED_MEMORY = 227 * 1024
"""Of one multiprocessor of an H100 or H200, for one program."""


@pytest.mark.slow
def test_the_kernels_compile_for_hopper():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "benchmarks.kernels"]
    root = Path(__file__).parents[3]
    run = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    kernels = {name: figures for name, figures in report.items() if isinstance(figures, dict)}
    assert len(kernels) == 16
    assert all(figures["shared_bytes"] <= SHARED_MEMORY for figures in kernels.values())
    assert all((figures["wgmma"] > 0) == name.startswith(("sum_", "read_")) for name, figures in kernels.items())
    # What reads spans fills its registers, but with addresses: a tile that goes to memory would be 4 KB.
    assert all(
        figures["spilled_bytes"] <= (256 if name.startswith("read_") else 16) for name, figures in kernels.items()
    )
