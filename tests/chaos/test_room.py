"""Room for actors on labeled nodes of a real cluster: by one choice after the other, and with logical GPUs."""

import time

import pytest
import ray

from configs.labels import ACCELERATOR_LABEL, MARKET_LABEL
from configs.placement import selector
from pipeline.cluster.room import Room
from tests.waiting import wait_for

WAIT_SECONDS = 3.0
TAKES = {"num_cpus": 0, "num_gpus": 1}
CHOICES = [selector("spot", "H100"), selector("spot", "A100"), selector("on_demand", "H100")]


@pytest.fixture
def joined(cluster, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    ray.init(cluster.address, log_to_driver=False, logging_level="error")
    yield cluster
    ray.shutdown()


def gpu_node(cluster, market: str, gpu: str):
    labels = {MARKET_LABEL: market, ACCELERATOR_LABEL: gpu}
    node = cluster.add_node(num_cpus=1, num_gpus=1, labels=labels)
    assert node.node_id
    return node


@ray.remote(**TAKES)
class Holder:
    """An actor, that has what it takes as long as it is there."""

    def node_id(self) -> str:
        return ray.get_runtime_context().get_node_id()


def taken(room: Room, actors: int) -> float:
    """Seconds until there was room."""
    began = time.monotonic()

    def is_there() -> bool:
        room.ask(actors)
        return room.take()

    wait_for(is_there, "there is room")
    return time.monotonic() - began


@pytest.mark.chaos
def test_the_best_choice_is_waited_for_and_each_next_one_after_it(joined):
    gpu_node(joined, "on-demand", "H100")
    # On demand is the third choice: it is there, and is asked for when two have waited in vain.
    with Room(TAKES, CHOICES, WAIT_SECONDS) as room:
        assert taken(room, 1) >= 2 * WAIT_SECONDS
    gpu_node(joined, "spot", "A100")
    with Room(TAKES, CHOICES, WAIT_SECONDS) as room:
        assert WAIT_SECONDS <= taken(room, 1) < 2 * WAIT_SECONDS
    best = gpu_node(joined, "spot", "H100")
    with Room(TAKES, CHOICES, WAIT_SECONDS) as room:
        assert taken(room, 1) < WAIT_SECONDS
        # What is given up is not done later.
        room.ask(5)
        room.ask(0)
    wait_for(lambda: ray.available_resources().get("GPU") == 3, "all GPUs are free")

    first, *others = [{"label_selector": choice} for choice in CHOICES]
    holder = Holder.options(max_restarts=-1, max_task_retries=-1, **first, fallback_strategy=others).remote()
    assert ray.get(holder.node_id.remote()) == best.node_id
    best.kill()
    # It loses its node, and takes what there is at once.
    began = time.monotonic()
    assert ray.get(holder.node_id.remote(), timeout=60) != best.node_id
    print(f"on another node after {time.monotonic() - began:.1f} s")


@pytest.mark.chaos
def test_readers_keep_off_gpus_while_there_is_another_node_with_room(joined):
    from pipeline.driver.dataset import off_gpus

    gpu = gpu_node(joined, "spot", "H100")
    plain = joined.add_node(num_cpus=2)
    assert plain.node_id

    @ray.remote(num_cpus=1)
    def read() -> str:
        time.sleep(2)
        return ray.get_runtime_context().get_node_id()

    options = off_gpus(())
    assert set(ray.get([read.options(**options).remote() for _ in range(2)])) == {plain.node_id}
    # More than it has room for.
    assert set(ray.get([read.options(**options).remote() for _ in range(3)])) == {plain.node_id, gpu.node_id}
    plain.kill()
    wait_for(lambda: not plain.is_alive(), "Ray notices")
    assert ray.get(read.options(**options).remote(), timeout=60) == gpu.node_id
