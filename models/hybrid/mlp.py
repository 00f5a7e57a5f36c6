"""The MLPs of transformers: gated, or of one projection each way."""

import torch.nn.functional as F
from torch import Tensor, nn

from models.hybrid.architecture import MLPShape


class MLP(nn.Module):
    """Where it is gated, the gate's projection and the other one are one matrix, the gate first."""

    def __init__(self, d_model: int, shape: MLPShape) -> None:
        super().__init__()
        self.shape = shape
        self.up_proj = nn.Linear(d_model, (1 + shape.is_gated) * shape.d_hidden, bias=shape.bias)
        self.down_proj = nn.Linear(shape.d_hidden, d_model, bias=shape.bias)

    def forward(self, u: Tensor) -> Tensor:
        """u (L, d_model) -> (L, d_model)."""
        return self.down_proj(activated(self.up_proj(u), self.shape))


def activated(hidden: Tensor, shape: MLPShape) -> Tensor:
    """hidden (L, (1 + is_gated) * d_hidden) -> (L, d_hidden)."""
    if not shape.is_gated:
        return _activation(hidden, shape)
    gate, up = hidden.chunk(2, dim=-1)
    return _activation(gate, shape).mul_(up)


def _activation(x: Tensor, shape: MLPShape) -> Tensor:
    return F.silu(x) if shape.activation == "silu" else F.relu(x).square()
