"""`python -m benchmarks.kernels [targets=sm_80,sm_90a]`: what the compiler makes of each kernel. Needs no GPU.

Prints JSON for the published 1.5B shapes (Mamba-2: 1.3B) in bf16, by target: registers and bytes of stack of a thread,
bytes spilled, shared memory of a program, how many programs a multiprocessor holds at a time, and how many instructions
its assembly has, of the matrix unit too. Each kernel is compiled as it is launched there.
"""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from models.hybrid.paged_cache import PAGE_TOKENS
from models.kernels import (
    coefficients,
    convolution,
    decode,
    paged_attention,
    prefill,
    residual,
    selective,
    span_states,
    ssd,
    turning,
)
from models.kernels.tiling import SMALL, Launch, Tiling, of_capability
from models.mamba.norms import NORM_EPS

WARP = 32


@dataclass(frozen=True)
class Target:
    """A kind of GPU, and what one of its multiprocessors has."""

    capability: int
    shared_bytes: int
    """Most that one program may take."""
    shared_bytes_per_sm: int
    registers: int = 65_536
    threads: int = 2048

    def programs(self, registers: int, shared: int, warps: int) -> int:
        """Programs that a multiprocessor holds at a time."""
        of_registers = self.registers // (max(1, -(-registers // 8) * 8) * warps * WARP)
        return min(self.threads // (warps * WARP), of_registers, self.shared_bytes_per_sm // (shared + 1024))


TARGETS = {
    "sm_80": Target(80, 163 * 1024, 164 * 1024),
    "sm_89": Target(89, 99 * 1024, 100 * 1024, threads=1536),
    "sm_90a": Target(90, 227 * 1024, 228 * 1024),
    "sm_100a": Target(100, 227 * 1024, 228 * 1024),
}
"""A100, L40S, H100 and H200, B200 (CUDA C++ programming guide, technical specifications per compute capability)."""
FLOATS = (
    "dt_bias b_bias c_bias biases skip x_ranks z_ranks out_ranks coefficients velocity sums decays entering "
    "span_turns span_decays angle ssm k v residual a_log conv logs"
)
BF16 = (
    "proj channels turned b_weight c_weight norm_weight weight out branch both mixed taps bias y steps b c "
    "q keys values"
)
INDICES = "starts stops segment_starts segment_stops rows entries inner long_first long_count tables tiles"
NUMBERS = "proj_stride mixed_stride b_stride c_stride q_stride table_stride num_tokens L D F"
SCALARS = "low high scale"
TYPES = {
    name: kind
    for names, kind in ((FLOATS, "*fp32"), (BF16, "*bf16"), (INDICES, "*i32"), (NUMBERS, "i32"), (SCALARS, "fp32"))
    for name in names.split()
}
REST = (residual._add_norm, residual._swiglu)
FORMS = {"SISO": 1, "MIMO": 4}


def kernels_of(tiling: Tiling) -> tuple[tuple[Any, Launch], ...]:
    """Those of a mixer, with what they are launched with."""
    return (
        (coefficients.prepare_coefficients, SMALL),
        (coefficients.prepare_channels, SMALL),
        (turning.turn_channels, tiling.turn),
        (span_states.sum_spans, tiling.sum),
        (span_states.pass_states, SMALL),
        (prefill._read_spans, tiling.read),
        (decode._step, SMALL),
    )


def mamba2_kernels_of(tiling: Tiling) -> tuple[tuple[Any, Launch], ...]:
    return (
        (convolution.convolved, SMALL),
        (convolution.keep_inputs, SMALL),
        (convolution.convolve_step, SMALL),
        (ssd.decays, SMALL),
        (ssd.sum_spans, tiling.sum),
        (ssd.pass_states, SMALL),
        (ssd.read_spans, tiling.read),
        (ssd.gate_norm, SMALL),
        (ssd.step, SMALL),
    )


MAMBA1_CONSTANTS = {"E": 5120, "N": 16, "T": selective.TOKENS}
"""Of the published 2.8B."""


def mamba2_constants(rows: int) -> dict[str, Any]:
    """Of the published 1.3B."""
    return {
        "H": 64, "P": 64, "N": 128, "G": 1, "M": rows, "X": 4096, "C": 4352, "W": 4, "DT": 8448, "HAS_BIAS": True,
        "T": convolution.CONVOLVED_TOKENS, "P_BLOCK": 16, "WIDTH": 4096, "EPS": NORM_EPS, "DTYPE": tl.bfloat16,
        "PRECISION": "tf32",
    }  # fmt: skip


def attention_constants(size: int, keys: int, is_span: bool) -> dict[str, Any]:
    """Of heads as most published models have them, in tiles of so many tokens and keys."""
    return {
        "HKV": 8, "G": 4, "GROUP": 4, "D": 128, "D_BLOCK": 128, "TOKENS": size, "KEYS": keys,
        "PAGE": PAGE_TOKENS, "SPAN": paged_attention.SPAN_TOKENS, "IS_SPAN": is_span, "DTYPE": tl.bfloat16,
        "PRECISION": "tf32",
    }  # fmt: skip


def constants(rank: int, rows: int) -> dict[str, Any]:
    """Of the published 1.5B, SISO or MIMO, with tiles of so many rows."""
    return {
        "H": 64, "H_BLOCK": 64, "P": 64, "N": 128, "A": 32, "R": rank, "G": 1, "M": rows, "HR": 64 * rank, "ROWS": rank,
        "IS_MIMO": rank > 1, "HAS_NORM": False, "EPS": NORM_EPS, "SOFTPLUS": False, "A_FLOOR": 1e-4,
        "X": 4096, "B": 8192, "DT": 8192 + 256 * rank, "THETA": 8384 + 256 * rank, "T": prefill.TOKENS_PER_PROGRAM,
        "P_BLOCK": 16, "DTYPE": tl.bfloat16, "PRECISION": "tf32", "BLOCK": 2048, "HAS_BRANCH": True,
    }  # fmt: skip


def small_constants(rows: int) -> dict[str, Any]:
    """Of the published 187M, whose projection has rows of 3,432 numbers: no multiple of 16."""
    return constants(1, rows) | {"H": 24, "H_BLOCK": 32, "X": 1536, "B": 3072, "DT": 3328, "THETA": 3400}


def resources(
    kernel: Any, constants: dict[str, Any], launch: Launch, target: str, aligned_rows: bool = True
) -> dict[str, int]:
    blocks = {
        ssd.gate_norm: 4096,
        convolution.convolved: convolution.CONVOLVED_CHANNELS,
        selective.scan_selectively: selective.CHANNELS,
        selective.step_selectively: selective.STEP_CHANNELS,
    }
    values = {"BLOCK": blocks.get(kernel, convolution.CHANNEL_BLOCK)} | constants | {"STAGES": launch.num_stages}
    fixed = {name: value for name, value in values.items() if name in kernel.arg_names}
    signature = {name: "constexpr" if name in fixed else TYPES[name] for name in kernel.arg_names}
    # What the launcher finds out by itself: torch's memory and the rows of the projection are aligned to 16 bytes.
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*") or name in ("proj_stride", "mixed_stride", "q_stride")
    }
    places = {(kernel.arg_names.index(name),): value for name, value in fixed.items()}
    source, about = ASTSource(fn=kernel, signature=signature, constexprs=places, attrs=aligned), TARGETS[target]
    compiled = triton.compile(source, target=GPUTarget("cuda", about.capability, WARP), options=asdict(launch))
    figures, shared = assembled(compiled.asm["ptx"], target), compiled.metadata.shared
    programs = about.programs(figures["registers"], shared, launch.num_warps)
    return figures | {"shared_bytes": shared, "programs_per_sm": programs}


