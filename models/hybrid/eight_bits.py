"""Weights of 8 bits for the matrix products of a model, with a scale for each row; all else stays as it is.

A code times its row's scale is the weight. Products are of the codes, which bf16 holds exactly, and their rows are
scaled: there is no second copy of a matrix but for a moment, in the dtype of what it is multiplied with.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.hybrid.experts import Matrices
from models.hybrid.language_model import HybridLM

Kind = Literal["int8", "float8"]
STORED: dict[Kind, torch.dtype] = {"int8": torch.int8, "float8": torch.float8_e4m3fn}
LARGEST: dict[Kind, float] = {"int8": 127.0, "float8": 448.0}
"""Code, of either sign."""


def codes_of(weight: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """weight (..., rows, columns) -> codes of the same shape, and scales (..., rows) fp32."""
    wide = weight.float()
    scales = wide.abs().amax(-1).clamp(min=torch.finfo(torch.float32).tiny) / LARGEST[kind]
    codes = wide / scales.unsqueeze(-1)
    return (codes.round() if kind == "int8" else codes).to(STORED[kind]), scales


class Linear8(nn.Module):
    """An nn.Linear of codes."""

    def __init__(self, like: nn.Linear, kind: Kind) -> None:
        super().__init__()
        codes, scales = torch.empty_like(like.weight, dtype=STORED[kind]), like.weight.new_empty(like.out_features)
        self.weight = nn.Parameter(codes, requires_grad=False)
        self.scales = nn.Parameter(scales.float(), requires_grad=False)
        self.bias = like.bias

    def forward(self, x: Tensor) -> Tensor:
        """x (..., columns) -> (..., rows)."""
        y = _scaled(F.linear(x, self.weight.to(x.dtype)), self.scales)
        return y if self.bias is None else y.add_(self.bias)


class Matrices8(nn.Module):
    """`models.hybrid.experts.Matrices` of codes."""

    def __init__(self, like: Matrices, kind: Kind) -> None:
        super().__init__()
        codes = torch.empty_like(like.weight, dtype=STORED[kind])
        self.weight = nn.Parameter(codes, requires_grad=False)
        self.scales = nn.Parameter(like.weight.new_empty(like.weight.shape[:2]).float(), requires_grad=False)

    def product(self, expert: int, x: Tensor) -> Tensor:
        """x (l, columns) -> (l, rows)."""
        return _scaled(F.linear(x, self.weight[expert].to(x.dtype)), self.scales[expert])


def put_in(model: HybridLM, kind: Kind) -> None:
    """Replace the matrices of all layers; the embedding, the head and routers stay. What they hold is lost."""
    for name, module in list(model.layers.named_modules()):
        if isinstance(module, nn.Linear):
            model.layers.set_submodule(name, Linear8(module, kind))
        elif isinstance(module, Matrices):
            model.layers.set_submodule(name, Matrices8(module, kind))


def _scaled(y: Tensor, scales: Tensor) -> Tensor:
    """Each of the last axis by its own, rounded once."""
    return (y * scales).to(y.dtype)
