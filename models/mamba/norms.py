"""Root-mean-square norms, computed in at least fp32."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.mamba.architecture import NORM_EPS as NORM_EPS


def widened(dtype: torch.dtype) -> torch.dtype:
    """What a recurrence and a norm are computed in: fp32, or fp64 for a model of fp64."""
    return torch.promote_types(dtype, torch.float32)


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis."""

    def __init__(self, width: int, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d) -> the same shape and dtype; computed in fp32, or wider where x is."""
        wide = x.to(widened(x.dtype))
        return F.rms_norm(wide, self.weight.shape, self.weight.to(wide.dtype), self.eps).to(x.dtype)


class GroupedNorm(nn.Module):
    """RMSNorm within each group of channels, with a weight for every channel of every group."""

    def __init__(self, width: int, group_size: int, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.group_size, self.eps = group_size, eps

    def forward(self, y: Tensor) -> Tensor:
        """y (..., width) -> (..., width)."""
        groups = y.unflatten(-1, (-1, self.group_size))
        return F.rms_norm(groups, (self.group_size,), eps=self.eps).flatten(-2) * self.weight.to(y.dtype)
