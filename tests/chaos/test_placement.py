"""A pool that grows and shrinks with labeled nodes, which come late, never, or go: everything once, and billed."""

import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from configs.labels import INSTANCE_LABEL, MARKET_LABEL
from jobs import exits
from pipeline.reports.warehouse import Warehouse
from tests.chaos.cluster import Cluster, Node
from tests.chaos.fleet import ACTOR, CPUS_PER_ACTOR
from tests.chaos.job import HEARTBEAT_SECONDS, Job, assert_nothing_is_lost, undisturbed
from tests.jobs.conftest import small_model
from tests.waiting import wait_for

__all__ = ["small_model"]

NUM_DOCUMENTS, CHARS = 30, 18_000
WAIT_SECONDS = 10.0
SETTINGS = (
    "prompts=[{name: summary, instruction: Summarize., max_tokens: 12}]",
    "engine.actors={min: 1, max: 3}",
    f"engine.cpus_per_actor={CPUS_PER_ACTOR}",
    # Of documents that an actor takes at once there are fewer than for three.
    "engine.slots=1",
    "engine.documents_per_batch=1",
    "engine.step_tokens=32",
    "snapshot.max_lost_device_seconds=1",
    f"run.heartbeat_seconds={HEARTBEAT_SECONDS}",
    "price.node_hour=0.36",
    f"placement.fallback_after={WAIT_SECONDS}",
)
MARKETS = {"spot": "spot", "on-demand": "on_demand"}


class Nodes:
    """Of one cluster: one for readers, and what a test adds for actors, each named in bills by its instance."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._numbers = count(1)
        cluster.add_node(num_cpus=1)

    def add(self, market: str) -> tuple[str, Node]:
        """Its instance, as in bills. The node registers some seconds later."""
        instance = f"{market}-{next(self._numbers)}"
        labels = {MARKET_LABEL: market, INSTANCE_LABEL: instance}
        return instance, self.cluster.add_node(num_cpus=CPUS_PER_ACTOR, labels=labels)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    text = "\n\n".join(topics[name] for name in sorted(topics))
    for index in range(NUM_DOCUMENTS):
        (folder / f"{index}.txt").write_text(text[index * 2000 :][:CHARS], encoding="utf-8")
    return folder


@pytest.fixture
def nodes(s3) -> Iterator[Nodes]:
    """The store is there for its secret, which nobody must tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_THREAD_LIMIT", "1")
        with Cluster() as cluster:
            yield Nodes(cluster)


@pytest.fixture
def new_job(nodes, small_model, library, tmp_path) -> Callable[..., Job]:
    numbers = count()

    def make(*settings: str) -> Job:
        folder = tmp_path / f"job{next(numbers)}"
        folder.mkdir()
        given = (f"model.uri={small_model}", *SETTINGS, *settings)
        return Job(nodes.cluster.environment, [str(library)], str(folder / "output"), folder / "log", *given)

    return make


def wait_for_actor(node: Node, job: Job) -> float:
    """Until one is there; the moment, on the monotonic clock."""

    def is_there() -> bool:
        assert not job.is_over(), job.told()
        return bool(node.workers(ACTOR))

    wait_for(is_there, f"an actor on {node.name}", job.told)
    return time.monotonic()


def wait_until_all_read(actors: int, job: Job) -> None:
    def read() -> bool:
        assert not job.is_over(), job.told()
        return sum(reading.tokens_read > 0 for reading in job.readings().values()) == actors

    wait_for(read, f"{actors} actors read", job.told)


def seconds_by_instance(job: Job) -> dict[str, Decimal]:
    """Device-seconds of actors by instance; each row's market is that of its node."""
    rows = Warehouse(job.output).rows("select * from costs where kind != 'node'")
    seconds: dict[str, Decimal] = {}
    for row in rows:
        market = row["instance_id"].rpartition("-")[0]
        assert row["market"] == MARKETS[market]
        seconds[row["instance_id"]] = seconds.get(row["instance_id"], Decimal(0)) + row["device_seconds"]
    return seconds


def test_spot_that_never_comes_is_not_waited_for(new_job, nodes):
    on_demand, home = nodes.add("on-demand")
    began = time.monotonic()
    with new_job("placement.market=spot_first") as job:
        waited = wait_for_actor(home, job) - began
        assert job.finish() == exits.SUCCESS, job.told()
    # From when the run asked, which is some seconds after it began.
    assert waited > WAIT_SECONDS
    assert seconds_by_instance(job).keys() == {on_demand}


@pytest.mark.chaos
def test_spot_that_comes_late_and_goes(new_job, nodes):
    on_demand, _ = nodes.add("on-demand")
    began = time.monotonic()
    with new_job("placement.market=on_demand") as job:
        assert job.finish() == exits.SUCCESS, job.told()
    expected = undisturbed(job, time.monotonic() - began)

    with new_job("placement.market=spot_first") as job:
        # While the actor on demand begins.
        wait_for(lambda: "asks_for_other_nodes" in job.told(), "spot is given up", job.told)
        (first, spot), (second, _) = nodes.add("spot"), nodes.add("spot")
        wait_until_all_read(3, job)
        spot.kill()
        assert job.finish() == exits.SUCCESS, job.told()
    print(assert_nothing_is_lost(job, expected, []))
    assert seconds_by_instance(job).keys() == {on_demand, first, second}


@pytest.mark.chaos
def test_spot_that_comes_while_it_is_waited_for_is_taken(new_job, nodes):
    nodes.add("on-demand")
    nodes.cluster.wait_for_nodes(2)
    with new_job("placement.market=spot_first", "placement.fallback_after=90", "engine.actors=3") as job:
        wait_for(lambda: "run_started" in job.told(), "the run starts", job.told)
        instance, spot = nodes.add("spot")
        wait_for_actor(spot, job)
        # Two of three never come, and nobody waits for them.
        assert job.finish() == exits.SUCCESS, job.told()
    assert seconds_by_instance(job).keys() == {instance}


@pytest.mark.chaos
def test_spot_alone_that_drains_and_comes_back(new_job, nodes):
    nodes.add("on-demand")
    (first, spot), (second, other) = nodes.add("spot"), nodes.add("spot")
    began = time.monotonic()
    with new_job("placement.market=spot") as job:
        assert job.finish() == exits.SUCCESS, job.told()
    assert seconds_by_instance(job).keys() == {first, second}
    expected = undisturbed(job, time.monotonic() - began)

    with new_job("placement.market=spot") as job:
        wait_until_all_read(2, job)
        known = job.readings()
        spot.drain(30)
        wait_for(lambda: not spot.workers(ACTOR), "the actor leaves", job.told)
        spot.kill()
        other.kill()
        third, _ = nodes.add("spot")
        job.seconds_until_another_works(known, time.monotonic())
        assert job.finish() == exits.SUCCESS, job.told()
    print(assert_nothing_is_lost(job, expected, []))
    assert seconds_by_instance(job).keys() == {first, second, third}
