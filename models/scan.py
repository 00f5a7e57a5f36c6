"""The Mamba-3 SISO recurrence, in chunks of matrix products and in single steps, on ragged packs with carried state.

Source: Mamba-3, arXiv 2603.15569, equations 5, 6, 11 and Proposition 4.

L = tokens in the pack, S = segments, K = chunks, Q = chunk length,
H = heads, P = head width, N = state channels, A = rotary angles.

The trapezoid h_t = alpha_t h_(t-1) + beta_t B_(t-1) x_(t-1) + gamma_t B_t x_t, where beta_t is
(1 - lambda_t) dt_t alpha_t, takes x_s in twice: at s with gamma_s and at s + 1 with beta_(s+1). Both decay alike
afterwards, so that a later token sees x_s with weight gamma_s + (1 - lambda_(s+1)) dt_(s+1), and only the token s
itself sees gamma_s alone.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.packing import Packing
from models.state import State


@dataclass(frozen=True)
class Inputs:
    """What the projections of one layer give to the recurrence, one row per token."""

    x: Tensor
    """(L, H, P)"""
    b: Tensor
    """(L, H, N) normalised, with bias, not yet rotated."""
    c: Tensor
    """(L, H, N) likewise."""
    dt: Tensor
    """(L, H) step size, positive."""
    a_dt: Tensor
    """(L, H) log of the decay alpha, negative."""
    trap: Tensor
    """(L, H) lambda in (0, 1)."""
    angle: Tensor
    """(L, A) phase velocity in (-pi, pi), shared by the heads."""


def rotate(channels: Tensor, angle: Tensor) -> Tensor:
    """Rotate the pairs (2i, 2i + 1) of the last axis by angle i; channels beyond 2A keep still.

    channels (..., N), angle (..., A) -> (..., N).
    """
    cos, sin = angle.cos(), angle.sin()
    even, odd = channels[..., : 2 * angle.shape[-1]].unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
    return torch.cat((turned, channels[..., turned.shape[-1] :]), dim=-1)


def step(inputs: Inputs, skip: Tensor, state: State) -> tuple[Tensor, State]:
    """One token for each of S documents.

    inputs has L = S rows, skip is D (H,), state is one layer's (S, ...). Returns y (S, H, P) and the next state.
    """
    angle = (state.angle + inputs.angle.unsqueeze(1) * inputs.dt.unsqueeze(-1)).remainder(2 * math.pi)
    b, c = rotate(inputs.b, angle), rotate(inputs.c, angle)
    alpha = inputs.a_dt.exp()
    before = (1 - inputs.trap) * inputs.dt * alpha
    now = inputs.trap * inputs.dt
    ssm = (
        alpha[..., None, None] * state.ssm
        + (before.unsqueeze(-1) * state.v).unsqueeze(-1) * state.k.unsqueeze(-2)
        + (now.unsqueeze(-1) * inputs.x).unsqueeze(-1) * b.unsqueeze(-2)
    )
    y = (ssm @ c.unsqueeze(-1)).squeeze(-1) + skip.unsqueeze(-1) * inputs.x
    return y, State(angle, ssm, b, inputs.x)


def scan(inputs: Inputs, skip: Tensor, state: State, packing: Packing) -> tuple[Tensor, State]:
    """Every token of a ragged pack, each segment from its own state.

    inputs has L rows, skip is D (H,), state is one layer's (S, ...). Returns y (L, H, P) and the state (S, ...)
    after the last token of each segment.
    """
    angle = _cumulative_angle(inputs, state.angle, packing)
    b, c = rotate(inputs.b, angle), rotate(inputs.c, angle)
    now = inputs.trap * inputs.dt
    pending = (1 - inputs.trap) * inputs.dt
    weight = now + _next_in_segment(pending, packing)

    chunks = _Chunks.cut(inputs, b, c, now, weight, packing)
    first = pending[packing.starts]
    carried = state.ssm + (first.unsqueeze(-1) * state.v).unsqueeze(-1) * state.k.unsqueeze(-2)
    entering, final = _pass_states(chunks, carried, packing)
    y = packing.to_tokens(chunks.output(entering)) + skip.unsqueeze(-1) * inputs.x
    return y, State(angle[packing.lasts], final, b[packing.lasts], inputs.x[packing.lasts])


@dataclass(frozen=True)
class _Chunks:
    """One layer's inputs cut into chunks, with heads before places. Empty places hold zeros and decay by nothing."""

    x: Tensor
    """(K, H, Q, P)"""
    weighted: Tensor
    """(K, H, Q, P) x times its weight for later tokens."""
    b: Tensor
    """(K, H, Q, N)"""
    c: Tensor
    """(K, H, Q, N)"""
    now: Tensor
    """(K, H, Q) gamma."""
    decay: Tensor
    """(K, H, Q) log decay from the chunk's start to after each place."""

    @staticmethod
    def cut(inputs: Inputs, b: Tensor, c: Tensor, now: Tensor, weight: Tensor, packing: Packing) -> "_Chunks":
        def heads_first(packed: Tensor) -> Tensor:
            return packing.to_chunks(packed).transpose(1, 2)

        return _Chunks(
            x=heads_first(inputs.x),
            weighted=heads_first(inputs.x * weight.unsqueeze(-1)),
            b=heads_first(b),
            c=heads_first(c),
            now=heads_first(now),
            decay=heads_first(inputs.a_dt).cumsum(-1),
        )

    def summary(self) -> Tensor:
        """(K, H, P, N) what each chunk adds to the state at its end."""
        to_end = (self.decay[..., -1:] - self.decay).exp()
        return (self.weighted * to_end.unsqueeze(-1)).transpose(-1, -2) @ self.b

    def output(self, entering: Tensor) -> Tensor:
        """y without the skip, from the states (K, H, P, N) that enter the chunks: (K, Q, H, P)."""
        size = self.decay.shape[-1]
        scores = self.c @ self.b.transpose(-1, -2)
        diagonal = scores.diagonal(dim1=-2, dim2=-1) * self.now
        earlier = torch.ones(size, size, dtype=torch.bool, device=scores.device).tril(-1)
        between = (self.decay.unsqueeze(-1) - self.decay.unsqueeze(-2)).masked_fill(~earlier, -torch.inf)
        y = (scores * between.exp()) @ self.weighted
        y = y + diagonal.unsqueeze(-1) * self.x
        y = y + (self.c * self.decay.exp().unsqueeze(-1)) @ entering.transpose(-1, -2)
        return y.transpose(1, 2)


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
        current = current * decay[this_round] + added[this_round]
        num_left = len(packing.rounds[index + 1]) if index + 1 < len(packing.rounds) else 0
        finished.append(current[num_left:])
        current = current[:num_left]
    order = torch.cat(packing.rounds)
    final = torch.cat(finished[::-1])
    return torch.cat(entering)[torch.argsort(order)], final[torch.argsort(packing.by_length)]


def _next_in_segment(values: Tensor, packing: Packing) -> Tensor:
    """(L, H) shifted so that each token sees its successor's value; zero at the end of a segment."""
    shifted = torch.cat((values[1:], values.new_zeros((1, values.shape[1]))))
    keep = torch.ones(len(values), 1, dtype=values.dtype, device=values.device)
    keep[packing.lasts] = 0
    return shifted * keep


def _cumulative_angle(inputs: Inputs, entering: Tensor, packing: Packing) -> Tensor:
    """(L, H, A) phase after each token, in [0, 2 pi), from the phases (S, H, A) that enter the segments.

    Sums within a chunk in fp32 and across chunks in fp64, so that the error does not grow with the pack.
    """
    turns = packing.to_chunks(inputs.angle.unsqueeze(1) * inputs.dt.unsqueeze(-1)).cumsum(1)
    totals = turns[:, -1].double()
    before = totals.cumsum(0) - totals
    first = before[packing.first_chunks]
    start = before - first[packing.segment_of_chunk] + entering.double()[packing.segment_of_chunk]
    start = start.remainder(2 * math.pi).to(turns.dtype)
    return packing.to_tokens((turns + start.unsqueeze(1)).remainder(2 * math.pi))
