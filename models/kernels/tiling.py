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


SMALL = Launch(4, 1)
"""Of kernels without matrix products."""


@dataclass(frozen=True)
class Tiling:
    """For one kind of GPU."""

    rows: int
    """Of a chunk's matrix products: tokens times ranks."""
    turn: Launch
    """With one stage a chunk's loads are waited for; with more they are copied to shared memory ahead."""
    sum: Launch
    read: Launch
    keys: int
    """Of a tile in attention, which keeps two of keys and two of values in shared memory; divides a page."""
    programs: int = 3 * 132
    """Programs of a kernel, one for each head and span, that keep the GPU busy."""
    least_span: int = 512
    """Tokens. A shorter span costs more in reading and writing its state than it gains by running beside others."""

    def fitted(self, rank: int, is_fp32: bool) -> "Tiling":
        """MIMO's factors and biases by rank fill the memory that loads ahead need: they would be copied as well.
        Of fp32, twice as wide, a tile has half the rows."""
        if rank == 1 and not is_fp32:
            return self
        waiting = replace(self, turn=replace(self.turn, num_stages=1), read=replace(self.read, num_stages=1))
        return replace(waiting, rows=min(self.rows, AMPERE.rows)) if is_fp32 else waiting

    def span_tokens(self, bounds: Sequence[int], heads: int) -> int:
        """Tokens of a span in a pack of those cumulative lengths: the most with which enough programs run.

        Each span of a document but the last is read twice, so that there should be no more than the GPU needs.
        """
        lengths = [stop - start for start, stop in pairwise(bounds)]
        span = max(triton.next_power_of_2(max(lengths)), self.least_span)
        while span > self.least_span and heads * sum(-(-length // span) for length in lengths) < self.programs:
            span //= 2
        return span


HOPPER = Tiling(rows=64, turn=Launch(4, 2), sum=Launch(4, 3), read=Launch(4, 2), keys=64)
"""For the matrix units of H100 and H200, which take 64 rows at once, and of B200."""
AMPERE = Tiling(rows=32, turn=Launch(4, 2), sum=Launch(4, 2), read=Launch(4, 2), keys=32)
"""For A100, L40S and other cards, where a warp holds whole operands in its registers: 64 rows would go to memory. Two
programs fit the 99 KB of shared memory of a card without HBM."""
OF_64_ROWS = (9, 10)
"""Major compute capabilities."""
PROGRAMS_PER_SM = 3


def tiling_of(device: torch.device) -> Tiling:
    """For a CUDA device; anywhere else, where Triton interprets the kernels, that of a Hopper."""
    if device.type != "cuda":
        return HOPPER
    about = torch.cuda.get_device_properties(device)
    return replace(of_capability(about.major), programs=PROGRAMS_PER_SM * about.multi_processor_count)


def of_capability(major: int) -> Tiling:
    """By the major number of a GPU's compute capability."""
    return HOPPER if major in OF_64_ROWS else AMPERE
