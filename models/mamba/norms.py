"""Root-mean-square norms, computed in at least fp32."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-5


def widened(dtype: torch.dtype) -> torch.dtype:
    """What a recurrence and a norm are computed in: fp32, or fp64 for a model of fp64."""
    return torch.promote_types(dtype, torch.float32)


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d) -> the same shape and dtype; computed in fp32, or wider where x is."""
        wide = x.to(widened(x.dtype))
        return F.rms_norm(wide, self.weight.shape, self.weight.to(wide.dtype), NORM_EPS).to(x.dtype)


class GroupedNorm(nn.Module):
    """RMSNorm within each group of channels, with a weight for every channel of every group."""

    def __init__(self, width: int, group_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.group_size = group_size

    def forward(self, y: Tensor) -> Tensor:
        """y (..., width) -> (..., width)."""
        groups = y.unflatten(-1, (-1, self.group_size))
        return F.rms_norm(groups, (self.group_size,), eps=NORM_EPS).flatten(-2) * self.weight.to(y.dtype)
