"""A cluster of this test's own."""

from collections.abc import Iterator

import pytest

from tests.chaos.cluster import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head; the test adds nodes. All of it is gone afterwards."""
    with Cluster() as started:
        yield started
