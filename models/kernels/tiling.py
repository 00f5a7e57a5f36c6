"""How the scan's kernels cut their work: rows of a tile, warps, stages and spans, by the kind of GPU.

A kernel whose tiles do not fit a chip's registers still runs, many times slower, so that each architecture has its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import triton


@dataclass(frozen=True)
class Launch:
    """Triton's options for one kernel."""

    num_warps: int
    num_stages: int


@dataclass(frozen=True)
class Tiling:
    """For one kind of GPU."""

    rows: int
    """Of a chunk's matrix products: tokens times ranks."""
    turn: Launch
    """With one stage a chunk's loads are waited for; with more they are copied to shared memory ahead."""
    sum: Launch
    read: Launch
    programs: int
    """Programs of a kernel, one for each head and span, that keep the GPU busy."""
    least_span: int = 512
    """Tokens. A shorter span costs more in reading and writing its state than it gains by running beside others."""

    def of_rank(self, rank: int) -> "Tiling":
        """MIMO's factors and biases by rank fill the memory that loads ahead need: they would be copied as well."""
        if rank == 1:
            return self
        return replace(self, turn=replace(self.turn, num_stages=1), read=replace(self.read, num_stages=1))

    def span_tokens(self, bounds: Sequence[int], heads: int) -> int:
        """Tokens of a span in a pack of those cumulative lengths: the most with which enough programs run.

        Each span of a document but the last is read twice, so that there should be no more than the GPU needs.
        """
        lengths = [stop - start for start, stop in pairwise(bounds)]
        span = max(triton.next_power_of_2(max(lengths)), self.least_span)
        while span > self.least_span and heads * sum(-(-length // span) for length in lengths) < self.programs:
            span //= 2
        return span


HOPPER_SMS = 132
HOPPER = Tiling(
    rows=64,
    turn=Launch(4, 2),
    sum=Launch(4, 3),
    read=Launch(4, 2),
    programs=3 * HOPPER_SMS,
)


def tiling_of(device: torch.device) -> Tiling:
    """For a CUDA device; anywhere else, where Triton interprets the kernels, that of a Hopper."""
    return HOPPER
