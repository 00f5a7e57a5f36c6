"""Tokens that are all there are handed out in order, with the ends and the cut among them."""

import numpy as np
import pytest

from models.engine.feed import ArrayFeed


@pytest.mark.parametrize("start", [0, 3, 4, 9])
def test_ends_and_the_last_cut_count_from_what_is_next(start: int) -> None:
    feed = ArrayFeed(np.arange(10), section_ends=(4, 8), last_cut=7, start=start)
    assert feed.ready == 10 - start and feed.ended
    for taken in range(start, 10):
        assert feed.section_end == next((end - taken for end in (4, 8) if end > taken), None)
        assert feed.last_cut == (7 - taken if taken <= 7 else None)
        assert feed.take(1) == [taken]
    assert feed.ready == 0


def test_there_may_be_neither() -> None:
    feed = ArrayFeed(np.arange(3))
    assert (feed.section_end, feed.last_cut) == (None, None)
