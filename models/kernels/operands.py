"""What matrix products on a GPU take, and how exactly."""

import torch
import triton.language as tl
from torch import Tensor


def operands(proj: Tensor) -> tuple[tl.dtype, str]:
    """Type and precision for a projection: fp32 as it is, since Triton's default would be tf32.

    Triton's interpreter, which runs where there is no GPU, multiplies the bits of bf16 as integers: fp32 there.
    """
    if proj.dtype == torch.float32 or not proj.is_cuda:
        return tl.float32, "ieee"
    return (tl.bfloat16 if proj.dtype == torch.bfloat16 else tl.float16), "tf32"
