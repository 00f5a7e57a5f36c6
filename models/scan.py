"""The Mamba-3 recurrence, in chunks of matrix products and in single steps, on ragged packs with carried state.

Source: Mamba-3, arXiv 2603.15569, equations 5, 6, 11, Proposition 4 and appendix C (MIMO).

L = tokens in the pack, S = segments, K = chunks, Q = tokens in a chunk, H = heads, P = head width, N = state channels,
R = rank (1 for SISO), G = groups of B and C, A = rotary angles.

The trapezoid h_t = alpha_t h_(t-1) + beta_t B_(t-1) x_(t-1) + gamma_t B_t x_t, where beta_t is
(1 - lambda_t) dt_t alpha_t, takes x_s in twice: at s with gamma_s and at s + 1 with beta_(s+1). Both decay alike
afterwards, so that a later token sees x_s with weight gamma_s + (1 - lambda_(s+1)) dt_(s+1), and only the token s
itself sees gamma_s alone. MIMO of rank R is the same with R rows of B, C and x for every token.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.packing import Packing
from models.state import State

FULL_TURN = 2 * math.pi


@dataclass(frozen=True)
class Inputs:
    """What the projections of one layer give to the recurrence, one row per token."""

    x: Tensor
    """(L, H, P)"""
    b: Tensor
    """(L, R, G, N) normalised, in turning order: the pair i is at channels 2i and 2i + 1."""
    c: Tensor
    """(L, R, G, N) likewise."""
    dt: Tensor
    """(L, H) step size, positive."""
    a_dt: Tensor
    """(L, H) log of the decay alpha, negative."""
    trap: Tensor
    """(L, H) lambda in (0, 1)."""
    angle: Tensor
    """(L, A) phase velocity in (-pi, pi), shared by the heads."""


@dataclass(frozen=True)
class Heads:
    """What each head of one layer adds of its own."""

    b_bias: Tensor
    """(H, R, N) in turning order."""
    c_bias: Tensor
    """(H, R, N) likewise."""
    skip: Tensor
    """(H,) D."""
    x_ranks: Tensor | None
    """(H, R, P) how x enters each rank; None for SISO."""

    @property
    def rank(self) -> int:
        return self.b_bias.shape[1]

    def ranked(self, x: Tensor) -> Tensor:
        """x (K, H, Q, P) as it enters each rank, (K, H, Q, R, P)."""
        return x.unsqueeze(-2) if self.x_ranks is None else x.unsqueeze(-2) * self.x_ranks.unsqueeze(1)


def spread(groups: Tensor, bias: Tensor, angle: Tensor) -> Tensor:
    """B or C of every head: with its bias, and turned.

    groups (K, Q, R, G, N), bias (H, R, N), angle (K, H, Q, A) -> (K, H, Q, R, N). The pair (2i, 2i + 1) turns by
    angle i; channels beyond 2A keep still.
    """
    by_group = bias.unflatten(0, (groups.shape[3], -1)).unsqueeze(2)
    channels = (groups.permute(0, 3, 1, 2, 4).unsqueeze(2) + by_group).flatten(1, 2)
    pairs = channels[..., : 2 * angle.shape[-1]].unflatten(-1, (-1, 2))
    torch.view_as_complex(pairs).mul_(torch.complex(angle.cos(), angle.sin()).unsqueeze(-2))
    return channels


def step(inputs: Inputs, heads: Heads, state: State) -> tuple[Tensor, State]:
    """One token for each of S documents.

    inputs has L = S rows, state is one layer's (S, ...). Returns y (S, H, R, P) and the next state.
    """
    angle = (state["angle"] + inputs.angle.unsqueeze(1) * inputs.dt.unsqueeze(-1)).remainder(FULL_TURN)
    b = spread(inputs.b.unsqueeze(1), heads.b_bias, angle.unsqueeze(2)).squeeze(2)
    c = spread(inputs.c.unsqueeze(1), heads.c_bias, angle.unsqueeze(2)).squeeze(2)
    alpha = inputs.a_dt.exp()
    before = ((1 - inputs.trap) * inputs.dt * alpha).unsqueeze(-1) * state["v"]
    x = heads.ranked(torch.stack(((inputs.trap * inputs.dt).unsqueeze(-1) * inputs.x, before, inputs.x), dim=2))
    # Both ends of the trapezoid in one product over 2R rows.
    added = x[:, :, :2].flatten(2, 3).transpose(-1, -2) @ torch.cat((b, state["k"]), dim=2)
    ssm = torch.addcmul(added, state["ssm"], alpha[..., None, None])
    y = c @ ssm.transpose(-1, -2) + heads.skip[:, None, None] * x[:, :, 2]
    return y, State({"angle": angle, "ssm": ssm, "k": b, "v": inputs.x})


def scan(inputs: Inputs, heads: Heads, state: State, packing: Packing) -> tuple[Tensor, State]:
    """Every token of a ragged pack, each segment from its own state.

    inputs has L rows, state is one layer's (S, ...). Returns y (L, H, R, P) and the state (S, ...) after the last
    token of each segment.
    """
    angle = _cumulative_angle(inputs, state["angle"], packing)
    chunks = _Chunks.cut(inputs, heads, angle, packing)
    v = heads.ranked(state["v"].unsqueeze(2)).squeeze(2)
    carried = state["ssm"] + (chunks.pending[packing.first_chunks, :, 0, None, None] * v).mT @ state["k"]
    entering, final = _pass_states(chunks, carried, packing)
    y = packing.to_tokens(chunks.output(entering, heads.skip).transpose(1, 2))
    chunk, place = packing.last_places
    after = {
        "angle": angle[chunk, :, place],
        "ssm": final,
        "k": chunks.b.unflatten(2, (-1, heads.rank))[chunk, :, place],
        "v": inputs.x[packing.lasts],
    }
    return y, State(after)


@dataclass(frozen=True)
class _Chunks:
    """One layer's inputs cut into chunks of QR rows, with heads before rows. Empty places weigh and decay nothing."""

    x: Tensor
    """(K, H, QR, P)"""
    b: Tensor
    """(K, H, QR, N)"""
    c: Tensor
    """(K, H, QR, N)"""
    now: Tensor
    """(K, H, Q) gamma: the weight of a token for itself."""
    pending: Tensor
    """(K, H, Q) (1 - lambda) dt: what the token adds to the weight of the one before it."""
    weight: Tensor
    """(K, H, Q) the weight of a token for later ones."""
    decay: Tensor
    """(K, H, Q) log decay from the chunk's start to after each place."""

    @staticmethod
    def cut(inputs: Inputs, heads: Heads, angle: Tensor, packing: Packing) -> "_Chunks":
        now = inputs.trap * inputs.dt
        pending = inputs.dt - now
        per_head = torch.stack((now, pending, now + _next_in_segment(pending, packing), inputs.a_dt), dim=-1)
        now, pending, weight, a_dt = packing.to_chunks(per_head).permute(3, 0, 2, 1).contiguous()
        return _Chunks(
            x=heads.ranked(packing.to_chunks(inputs.x).transpose(1, 2)).flatten(2, 3),
            b=spread(packing.to_chunks(inputs.b), heads.b_bias, angle).flatten(2, 3),
            c=spread(packing.to_chunks(inputs.c), heads.c_bias, angle).flatten(2, 3),
            now=now,
            pending=pending,
            weight=weight,
            decay=a_dt.cumsum(-1),
        )

    @property
    def rank(self) -> int:
        return self.x.shape[2] // self.decay.shape[2]

    def per_row(self, per_place: Tensor) -> Tensor:
        """(K, H, Q) -> (K, H, QR, 1)."""
        return (
            per_place.repeat_interleave(self.rank, dim=-1).unsqueeze(-1) if self.rank > 1 else per_place.unsqueeze(-1)
        )

    def summary(self) -> Tensor:
        """(K, H, P, N) what each chunk adds to the state at its end."""
        to_end = self.weight * (self.decay[..., -1:] - self.decay).exp()
        return (self.x * self.per_row(to_end)).mT @ self.b

    def mixing(self) -> Tensor:
        """(K, H, Q, Q) how much each place (last axis) weighs at each place: nothing before its own."""
        size = self.decay.shape[-1]
        future = torch.full((size, size), -torch.inf, dtype=self.decay.dtype, device=self.decay.device).triu(1)
        mixing = (self.decay.unsqueeze(-1) - self.decay.unsqueeze(-2)).add_(future).exp_() * self.weight.unsqueeze(-2)
        mixing.diagonal(dim1=-2, dim2=-1).copy_(self.now)
        return mixing

    def output(self, entering: Tensor, skip: Tensor) -> Tensor:
        """y from the states (K, H, P, N) that enter the chunks, with D's skip: (K, H, Q, R, P)."""
        rows = (-1, self.rank)
        scores = (self.c @ self.b.mT).unflatten(3, rows).unflatten(2, rows)
        scores = (scores * self.mixing()[:, :, :, None, :, None]).flatten(4, 5).flatten(2, 3)
        y = torch.addcmul(scores @ self.x, self.c @ entering.mT, self.per_row(self.decay.exp()))
        return y.addcmul_(self.x, skip[:, None, None]).unflatten(2, rows)


