"""A cluster of this test's own."""

from collections.abc import Iterator

import pytest

from tests.chaos.cluster import Cluster
from tests.jobs.conftest import small_model

__all__ = ["cluster", "small_model"]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head; the test adds nodes. All of it is gone afterwards."""
    with Cluster() as started:
        yield started
