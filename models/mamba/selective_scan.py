"""The Mamba-1 recurrence, in chunks by a parallel prefix and in single steps, on ragged packs with carried state.

Source: Mamba, arXiv 2312.00752, section 3; the prefix is that of Brent and Kung (A Regular Layout for Parallel Adders,
1982), over pairs of a decay and an input as in Blelloch (Prefix Sums and Their Applications, 1990).

L = tokens in the pack, S = segments, Q = tokens in a chunk, E = channels (d_inner), N = state numbers of a channel.

h_t = exp(dt_t A) h_(t-1) + dt_t x_t B_t and y_t = h_t C_t + D x_t for each channel by itself, where A < 0 is N numbers.
Since each of the E * N numbers decays in its own way there is no matrix product in it, unlike in Mamba-2. A state is
(N, E) here, channels last, so that B and C are the same all along a row of memory.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from models.mamba.packing import Packing

NUMBERS_AT_ONCE = 1 << 14
"""Of a token's state: what is computed with, two arrays of Q times as many, is 4 MiB in fp32 and stays in the cache."""


@dataclass(frozen=True)
class Inputs:
    """What one layer gives to the recurrence, one row per token."""

    x: Tensor
    """(L, E)"""
    b: Tensor
    """(L, N)"""
    c: Tensor
    """(L, N)"""
    dt: Tensor
    """(L, E) step size, positive."""


@dataclass(frozen=True)
class Channels:
    """What each channel of one layer adds of its own."""

    rates: Tensor
    """(N, E) A / ln 2, negative: exp2 takes a third of the time of exp."""
    skip: Tensor
    """(E,) D."""

    @staticmethod
    def of(a_log: Tensor, skip: Tensor, dtype: torch.dtype) -> "Channels":
        """From the parameters A_log (E, N) and D (E,)."""
        return Channels((a_log.to(dtype).exp() / -math.log(2)).mT.contiguous(), skip.to(dtype))


def step(inputs: Inputs, channels: Channels, state: Tensor) -> tuple[Tensor, Tensor]:
    """One token for each of S documents.

    inputs has L = S rows; state (S, N, E). Returns y (S, E) and the next state.
    """
    decay = torch.exp2(inputs.dt.unsqueeze(1) * channels.rates)
    added = inputs.b.unsqueeze(-1) * (inputs.dt * inputs.x).unsqueeze(1)
    state = torch.addcmul(added, state, decay)
    return _with_skip(_read(inputs.c, state), inputs, channels), state


def step_(inputs: Inputs, channels: Channels, slots: Tensor, rows: Tensor) -> Tensor:
    """`step` of document i from row `rows[i]` of one layer's slots (rows, N, E), in place: one document's state after
    the other. Returns y (S, E). Keeps no gradients."""
    tokens = zip(inputs.b.unsqueeze(-1), inputs.dt * inputs.x, inputs.c, inputs.dt, strict=True)
    y = []
    for row, (b, dt_x, c, dt) in zip(rows.tolist(), tokens, strict=True):
        decay = (dt * channels.rates).exp2_()
        y.append(c @ slots[row].mul_(decay).addcmul_(b, dt_x))
    return _with_skip(torch.stack(y), inputs, channels)


def scan(inputs: Inputs, channels: Channels, state: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
    """Every token of a ragged pack, each segment from its own state.

    inputs has L rows; state (S, N, E). Returns y (L, E) and the state after the last token of each segment. Goes from
    chunk to chunk, and over a share of the channels at a time, so that what it computes with stays in the cache.
    """
    width = max(1, NUMBERS_AT_ONCE // state.shape[1])
    shares = (each.split(width, dim=-1) for each in (inputs.x * inputs.dt, inputs.dt, channels.rates, state))
    parts = [_scan_share(inputs, packing, *share) for share in zip(*shares, strict=True)]
    y, after = (torch.cat(part, dim=-1) for part in zip(*parts, strict=True))
    return _with_skip(y, inputs, channels), after


def _scan_share(
    inputs: Inputs, packing: Packing, dt_x: Tensor, dt: Tensor, rates: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """`scan` of some channels, without the skip."""
    states, y = list(state), []
    lengths = packing.chunk_lengths
    chunks = (each.split(lengths) for each in (dt_x.unsqueeze(1), dt.unsqueeze(1), inputs.b.unsqueeze(-1), inputs.c))
    for segment, dt_x, dt, b, c in zip(packing.segments, *chunks, strict=True):
        after_each = recur(torch.exp2(dt * rates), b * dt_x, states[segment])
        y.append(_read(c, after_each))
        # A copy, or the chunk would stay in memory as long as the state.
        states[segment] = after_each[-1].clone()
    return torch.cat(y), torch.stack(states)


def recur(decay: Tensor, added: Tensor, state: Tensor) -> Tensor:
    """The states h_t = decay_t h_(t-1) + added_t after each of Q tokens, from the state before.

    decay and added (Q, N, E), state (N, E) -> (Q, N, E). Overwrites decay and added, unless gradients are kept.
    """
    if torch.is_grad_enabled() and any(each.requires_grad for each in (decay, added, state)):
        states: Tensor = _Recurrence.apply(decay, added, state)  # type: ignore[no-untyped-call]
        return states
    added[0].addcmul_(decay[0], state)
    _prefix_(decay, added)
    return added


def _prefix_(decay: Tensor, added: Tensor) -> None:
    """Turns added_t into h_t, from a state of zero, in 2 log2 Q rounds; what is left in decay is of no use.

    Each round of the way up takes two neighbors together as one token, whose end is the second's; on the way down the
    first one of each two gets what was before it. No division and no logarithm: a decay that underflows is zero.
    """
    count = len(added)
    if count == 1:
        return
    even = slice(0, count // 2 * 2, 2)
    added[1::2].addcmul_(decay[1::2], added[even])
    if count > 3:
        decay[1::2].mul_(decay[even])
    _prefix_(decay[1::2], added[1::2])
    if count > 2:
        added[2::2].addcmul_(decay[2::2], added[1 : count - 1 : 2])


class _Recurrence(torch.autograd.Function):
    """`recur` with gradients, which are a recurrence themselves, from the last token to the first."""

    @staticmethod
    def forward(ctx: FunctionCtx, decay: Tensor, added: Tensor, state: Tensor) -> Tensor:
        states = recur(decay.clone(), added.clone(), state)
        ctx.save_for_backward(decay, states, state)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decay, states, state = ctx.saved_tensors  # type: ignore[attr-defined]
        # Flipped, so that the last token is first: nothing comes back to it, and to others by the next one's decay.
        next_decay = decay.roll(-1, dims=0).flip(0)
        of_states = recur(next_decay, gradient.flip(0), torch.zeros_like(state)).flip(0)
        before = torch.cat((state.unsqueeze(0), states[:-1]))
        return of_states * before, of_states, of_states[0] * decay[0]


def _read(c: Tensor, states: Tensor) -> Tensor:
    """c (L, N), states (L, N, E) -> (L, E)."""
    return (c.unsqueeze(1) @ states).squeeze(1)


def _with_skip(y: Tensor, inputs: Inputs, channels: Channels) -> Tensor:
    return torch.addcmul(y, inputs.x, channels.skip)
