"""The Mamba-3 recurrence, in chunks of matrix products and in single steps, on ragged packs with carried state.

Source: Mamba-3, arXiv 2603.15569, equations 5, 6, 11, Proposition 4 and appendix C (MIMO).

L = tokens in the pack, S = segments, Q = tokens in a chunk, H = heads, P = head width, N = state channels,
R = rank (1 for SISO), G = groups of B and C, A = rotary angles.

The trapezoid h_t = alpha_t h_(t-1) + beta_t B_(t-1) x_(t-1) + gamma_t B_t x_t, where beta_t is
(1 - lambda_t) dt_t alpha_t, takes x_s in twice: at s with gamma_s and at s + 1 with beta_(s+1). Both decay alike
afterwards, so that a later token sees x_s with weight gamma_s + (1 - lambda_(s+1)) dt_(s+1), and only the token s
itself sees gamma_s alone. MIMO of rank R is the same with R rows of B, C and x for every token.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from models.mamba.packing import Packing
from models.state import State

FULL_TURN = 2 * math.pi
FAINTEST = -60.0
"""Log of the decay after which nothing is left of a token."""


@dataclass(frozen=True)
class Inputs:
    """What the projections of one layer give to the recurrence, one row per token."""

    x: Tensor
    """(L, H, P)"""
    b: Tensor
    """(L, R, G, N) normalized, in turning order: the pair i is at channels 2i and 2i + 1."""
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
        """x (..., H, P) as it enters each rank, (..., H, R, P)."""
        return x.unsqueeze(-2) if self.x_ranks is None else x.unsqueeze(-2) * self.x_ranks

    def biases(self, groups: int) -> Tensor:
        """Of B and C, (2, G, H / G, 1, R, N)."""
        return torch.stack((self.b_bias, self.c_bias)).unflatten(1, (groups, -1)).unsqueeze(3)


def spread(groups: Tensor, biases: Tensor, angle: Tensor) -> Tensor:
    """B and C of every head: with their biases, and turned.

    groups (2, G, 1, Q, R, N), biases (2, G, H / G, 1, R, N), angle (H, Q, A) -> (2, H, Q, R, N). The pair
    (2i, 2i + 1) turns by angle i; channels beyond 2A keep still.
    """
    channels = (groups + biases).flatten(1, 2)
    pairs = torch.view_as_complex(channels.unflatten(-1, (-1, 2)))
    pairs[..., : angle.shape[-1]].mul_(torch.complex(angle.cos(), angle.sin()).unsqueeze(2))
    return channels


def step(inputs: Inputs, heads: Heads, state: State) -> tuple[Tensor, State]:
    """One token for each of S documents.

    inputs has L = S rows, state is one layer's (S, ...). Returns y (S, H, R, P) and the next state.
    """
    token = _Token.of(inputs, heads, state["angle"], state["k"], state["v"])
    ssm = torch.addcmul(token.ends @ token.keys, state["ssm"], token.alpha)
    return token.c @ ssm.mT + token.skipped, State({"ssm": ssm, **token.after})


def step_(inputs: Inputs, heads: Heads, slots: State, rows: Tensor) -> Tensor:
    """`step` of document i from row `rows[i]` of one layer's slots, in place: one document's state after the other.

    inputs has L = S rows. Returns y (S, H, R, P). Keeps no gradients.
    """
    token = _Token.of(inputs, heads, *(slots[name].index_select(0, rows) for name in ("angle", "k", "v")))
    y = []
    for row, ends, keys, c, alpha in zip(rows.tolist(), token.ends, token.keys, token.c, token.alpha, strict=True):
        ssm = slots["ssm"][row].mul_(alpha).baddbmm_(ends, keys)
        y.append(ssm @ c.mT)
    for name, values in token.after.items():
        slots[name].index_copy_(0, rows, values)
    return torch.stack(y).mT + token.skipped


@dataclass(frozen=True)
class _Token:
    """What one token of each of S documents does to the state, and what it reads from it."""

    alpha: Tensor
    """(S, H, 1, 1) decay."""
    ends: Tensor
    """(S, H, P, 2R) x at both ends of the trapezoid."""
    keys: Tensor
    """(S, H, 2R, N) B at both ends."""
    c: Tensor
    """(S, H, R, N)"""
    skipped: Tensor
    """(S, H, R, P) D x."""
    after: dict[str, Tensor]
    """The next state but for ssm."""

    @staticmethod
    def of(inputs: Inputs, heads: Heads, angle: Tensor, k: Tensor, v: Tensor) -> "_Token":
        """From the state (S, ...) before."""
        angle = (angle + inputs.angle.unsqueeze(1) * inputs.dt.unsqueeze(-1)).remainder(FULL_TURN)
        turned = spread(in_groups(inputs), heads.biases(inputs.b.shape[2]), angle.transpose(0, 1))
        b, c = turned.transpose(1, 2).unbind()
        alpha = inputs.a_dt.exp().unsqueeze(-1)
        now = (inputs.trap * inputs.dt).unsqueeze(-1) * inputs.x
        before = ((1 - inputs.trap) * inputs.dt).unsqueeze(-1) * alpha * v
        now, before, x = heads.ranked(torch.stack((now, before, inputs.x)))
        return _Token(
            alpha=alpha.unsqueeze(-1),
            ends=torch.cat((now, before), dim=2).mT,
            keys=torch.cat((b, k), dim=2),
            c=c,
            skipped=heads.skip[:, None, None] * x,
            after={"angle": angle, "k": b, "v": inputs.x},
        )


def scan(inputs: Inputs, heads: Heads, state: State, packing: Packing) -> tuple[Tensor, State]:
    """Every token of a ragged pack, each segment from its own state.

    inputs has L rows, state is one layer's (S, ...). Returns y (L, H, R, P) and the state (S, ...) after the last
    token of each segment. Goes from chunk to chunk, so that what a chunk is computed with stays in the cache.
    """
    pending, per_token = coefficients(inputs, packing)
    v = pending[packing.starts][..., None, None] * heads.ranked(state["v"])
    carried = state["ssm"] + v.mT @ state["k"]
    angles, ssms, ks = list(state["angle"].double()), list(carried), list(state["k"])
    biases, y = heads.biases(inputs.b.shape[2]), []
    for segment, chunk in zip(packing.segments, _cut(inputs, heads, per_token, packing), strict=True):
        angle, angles[segment] = chunk.angle(angles[segment])
        b, c = spread(chunk.groups, biases, angle).flatten(2, 3)
        read, ssms[segment] = chunk.read(b, c, ssms[segment], heads.skip)
        y.append(read.transpose(0, 1))
        ks[segment] = b[:, -heads.rank :].clone()
    after = {"angle": torch.stack(angles).to(per_token.dtype), "ssm": torch.stack(ssms), "k": torch.stack(ks)}
    return torch.cat(y).unflatten(0, (-1, heads.rank)).transpose(1, 2), State(after | {"v": inputs.x[packing.lasts]})


def coefficients(inputs: Inputs, packing: Packing) -> tuple[Tensor, Tensor]:
    """What of each token enters with the next one, (1 - lambda) dt (L, H), and dt, now, later and a_dt (4, H, L): the
    step size, the weight of a token for itself and for later ones, and the log of the decay."""
    now = inputs.trap * inputs.dt
    pending = inputs.dt - now
    later = now + _next_in_segment(pending, packing)
    return pending, torch.stack((inputs.dt, now, later, inputs.a_dt)).mT.contiguous()


@dataclass(frozen=True)
class _Chunk:
    """One layer's inputs of a few tokens of one segment, of which each is R rows; heads before rows."""

    x: Tensor
    """(H, QR, P)"""
    groups: Tensor
    """(2, G, 1, Q, R, N) B and C."""
    velocity: Tensor
    """(Q, A)"""
    dt: Tensor
    """(H, Q)"""
    now: Tensor
    """(H, Q) gamma: the weight of a token for itself."""
    later: Tensor
    """(H, Q) the weight of a token for later ones."""
    a_dt: Tensor
    """(H, Q) log of the decay."""

    def angle(self, entering: Tensor) -> tuple[Tensor, Tensor]:
        """Phases after each token (H, Q, A) and the last of them, from the phase (H, A) that enters.

        Summed in fp32 within the chunk and in fp64 from chunk to chunk, so that the error does not grow.
        """
        turns = (self.velocity * self.dt.unsqueeze(-1)).cumsum(1)
        last = (entering + turns[:, -1]).remainder(FULL_TURN)
        return turns + entering.to(turns.dtype).unsqueeze(1), last

    def read(self, b: Tensor, c: Tensor, ssm: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """y with D's skip (H, QR, P) and the next state, from b, c (H, QR, N) and the state ssm (H, P, N)."""
        decay = self.a_dt.cumsum(-1)
        mixing = (decay_of(decay.unsqueeze(-1) - decay.unsqueeze(-2)) * self.later.unsqueeze(-2)).tril_()
        # The last row weighs each token for the chunk's end, as long as the diagonal is that of later tokens.
        to_end = self._per_row(mixing[:, -1])
        mixing.diagonal(dim1=-2, dim2=-1).copy_(self.now)
        scores = self._mixed(c @ b.mT, mixing)
        scores.diagonal(dim1=-2, dim2=-1).add_(skip.unsqueeze(-1))
        so_far = decay_of(decay)
        y = (c @ ssm.mT).mul_(self._per_row(so_far)).baddbmm_(scores, self.x)
        return y, (ssm * so_far[:, -1:, None]).baddbmm_((self.x * to_end).mT, b)

    @property
    def _rank(self) -> int:
        return self.groups.shape[4]

    def _per_row(self, per_token: Tensor) -> Tensor:
        """(H, Q) -> (H, QR, 1), a copy."""
        return per_token.repeat_interleave(self._rank, dim=-1).unsqueeze(-1)

    def _mixed(self, scores: Tensor, mixing: Tensor) -> Tensor:
        """scores (H, QR, QR), each weighed by its tokens' (H, Q, Q)."""
        if self._rank == 1:
            return scores * mixing
        rows = (-1, self._rank)
        by_token = scores.unflatten(2, rows).unflatten(1, rows) * mixing[:, :, None, :, None]
        return by_token.flatten(3, 4).flatten(1, 2)


def _cut(inputs: Inputs, heads: Heads, per_token: Tensor, packing: Packing) -> Iterator[_Chunk]:
    """The chunks of a pack, in order; per_token (4, H, L) is dt, now, later and a_dt."""
    lengths = packing.chunk_lengths
    x = heads.ranked(inputs.x).transpose(0, 1).flatten(1, 2).split([length * heads.rank for length in lengths], dim=1)
    groups = in_groups(inputs).split(lengths, dim=3)
    for parts in zip(x, groups, inputs.angle.split(lengths), per_token.split(lengths, dim=2), strict=True):
        yield _Chunk(*parts[:3], *parts[3])


def in_groups(inputs: Inputs) -> Tensor:
    """B and C, (2, G, 1, L, R, N)."""
    return torch.stack((inputs.b, inputs.c)).permute(0, 3, 1, 2, 4).unsqueeze(2)


def decay_of(log_decay: Tensor) -> Tensor:
    """The decay: at most 1, and no less than what keeps arithmetic clear of subnormal numbers, which are slow."""
    return log_decay.clamp(FAINTEST, 0).exp_()


def _next_in_segment(values: Tensor, packing: Packing) -> Tensor:
    """(L, H) shifted so that each token sees its successor's value; zero at the end of a segment."""
    shifted = torch.cat((values[1:], values.new_zeros((1, values.shape[1]))))
    return shifted.index_fill(0, packing.lasts, 0.0)
