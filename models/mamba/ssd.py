"""The Mamba-2 recurrence, in chunks of matrix products and in single steps, on ragged packs with carried state.

Source: Transformers are SSMs (Mamba-2), arXiv 2405.21060, section 6: the state space dual form, SSD.

L = tokens in the pack, S = segments, Q = tokens in a chunk, H = heads, P = head width, N = state channels,
G = groups of heads that share B and C.

h_t = exp(dt_t A) h_(t-1) + dt_t x_t B_t and y_t = h_t C_t + D x_t, where A < 0 is one number for each head. Within a
chunk, y is a causal attention of C to B, weighed by dt and by the decay in between; between chunks goes the state.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.mamba.packing import Packing
from models.mamba.scan import decay_of


@dataclass(frozen=True)
class Inputs:
    """What one layer gives to the recurrence, one row per token."""

    x: Tensor
    """(L, H, P)"""
    b: Tensor
    """(L, G, N)"""
    c: Tensor
    """(L, G, N)"""
    dt: Tensor
    """(L, H) step size, positive."""
    a_dt: Tensor
    """(L, H) log of the decay, negative."""


def step(inputs: Inputs, skip: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """One token for each of S documents.

    inputs has L = S rows; skip (H,) is D, state (S, H, P, N). Returns y (S, H, P) and the next state.
    """
    groups = (inputs.b.shape[1], -1)
    x = (inputs.dt.unsqueeze(-1) * inputs.x).unflatten(1, groups)
    by_group = (state * inputs.a_dt.exp()[..., None, None]).unflatten(1, groups)
    by_group.addcmul_(x.unsqueeze(-1), inputs.b[:, :, None, None])
    read = by_group.flatten(2, 3) @ inputs.c.unsqueeze(-1)
    return torch.addcmul(read.view_as(inputs.x), inputs.x, skip.unsqueeze(-1)), by_group.flatten(1, 2)


def scan(inputs: Inputs, skip: Tensor, state: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
    """Every token of a ragged pack, each segment from its own state.

    inputs has L rows; skip (H,) is D, state (S, H, P, N). Returns y (L, H, P) and the state after the last token of
    each segment. Goes from chunk to chunk, so that what a chunk is computed with stays in the cache.
    """
    states, y = list(state), []
    for segment, chunk in zip(packing.segments, _cut(inputs, packing), strict=True):
        read, states[segment] = chunk.read(states[segment], skip)
        y.append(read)
    return torch.cat(y), torch.stack(states)


@dataclass(frozen=True)
class _Chunk:
    """One layer's inputs of a few tokens of one segment."""

    x: Tensor
    """(Q, H, P)"""
    b: Tensor
    """(G, Q, N)"""
    c: Tensor
    """(G, Q, N)"""
    dt: Tensor
    """(H, Q)"""
    a_dt: Tensor
    """(H, Q)"""

    def read(self, state: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """y with D's skip (Q, H, P) and the next state, from the state (H, P, N) that enters."""
        decay = self.a_dt.cumsum(-1)
        weight = decay_of(decay.unsqueeze(-1) - decay.unsqueeze(-2)) * self.dt.unsqueeze(-2)
        within = self._mixing(weight, skip) @ self.x.transpose(0, 1)
        so_far = decay_of(decay)
        before = self._by_group(state, 0).flatten(1, 2)
        read = (self.c @ before.mT).transpose(0, 1).reshape(self.x.shape)
        y = read.mul_(so_far.mT.unsqueeze(-1)).add_(within.transpose(0, 1))
        # The last row weighs each token for the chunk's end.
        weighed = self._by_group(self.x * weight[:, -1].mT.unsqueeze(-1), 1).flatten(2).transpose(0, 1)
        added = (weighed.mT @ self.b).view(state.shape)
        return y, torch.addcmul(added, state, so_far[:, -1, None, None])

    def _mixing(self, weight: Tensor, skip: Tensor) -> Tensor:
        """(H, Q, Q) how much of x at each place (last axis) is in y at each place, from the weights of places."""
        scores = (self.c @ self.b.mT).tril_()
        mixing = (self._by_group(weight, 0) * scores.unsqueeze(1)).flatten(0, 1)
        mixing.diagonal(dim1=-2, dim2=-1).add_(skip.unsqueeze(-1))
        return mixing

    def _by_group(self, per_head: Tensor, axis: int) -> Tensor:
        """H -> G, H / G on the given axis. Heads of a group share B and C, and so one product."""
        return per_head.unflatten(axis, (len(self.b), -1))


def _cut(inputs: Inputs, packing: Packing) -> Iterator[_Chunk]:
    """The chunks of a pack, in order."""
    per_head = torch.stack((inputs.dt, inputs.a_dt)).mT.contiguous()
    groups = torch.stack((inputs.b, inputs.c)).transpose(1, 2)
    lengths = packing.chunk_lengths
    parts = (inputs.x.split(lengths), groups.split(lengths, dim=2), per_head.split(lengths, dim=2))
    for x, (b, c), (dt, a_dt) in zip(*parts, strict=True):
        yield _Chunk(x, b, c, dt, a_dt)