def _pass_states(chunks: _Chunks, carried: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
    """Hand the state from chunk to chunk within each segment.

    carried (S, H, P, N) -> states entering each chunk (K, H, P, N), states after each segment (S, H, P, N).
    """
    added = chunks.summary()
    decay = chunks.decay[..., -1].exp()[..., None, None]
    current = carried[packing.by_length]
    entering, finished = [], []
    for index, this_round in enumerate(packing.rounds):
        entering.append(current)
        current = torch.addcmul(added[this_round], current, decay[this_round])
        num_left = len(packing.rounds[index + 1]) if index + 1 < len(packing.rounds) else 0
        finished.append(current[num_left:])
        current = current[:num_left]
    order = torch.cat(packing.rounds)
    final = torch.cat(finished[::-1])
    return torch.cat(entering)[torch.argsort(order)], final[torch.argsort(packing.by_length)]


def _next_in_segment(values: Tensor, packing: Packing) -> Tensor:
    """(L, H) shifted so that each token sees its successor's value; zero at the end of a segment."""
    shifted = torch.cat((values[1:], values.new_zeros((1, values.shape[1]))))
    return shifted.index_fill(0, packing.lasts, 0.0)


def _cumulative_angle(inputs: Inputs, entering: Tensor, packing: Packing) -> Tensor:
    """(K, H, Q, A) phase after each token, in [0, 2 pi), from the phases (S, H, A) that enter the segments.

    Sums within a chunk in fp32 and across chunks in fp64, so that the error does not grow with the pack.
    """
    velocity, dt = packing.to_chunks(inputs.angle).unsqueeze(1), packing.to_chunks(inputs.dt).transpose(1, 2)
    turns = (velocity * dt.unsqueeze(-1)).cumsum(2)
    totals = turns[:, :, -1].double()
    before = totals.cumsum(0) - totals
    first = before[packing.first_chunks]
    start = before - first[packing.segment_of_chunk] + entering.double()[packing.segment_of_chunk]
    start = start.remainder(FULL_TURN).to(turns.dtype)
    return (turns + start.unsqueeze(2)).remainder_(FULL_TURN)