def assembled(ptx: str, target: str) -> dict[str, int]:
    """What ptxas, which comes with Triton, says of a kernel."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "kernel.ptx"
        source.write_text(ptx, encoding="utf-8")
        command = [get_ptxas(TARGETS[target].capability).path, "-v", str(source), "--gpu-name", target]
        command += ["-o", str(source.with_suffix(".cubin"))]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr

    def number(pattern: str) -> int:
        found = re.search(pattern, said)
        return int(found[1]) if found else 0

    return {
        "registers": number(r"Used (\d+) registers"),
        "stack_bytes": number(r"(\d+) bytes stack frame"),
        "spilled_bytes": number(r"(\d+) bytes spill stores"),
        "instructions": len(re.findall(r"^\s+(?:@\S+ )?[a-z][\w.:]*\s", ptx, re.MULTILINE)),
        "matrix_instructions": len(re.findall(r"wgmma\.mma_async|tcgen05\.mma|\bmma\.sync", ptx)),
    }


def compiled_for(target: str) -> dict[str, dict[str, int]]:
    found = {}
    for form, rank in FORMS.items():
        tiling = of_capability(TARGETS[target].capability // 10).fitted(rank, is_fp32=False)
        for kernel, launch in kernels_of(tiling):
            found[f"{kernel.__name__.lstrip('_')}, {form}"] = resources(
                kernel, constants(rank, tiling.rows), launch, target
            )
    tiling = of_capability(TARGETS[target].capability // 10)
    for kernel, launch in ((span_states.sum_spans, tiling.sum), (prefill._read_spans, tiling.read)):
        found[f"{kernel.__name__.lstrip('_')}, SISO of 187M"] = resources(
            kernel, small_constants(tiling.rows), launch, target, aligned_rows=False
        )
    for kernel, launch in mamba2_kernels_of(tiling):
        found[f"{kernel.__name__}, Mamba-2"] = resources(kernel, mamba2_constants(tiling.rows), launch, target)
    for kernel in (selective.scan_selectively, selective.step_selectively):
        found[f"{kernel.__name__}, Mamba-1"] = resources(kernel, MAMBA1_CONSTANTS, SMALL, target)
    for form, size, is_span in (("prefill", paged_attention.ROWS // 4, False), ("decode", 4, True)):
        found[f"read_pages, {form}"] = resources(
            paged_attention.attend_pages, attention_constants(size, tiling.keys, is_span), paged_attention.READ, target
        )
    return found | {kernel.__name__.lstrip("_"): resources(kernel, constants(1, 64), SMALL, target) for kernel in REST}


def main(targets: str = ",".join(TARGETS)) -> None:
    report = {target: compiled_for(target) for target in targets.split(",")}
    json.dump({"benchmark": "kernels", "triton": triton.__version__, **report}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main(**dict(word.split("=", 1) for word in sys.argv[1:]))
