"""Mixtures of experts: which of them see a token, and what they make of it.

L = tokens, E = experts, K = those that see a token, F = channels inside an expert.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.hybrid.architecture import ExpertsShape
from models.hybrid.mlp import MLP, activated


class Choice(NamedTuple):
    """Of each token's experts."""

    weights: Tensor
    """(L, K)"""
    experts: Tensor
    """(L, K) int64."""


class SoftmaxRouter(nn.Module):
    """The K experts of the highest logits, weighed by the softmax over those. In fp32, as are its weights."""

    def __init__(self, d_model: int, shape: ExpertsShape) -> None:
        super().__init__()
        self.top_k = shape.top_k
        self.weight = nn.Parameter(torch.empty(shape.num_experts, d_model))

    def forward(self, u: Tensor) -> Choice:
        """u (L, d_model)."""
        top, experts = _logits(u, self.weight).topk(self.top_k, dim=-1)
        return Choice(top.softmax(-1), experts)


class SigmoidRouter(nn.Module):
    """The K experts of the highest sigmoid plus correction, from the best groups, weighed by the sigmoid.

    In fp32, as are its weights. Source: DeepSeek-V3, arXiv 2412.19437, section 2.1.2.
    """

    def __init__(self, d_model: int, shape: ExpertsShape) -> None:
        super().__init__()
        self.shape = shape
        self.weight = nn.Parameter(torch.empty(shape.num_experts, d_model))
        self.correction = nn.Parameter(torch.empty(shape.num_experts))

    def forward(self, u: Tensor) -> Choice:
        """u (L, d_model)."""
        shape, scores = self.shape, _logits(u, self.weight).sigmoid()
        experts = self._in_best_groups(scores + self.correction).topk(shape.top_k, dim=-1).indices
        weights = scores.gather(1, experts)
        if shape.is_normalized:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return Choice(weights * shape.scaling, experts)

    def _in_best_groups(self, scores: Tensor) -> Tensor:
        """scores (L, E), minus infinity outside of the groups whose two best experts have the highest sums."""
        if self.shape.num_groups == 1:
            return scores
        groups = scores.unflatten(-1, (self.shape.num_groups, -1))
        best = groups.topk(2, dim=-1).values.sum(-1).topk(self.shape.top_groups, dim=-1).indices
        is_out = torch.ones_like(groups[..., 0], dtype=torch.bool).scatter_(1, best, False)
        return groups.masked_fill(is_out.unsqueeze(-1), -torch.inf).flatten(-2)


def _logits(u: Tensor, weight: Tensor) -> Tensor:
    """(L, E)"""
    return F.linear(u.to(weight.dtype), weight)


class Matrices(nn.Module):
    """One matrix for each expert."""

    def __init__(self, num_experts: int, columns: int, rows: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_experts, rows, columns))

    def product(self, expert: int, x: Tensor) -> Tensor:
        """x (l, columns) -> (l, rows)."""
        return F.linear(x, self.weight[expert])


class Experts(nn.Module):
    """A router, its experts and an MLP that sees every token."""

    def __init__(self, d_model: int, shape: ExpertsShape) -> None:
        super().__init__()
        self.shape, expert = shape, shape.expert
        width = shape.d_latent or d_model
        self.router = (SoftmaxRouter if shape.router == "softmax" else SigmoidRouter)(d_model, shape)
        self.up_proj = Matrices(shape.num_experts, width, (1 + expert.is_gated) * expert.d_hidden)
        self.down_proj = Matrices(shape.num_experts, expert.d_hidden, width)
        self.shared = MLP(d_model, shape.shared)
        if shape.d_latent is not None:
            self.to_latent = nn.Linear(d_model, shape.d_latent, bias=shape.latent_bias)
            self.from_latent = nn.Linear(shape.d_latent, d_model, bias=shape.latent_bias)

    def forward(self, u: Tensor) -> Tensor:
        """u (L, d_model) -> (L, d_model)."""
        choice = self.router(u)
        if self.shape.d_latent is None:
            routed = self._routed(u, choice)
        else:
            routed = self.from_latent(self._routed(self.to_latent(u), choice))
        return routed + self.shared(u)

    def _routed(self, x: Tensor, choice: Choice) -> Tensor:
        """The weighed sum of what each token's experts make of it: x (L, width) -> (L, width).

        Tokens are sorted by expert, and a token's parts summed in the order of its experts, so that what else is in
        the pack changes no more than rounding.
        """
        top_k = choice.experts.shape[1]
        order = choice.experts.flatten().argsort(stable=True)
        counts = torch.bincount(choice.experts.flatten(), minlength=self.shape.num_experts)
        rows = x[order // top_k]
        made = self._grouped(rows, counts) if self._has_grouped_product(x) else self._looped(rows, counts)
        by_token = torch.empty_like(made).index_copy_(0, order, made).unflatten(0, (-1, top_k))
        return (by_token * choice.weights.unsqueeze(-1)).sum(1).to(x.dtype)

    def _looped(self, rows: Tensor, counts: Tensor) -> Tensor:
        """rows (L * K, width), sorted by expert."""
        made = [
            self.down_proj.product(expert, activated(self.up_proj.product(expert, part), self.shape.expert))
            for expert, part in enumerate(rows.split(counts.tolist()))
            if len(part)
        ]
        return torch.cat(made)

    def _grouped(self, rows: Tensor, counts: Tensor) -> Tensor:
        """The same in two products of all experts, without asking the device how many tokens each has."""
        ends = counts.cumsum(0, dtype=torch.int32)
        hidden = F.grouped_mm(rows, self.up_proj.weight.mT, offs=ends)
        return F.grouped_mm(activated(hidden, self.shape.expert), self.down_proj.weight.mT, offs=ends)

    def _has_grouped_product(self, x: Tensor) -> bool:
        """Of weights in bf16; on a CPU it is the loop, and slower."""
        is_bf16 = x.dtype == self.up_proj.weight.dtype == torch.bfloat16
        return is_bf16 and x.device.type == "cuda" and hasattr(F, "grouped_mm")
