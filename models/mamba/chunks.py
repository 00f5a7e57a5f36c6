"""All chunks of a pack at once: where their tokens stand, and which state enters each of them. For training on a GPU.

Source: Transformers are SSMs (Mamba-2), arXiv 2405.21060, section 6.

L = tokens in the pack, S = segments, K = chunks, Q = tokens in a chunk, H = heads, P = head width, N = state channels,
R = rank of MIMO (1 for SISO and Mamba-2).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.mamba.packing import Packing
from models.mamba.scan import decay_of


@dataclass(frozen=True)
class Layout:
    """Where tokens stand once chunks have one length: (K, Q), the end of short ones filled up."""

    packing: Packing
    tokens: Tensor
    """(K, Q) which token stands at a place; any where none does."""
    is_token: Tensor
    """(K, Q)"""
    segments: Tensor
    """(K,) to which segment each chunk belongs."""
    first: Tensor
    """(S,) the first chunk of each segment."""
    last: Tensor
    """(S,)"""

    @staticmethod
    def of(packing: Packing) -> "Layout":
        """Of the pack's chunks, in order."""
        device = packing.device
        lengths = torch.tensor(packing.chunk_lengths, device=device)
        places = torch.arange(max(packing.chunk_lengths), device=device)
        is_token = places < lengths.unsqueeze(-1)
        starts = lengths.cumsum(0) - lengths
        segments = torch.tensor(packing.segments, device=device)
        counts = torch.bincount(segments)
        last = counts.cumsum(0) - 1
        tokens = torch.where(is_token, starts.unsqueeze(-1) + places, 0)
        return Layout(packing, tokens, is_token, segments, last + 1 - counts, last)

    def padded(self, per_token: Tensor) -> Tensor:
        """(L, H, R, D) -> (K, H, QR, D), or (L, H) -> (K, Q, H); zero where no token stands."""
        mask = self.is_token.reshape(*self.is_token.shape, *[1] * (per_token.ndim - 1))
        rows = torch.where(mask, per_token[self.tokens], 0.0)
        return rows if rows.ndim == 3 else rows.transpose(1, 2).flatten(2, 3)

    def by_head(self, per_token: Tensor) -> Tensor:
        """(H, L) -> (K, H, Q)."""
        return self.padded(per_token.mT).transpose(1, 2)

    def unpadded(self, y: Tensor, rank: int) -> Tensor:
        """(K, H, QR, P) -> (L, H, R, P)."""
        return y.unflatten(2, (-1, rank)).transpose(1, 2)[self.is_token]


def carried(added: Tensor, log_decay: Tensor, initial: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """The state (K, H, P, N) that enters each chunk, and the one (S, H, P, N) after each segment.

    added (K, H, P, N) is what each chunk adds until its end, log_decay (K, H) what it leaves of what enters it, and
    initial (S, H, P, N) enters each segment.
    """
    until = log_decay.double().cumsum(0)
    before = until - log_decay.double()
    order = torch.arange(len(added), device=added.device)
    is_earlier = (order.unsqueeze(-1) > order) & (layout.segments.unsqueeze(-1) == layout.segments)
    between = (before.unsqueeze(1) - until).to(added.dtype)
    weights = torch.where(is_earlier.unsqueeze(-1), decay_of(between), 0.0)
    since_start = decay_of((before - before[layout.first][layout.segments]).to(added.dtype))
    entering = initial[layout.segments] * since_start[..., None, None]
    entering = entering + torch.einsum("kjh,jhpn->khpn", weights, added)
    after = entering * decay_of(log_decay)[..., None, None] + added
    return entering, after[layout.last]


def with_diagonal_added(scores: Tensor, values: Tensor) -> Tensor:
    """scores (K, H, Q, Q), with values (H,) added where a place reads itself."""
    return scores + torch.diag_embed(values.unsqueeze(-1).expand(-1, scores.shape[-1]))
