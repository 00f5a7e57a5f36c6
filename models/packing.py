"""How a ragged pack of segments is laid out in chunks, worked out once for all layers.

L = tokens in the pack, S = segments (one per document), Q = chunk length, K = chunks in the pack.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Segments of any lengths, laid end to end and cut into chunks that never span two segments.

    Only the last chunk of a segment may be short. A segment that starts at a multiple of Q of its document
    is therefore cut at the same places whatever else is in the pack.
    """

    lengths: tuple[int, ...]
    """Tokens of each segment, at least one."""
    chunk_size: int
    device: torch.device
    """Where the index tensors live: the model's device."""

    def __post_init__(self) -> None:
        assert self.lengths and min(self.lengths) > 0, "a pack holds at least one segment, each of at least one token"

    @staticmethod
    def of(cu_seqlens: Sequence[int], chunk_size: int, device: torch.device) -> "Packing":
        """From cumulative lengths (0, l_0, l_0 + l_1, ..., L)."""
        return Packing(tuple(stop - start for start, stop in pairwise(cu_seqlens)), chunk_size, device)

    @cached_property
    def num_tokens(self) -> int:
        return sum(self.lengths)

    @cached_property
    def starts(self) -> Tensor:
        """(S,) index of the first token of each segment."""
        return self._lengths.cumsum(0) - self._lengths

    @cached_property
    def lasts(self) -> Tensor:
        """(S,) index of the last token of each segment."""
        return self._lengths.cumsum(0) - 1

    @cached_property
    def last_places(self) -> tuple[Tensor, Tensor]:
        """(S,) chunk and (S,) place in it of the last token of each segment."""
        return self.first_chunks + self._counts - 1, (self._lengths - 1) % self.chunk_size

    @cached_property
    def chunks_per_segment(self) -> tuple[int, ...]:
        return tuple(-(-length // self.chunk_size) for length in self.lengths)

    @cached_property
    def num_chunks(self) -> int:
        return sum(self.chunks_per_segment)

    @cached_property
    def is_dense(self) -> bool:
        """Every chunk is full, so that chunks are a plain view of the tokens."""
        return self.num_tokens == self.num_chunks * self.chunk_size

    @cached_property
    def segment_of_chunk(self) -> Tensor:
        """(K,)"""
        return torch.repeat_interleave(torch.arange(len(self.lengths), device=self.device), self._counts)

    @cached_property
    def token_of_place(self) -> Tensor:
        """(K * Q,) the token at each place of each chunk; empty places point at row L, which holds zeros."""
        places = torch.arange(self.num_chunks * self.chunk_size, device=self.device)
        chunks = places // self.chunk_size
        segment = self.segment_of_chunk[chunks]
        offset = places - self.first_chunks[segment] * self.chunk_size
        inside = offset < self._lengths[segment]
        return torch.where(inside, self.starts[segment] + offset, self.num_tokens)

    @cached_property
    def place_of_token(self) -> Tensor:
        """(L,) the inverse of `token_of_place`."""
        return (self.token_of_place < self.num_tokens).nonzero().squeeze(1)

    @cached_property
    def first_chunks(self) -> Tensor:
        """(S,) the first chunk of each segment."""
        return self._counts.cumsum(0) - self._counts

    @cached_property
    def by_length(self) -> Tensor:
        """(S,) segments, the one with the most chunks first."""
        return torch.argsort(self._counts, descending=True, stable=True)

    @cached_property
    def rounds(self) -> tuple[Tensor, ...]:
        """Round r lists the r-th chunk of each segment that has one, in the order of `by_length`."""
        counts, first = self._counts[self.by_length], self.first_chunks[self.by_length]
        return tuple(first[counts > r] + r for r in range(max(self.chunks_per_segment)))

    @cached_property
    def _lengths(self) -> Tensor:
        return torch.tensor(self.lengths, device=self.device)

    @cached_property
    def _counts(self) -> Tensor:
        return torch.tensor(self.chunks_per_segment, device=self.device)

    def to_chunks(self, packed: Tensor) -> Tensor:
        """(L, ...) -> (K, Q, ...), zeros at empty places."""
        if not self.is_dense:
            padded = torch.cat([packed, packed.new_zeros((1, *packed.shape[1:]))])
            packed = padded.index_select(0, self.token_of_place)
        return packed.unflatten(0, (self.num_chunks, self.chunk_size))

    def to_tokens(self, chunked: Tensor) -> Tensor:
        """(K, Q, ...) -> (L, ...)."""
        flat = chunked.flatten(0, 1)
        return flat if self.is_dense else flat.index_select(0, self.place_of_token)
