"""Messages of a run, in a real Ray."""

from collections.abc import Iterator

import pytest
import ray

from pipeline.cluster import mailbox
from pipeline.cluster.mailbox import Mailbox


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    ray.init("local", num_cpus=1, include_dashboard=False, logging_level="ERROR")
    yield
    ray.shutdown()


def test_outside_of_ray_there_is_none():
    assert mailbox.of_run("/output/_runs/one") is None


@pytest.mark.usefixtures("_ray")
def test_messages_are_a_runs_own():
    one, other = mailbox.of_run("/output/_runs/one"), Mailbox("/output/_runs/other")
    assert one is not None
    assert (one.get("stops/0001"), one.all("actors/")) == (None, [])
    one.put("actors/a", b"first")
    one.put("actors/a", b"second")
    one.put("actors/b", b"third")
    one.put("stops/0001", b"budget")
    other.put("actors/a", b"of another run")
    assert sorted(one.all("actors/")) == [b"second", b"third"]
    # As another process of the cluster would: a name means the same there.
    assert Mailbox("/output/_runs/one").get("stops/0001") == b"budget"
    one.clear()
    assert (one.get("stops/0001"), one.all("actors/")) == (None, [])
    assert other.all("actors/") == [b"of another run"]
