import numpy as np
import pytest

from pipeline.training.positions import FORGETTING, by_position


def test_ranges_double_and_end_with_the_document():
    found = by_position(np.arange(3000.0), np.zeros(3000))
    assert [(row["from"], row["to"]) for row in found] == [(0, 512), (512, 1024), (1024, 2048), (2048, 3000)]
    assert [row["loss"] for row in found] == [255.5, 767.5, 1535.5, 2523.5]
    assert {row[FORGETTING] for row in found} == {0}


@pytest.mark.parametrize("length", [1, 512])
def test_a_short_document_is_one_range(length):
    assert [(row["from"], row["to"]) for row in by_position(np.ones(length), np.ones(length))] == [(0, length)]
