"""How a pack is cut into spans, and what the kernels' launches rest on."""

import pytest
import torch

from models.kernels.spans import Spans
from models.kernels.tiling import HOPPER
from models.transfer import copied


@pytest.mark.parametrize("count", range(1, 9))
def test_every_column_begins_where_triton_compiles_nothing_anew(count):
    spans = Spans.of(range(0, 70 * count + 1, 70), range(count), 64)
    columns = [column for column in vars(spans).values() if isinstance(column, torch.Tensor)]
    assert len(columns) == 9
    there = copied(columns, torch.device("cpu"))
    assert all(column.data_ptr() % 16 == 0 for column in there)
    assert all(map(torch.equal, there, columns))
    assert spans.num_spans == 2 * count and spans.long_first.tolist() == list(range(0, 2 * count, 2))


def test_a_slot_cannot_be_changed_by_two_segments_nor_a_segment_be_empty():
    with pytest.raises(AssertionError, match="two segments"):
        Spans.of([0, 3, 5], [1, 1], 64)
    with pytest.raises(AssertionError, match="empty segment"):
        Spans.of([0, 3, 3], [0, 1], 64)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([16_384], 2048),
        ([2048] * 8, 2048),
        ([512] * 32, 512),
        ([128] * 128, 512),
        ([1_000_000], 131_072),
        ([70], 512),
    ],
    ids=str,
)
def test_spans_are_as_long_as_the_gpu_stays_busy(lengths, expected):
    """A span more is read twice; 64 heads of one span do not fill an H100."""
    bounds = [sum(lengths[:place]) for place in range(len(lengths) + 1)]
    assert HOPPER.span_tokens(bounds, heads=64) == expected
