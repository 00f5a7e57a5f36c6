"""`python -m benchmarks.kernels`: what the compiler makes of each kernel for Hopper (sm_90a). Needs no GPU.

Prints JSON for the published 1.5B shapes in bf16: registers of a thread, bytes spilled, shared memory of a program,
and how many instructions of the matrix unit (wgmma) its assembly holds.
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import astuple
from pathlib import Path
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from models.kernels import coefficients, decode, prefill, residual, span_states, turning
from models.kernels.tiling import HOPPER as HOPPER_TILING
from models.mamba.norms import NORM_EPS

HOPPER = GPUTarget("cuda", 90, 32)
FLOATS = (
    "dt_bias b_bias c_bias biases skip x_ranks z_ranks out_ranks coefficients velocity sums decays entering "
    "span_turns span_decays angle ssm k v residual"
)
BF16 = "proj channels turned b_weight c_weight norm_weight weight out branch both"
INDICES = "starts stops segment_stops rows entries inner long_first long_count"
NUMBERS = "proj_stride L D F"
TYPES = {
    name: kind
    for names, kind in ((FLOATS, "*fp32"), (BF16, "*bf16"), (INDICES, "*i32"), (NUMBERS, "i32"))
    for name in names.split()
}
REST = ((residual._add_norm, 4, 1), (residual._swiglu, 4, 1))


def kernels_of(rank: int) -> tuple[tuple[Any, int, int], ...]:
    """Those of a mixer of that rank, with their warps and stages."""
    tiling = HOPPER_TILING.of_rank(rank)
    return (
        (coefficients.prepare_coefficients, 4, 1),
        (coefficients.prepare_channels, 4, 1),
        (turning.turn_channels, *astuple(tiling.turn)),
        (span_states.sum_spans, *astuple(tiling.sum)),
        (span_states.pass_states, 4, 1),
        (prefill._read_spans, *astuple(tiling.read)),
        (decode._step, 4, 1),
    )


def constants(rank: int) -> dict[str, Any]:
    """Of the published 1.5B, SISO or MIMO."""
    return {
        "H": 64, "H_BLOCK": 64, "P": 64, "N": 128, "A": 32, "R": rank, "G": 1, "M": 64, "HR": 64 * rank, "ROWS": rank,
        "IS_MIMO": rank > 1, "HAS_NORM": False, "EPS": NORM_EPS, "SOFTPLUS": False, "A_FLOOR": 1e-4,
        "X": 4096, "B": 8192, "DT": 8192 + 256 * rank, "THETA": 8384 + 256 * rank, "T": prefill.TOKENS_PER_PROGRAM,
        "P_BLOCK": 16, "DTYPE": tl.bfloat16, "PRECISION": "tf32", "BLOCK": 2048, "HAS_BRANCH": True,
    }  # fmt: skip


def resources(kernel: Any, rank: int, warps: int, stages: int) -> dict[str, int]:
    values = constants(rank) | {"STAGES": stages}
    fixed = {name: value for name, value in values.items() if name in kernel.arg_names}
    signature = {name: "constexpr" if name in fixed else TYPES[name] for name in kernel.arg_names}
    # What the launcher finds out by itself: torch's memory and the rows of the projection are aligned to 16 bytes.
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*") or name == "proj_stride"
    }
    places = {(kernel.arg_names.index(name),): value for name, value in fixed.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=places, attrs=aligned)
    compiled = triton.compile(source, target=HOPPER, options={"num_warps": warps, "num_stages": stages})
    return assembled(compiled.asm["ptx"]) | {"shared_bytes": compiled.metadata.shared}


def assembled(ptx: str) -> dict[str, int]:
    """What ptxas, which comes with Triton, says of a kernel."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "kernel.ptx"
        source.write_text(ptx, encoding="utf-8")
        target = ["--gpu-name", "sm_90a", "-o", str(source.with_suffix(".cubin"))]
        command = [get_ptxas(HOPPER.arch).path, "-v", str(source), *target]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spilled = re.search(r"Used (\d+) registers", said), re.search(r"(\d+) bytes spill stores", said)
    return {
        "registers": int(registers[1]) if registers else 0,
        "spilled_bytes": int(spilled[1]) if spilled else 0,
        "wgmma": ptx.count("wgmma.mma_async"),
    }


def main() -> None:
    report = {
        f"{kernel.__name__.lstrip('_')}{form}": resources(kernel, rank, warps, stages)
        for form, rank in ((", SISO", 1), (", MIMO", 4))
        for kernel, warps, stages in kernels_of(rank)
    }
    report |= {kernel.__name__.lstrip("_"): resources(kernel, 1, warps, stages) for kernel, warps, stages in REST}
    json.dump(
        {"benchmark": "kernels", "target": "sm_90a", "triton": triton.__version__, **report}, sys.stdout, indent=2
    )
    print()


if __name__ == "__main__":
    main()
