"""How a ragged pack of segments is cut into chunks, worked out once for all layers.

L = tokens in the pack, S = segments (one per document), K = chunks in the pack.
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

    Only the last chunk of a segment may be short. A segment that starts at a multiple of the chunk size of its
    document is therefore cut at the same places whatever else is in the pack.
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
        return self.lasts + 1 - torch.tensor(self.lengths, device=self.device)

    @cached_property
    def lasts(self) -> Tensor:
        """(S,) index of the last token of each segment."""
        return torch.tensor(self.lengths, device=self.device).cumsum(0) - 1

    @cached_property
    def chunk_lengths(self) -> tuple[int, ...]:
        """(K,) tokens of each chunk, in order."""
        size = self.chunk_size
        return tuple(min(size, length - start) for length in self.lengths for start in range(0, length, size))

    @cached_property
    def segments(self) -> tuple[int, ...]:
        """(K,) the segment of each chunk."""
        size = self.chunk_size
        return tuple(segment for segment, length in enumerate(self.lengths) for _ in range(0, length, size))
