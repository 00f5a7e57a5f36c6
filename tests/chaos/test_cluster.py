"""Nodes of the cluster really drain and vanish, and an actor's watch notices the drain in time."""

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil

from tests.waiting import PATIENCE_SECONDS, wait_for

ROOT = Path(__file__).parents[2]
NOTICE_SECONDS = 30
DRIVER = textwrap.dedent(
    """
    import json, sys, time
    import ray
    from pipeline.cluster.preemption import PreemptionWatch

    @ray.remote(num_cpus=1)
    class Watched:
        def __init__(self, file):
            self.watch = PreemptionWatch(lambda left: self.write(file, {"seconds_left": left, "at": time.time()}))
            self.watch.start()
            self.write(file, {"node_id": ray.get_runtime_context().get_node_id()})

        def write(self, file, event):
            with open(file, "a") as events:
                print(json.dumps(event), file=events)

        def wait(self):
            self.watch.join()

    ray.init(runtime_env={"working_dir": "."}, log_to_driver=False)
    ray.get(Watched.remote(sys.argv[1]).wait.remote())
    """
)


def test_a_watch_sees_its_node_drain_and_a_killed_node_is_gone(cluster, tmp_path):
    nodes = [cluster.add_node(num_cpus=1, labels={"market": "spot"}) for _ in range(2)]
    cluster.wait_for_nodes(2)
    events = tmp_path / "events.jsonl"
    events.touch()
    # A working directory with nothing but what the actor imports.
    package = tmp_path / "driver" / "pipeline" / "cluster"
    package.mkdir(parents=True)
    (package / "preemption.py").symlink_to(ROOT / "pipeline" / "cluster" / "preemption.py")
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(events)], env=cluster.environment, cwd=package.parents[1]
    )
    try:
        wait_for(lambda: lines(events), "the actor starts")
        (home,) = (node for node in nodes if node.node_id == lines(events)[0]["node_id"])
        (other,) = (node for node in nodes if node is not home)
        (process,) = home.workers("Watched")
        assert not other.workers("Watched")

        started = time.time()
        home.drain(NOTICE_SECONDS)
        wait_for(lambda: len(lines(events)) == 2, "the watch fires")
        notice = lines(events)[1]
        assert notice["at"] - started < 3
        assert NOTICE_SECONDS - 3 < notice["seconds_left"] <= NOTICE_SECONDS
        driver.wait(PATIENCE_SECONDS)

        raylet_and_workers = other.processes()
        other.kill()
        assert not [each for each in raylet_and_workers if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
        wait_for(lambda: not other.is_alive(), "Ray notices")
        # The actor has left, so the draining node stops by itself.
        wait_for(lambda: not home.is_alive() and not process.is_running(), "the node drains")
    finally:
        driver.kill()
        driver.wait()


def lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]
