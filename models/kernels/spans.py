"""How a ragged pack is laid out for the GPU: segments cut into spans that are computed in parallel."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from torch import Tensor

from models.transfer import moved


@dataclass(frozen=True)
class Spans:
    """The spans of a ragged pack, in order. All tensors are int32.

    A span is a run of tokens of one segment, `span_tokens` long but for a segment's last. In a segment of several
    spans each starts from the state that those before it leave, which is summed up first and kept in an entry of a
    scratch table; a segment of one span starts from its slot.
    """

    num_entries: int
    starts: Tensor
    """(K,) first token of each span."""
    stops: Tensor
    """(K,) token after the last one of each span."""
    segment_starts: Tensor
    """(K,) first token of the span's segment."""
    segment_stops: Tensor
    """(K,) token after the last one of the span's segment."""
    rows: Tensor
    """(K,) the slot of the span's segment."""
    entries: Tensor
    """(K,) the span's entry in the scratch table, -1 where its segment is one span."""
    inner: Tensor
    """(K') the spans whose sum is needed: of segments of several spans, all but the last."""
    long_first: Tensor
    """(S') first span of each segment of several spans."""
    long_count: Tensor
    """(S') number of its spans."""

    @staticmethod
    def of(cu_seqlens: Sequence[int], rows: Sequence[int], span_tokens: int) -> "Spans":
        """Cut the segments. On the host."""
        assert len(set(rows)) == len(rows), "two segments would change one slot at once"
        columns: list[list[int]] = [[] for _ in range(9)]
        starts, stops, begins, ends, slots, entries, inner, long_first, long_count = columns
        num_entries = 0
        for row, (start, stop) in zip(rows, pairwise(cu_seqlens), strict=True):
            assert start < stop, "an empty segment has no span"
            cuts = range(start, stop, span_tokens)
            is_long = len(cuts) > 1
            if is_long:
                long_first.append(len(starts))
                long_count.append(len(cuts))
                inner.extend(range(len(starts), len(starts) + len(cuts) - 1))
            entries.extend(range(num_entries, num_entries + len(cuts)) if is_long else [-1])
            num_entries += len(cuts) if is_long else 0
            starts.extend(cuts)
            stops.extend([*cuts[1:], stop])
            begins.extend([start] * len(cuts))
            ends.extend([stop] * len(cuts))
            slots.extend([row] * len(cuts))
        return Spans(num_entries, *(torch.tensor(column, dtype=torch.int32) for column in columns))

    def moved_with(self, tensors: Sequence[Tensor], device: torch.device) -> tuple["Spans", list[Tensor]]:
        """To a device, by one copy for these and for others of the same pack."""
        columns = [getattr(self, column.name) for column in fields(self)[1:]]
        there = moved([*columns, *tensors], device)
        return Spans(self.num_entries, *there[: len(columns)]), there[len(columns) :]

    @property
    def num_spans(self) -> int:
        return len(self.starts)
