"""Between the matrix products of a block: residual and norm in one pass, and the MLP's gate.

L = tokens, D = d_model, F = hidden width of the MLP.
"""

from dataclasses import asdict

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.kernels.activations import sigmoid
from models.kernels.tiling import SMALL
from models.mamba.norms import RMSNorm

GATE_BLOCK = 1024


@triton.jit
def _add_norm(residual, branch, weight, out, D, BLOCK: tl.constexpr, HAS_BRANCH: tl.constexpr, EPS: tl.constexpr):
    row, column = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    mask = column < D
    total = tl.load(residual + row * D + column, mask=mask, other=0.0)
    if HAS_BRANCH:
        total += tl.load(branch + row * D + column, mask=mask, other=0.0).to(tl.float32)
        tl.store(residual + row * D + column, total, mask=mask)
    scale = tl.rsqrt(tl.sum(total * total, 0) / D + EPS)
    normed = total * scale * tl.load(weight + column, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + row * D + column, normed.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _swiglu(both, out, F, BLOCK: tl.constexpr):
    row, column = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = column < F
    y = tl.load(both + row * 2 * F + column, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(both + row * 2 * F + F + column, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + row * F + column, (y * gate * sigmoid(gate)).to(out.dtype.element_ty), mask=mask)


def add_norm_(residual: Tensor, branch: Tensor | None, norm: RMSNorm, dtype: torch.dtype) -> Tensor:
    """residual (L, D) fp32 += branch (L, D), in place; its RMSNorm (L, D) in `dtype`."""
    num_tokens, width = residual.shape
    out = torch.empty((num_tokens, width), dtype=dtype, device=residual.device)
    _add_norm[(num_tokens,)](
        residual, branch if branch is not None else residual, norm.weight, out, width,
        BLOCK=triton.next_power_of_2(width), HAS_BRANCH=branch is not None, EPS=norm.eps,
        **asdict(SMALL),
    )  # fmt: skip
    return out


def swiglu(both: Tensor) -> Tensor:
    """(L, 2F), what `fc1` gave -> (L, F): y times silu(gate)."""
    num_tokens, width = both.shape[0], both.shape[1] // 2
    out = torch.empty((num_tokens, width), dtype=both.dtype, device=both.device)
    _swiglu[(num_tokens, triton.cdiv(width, GATE_BLOCK))](both, out, width, BLOCK=GATE_BLOCK, **asdict(SMALL))
    return out
