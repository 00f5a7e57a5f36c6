"""A Ray cluster of several nodes on this machine, whose nodes can be killed, terminated and drained."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
from ray.core.generated.gcs_pb2 import GcsNodeInfo
from ray.util import get_node_ip_address

from tests.waiting import PATIENCE_SECONDS, wait_for

RAY = Path(sys.executable).parent / "ray"
NAME = "longhaul-test-node"
"""The label by which a node is found in Ray's list."""
OBJECT_STORE_BYTES = 256 * 1024 * 1024
SETTINGS = {
    "RAY_AUTH_MODE": "disabled",
    # A vanished machine is noticed after some 4 s instead of 15.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    # Each job would have a worker started for each CPU, without the job's working directory, so that none is used.
    "RAY_prestart_worker_first_driver": "0",
    # Else whatever else a machine does goes before actors and readers.
    "RAY_worker_niceness": "0",
}


class Node:
    """A `ray start --block` and all that it started, in a session (of processes) of its own."""

    def __init__(self, cluster: "Cluster", name: str, process: subprocess.Popen[bytes]) -> None:
        self.name = name
        self.process = process
        self._cluster = cluster
        self._node_id: str | None = None

    @property
    def node_id(self) -> str:
        """In hex; waits until the node has registered."""
        if self._node_id is None:
            wait_for(self._registered, f"{self.name} registers with Ray", self._cluster.log)
        assert self._node_id is not None
        return self._node_id

    def kill(self) -> None:
        """The machine vanishes: SIGKILL to the raylet and all of its workers and agents."""
        kill_session(self.process)

    def terminate(self) -> None:
        """SIGTERM to `ray start --block`, as Kubernetes sends it: Ray drains the node, then stops it."""
        self.process.terminate()

    def drain(self, seconds: float) -> None:
        """A preemption notice: the node has `seconds` left. Nothing happens at the deadline unless `kill` is called."""
        deadline_ms = int((time.time() + seconds) * 1000)
        reason = DrainNodeReason.DRAIN_NODE_REASON_PREEMPTION
        accepted, why_not = self._cluster.gcs.drain_node(self.node_id, reason, "a test", deadline_ms)
        assert accepted, why_not

    def is_alive(self) -> bool:
        """Whether Ray believes so."""
        return self.node_id in self._cluster.alive()

    def workers(self, words: str = "") -> list[psutil.Process]:
        """Processes of actors and tasks whose title, as `ray::_MapWorker(SummarizeStage).submit`, has these words."""
        titles = {process: title_of(process) for process in self.processes()}
        return [process for process, title in titles.items() if is_worker(title) and words in title]

    def processes(self) -> list[psutil.Process]:
        """Those of its session that live, also where the parent has died."""
        return living(self.process.pid)

    def _registered(self) -> bool:
        assert self.process.poll() is None, f"{self.name} did not start:\n{self._cluster.log()}"
        self._node_id = self._cluster.alive_by_name().get(self.name)
        return self._node_id is not None


class Cluster:
    """A head for the driver, with no CPUs for anybody else unless it is given some, and the nodes that a test adds."""

    def __init__(self, *head_options: str, head_cpus: int = 0) -> None:
        # Ray's sockets below it have long names, and their length is limited.
        self.folder = Path(tempfile.mkdtemp(prefix="lh-", dir="/tmp"))
        port, client = free_ports(2)
        self.address = f"{get_node_ip_address()}:{port}"
        self.environment = os.environ | SETTINGS | {"RAY_ADDRESS": self.address}
        """For a driver: it joins this cluster and no other."""
        self._head_options = (
            *(f"--port={port}", f"--ray-client-server-port={client}", "--include-dashboard=false"),
            *(f"--num-cpus={head_cpus}", *head_options),
        )
        self.nodes: list[Node] = []
        """The head first."""

    def __enter__(self) -> Self:
        try:
            options = ("--head", *self._head_options, "--disable-usage-stats")
            self._start("head", *options)
            wait_for(self._answers, "the head starts", self.log)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def add_node(
        self,
        *,
        num_cpus: int,
        num_gpus: int = 0,
        resources: dict[str, float] | None = None,
        labels: dict[str, str] | None = None,
    ) -> Node:
        """Start a node and return at once; `wait_for_nodes` or its `node_id` wait for it."""
        options = [f"--address={self.address}", f"--num-cpus={num_cpus}", f"--num-gpus={num_gpus}"]
        options.append(f"--resources={json.dumps(resources or {})}")
        return self._start(f"node-{len(self.nodes)}", *options, labels=labels)

    def wait_for_nodes(self, count: int, seconds: float = PATIENCE_SECONDS) -> None:
        """Until this many live, the head not counted."""
        wait_for(lambda: len(self.alive()) == count + 1, f"{count} nodes live", self.log, seconds)

    def alive(self) -> list[str]:
        """Ids, in hex, of the nodes that Ray believes to live, the head among them."""
        return list(self.alive_by_name().values())

    def alive_by_name(self) -> dict[str, str]:
        return {info.labels[NAME]: info.node_id.hex() for info in self._infos() if info.state == GcsNodeInfo.ALIVE}

    def draining(self) -> dict[str, int]:
        """Ids of the nodes that go away, with their deadlines in ms since 1970, or 0."""
        return self.gcs.get_draining_nodes()

    def log(self) -> str:
        """What the nodes printed; for messages of a test that fails."""
        return "".join(file.read_text(errors="replace")[-3000:] for file in sorted(self.folder.glob("*.log")))

    def _infos(self) -> Iterable[GcsNodeInfo]:
        return self.gcs.get_all_node_info(timeout=5).values()

    def _start(self, name: str, *options: str, labels: dict[str, str] | None = None) -> Node:
        named = ",".join(f"{key}={value}" for key, value in {**(labels or {}), NAME: name}.items())
        agent = free_ports(1)[0]
        command = [
            *(str(RAY), "start", "--block", *options, f"--labels={named}", f"--dashboard-agent-listen-port={agent}"),
            # Nodes that start at the same moment in one folder take the same names for their sockets.
            f"--temp-dir={self.folder / name}",
            # The system chooses ports of workers, so that clusters side by side do not meet.
            *("--min-worker-port=0", "--max-worker-port=0", f"--object-store-memory={OBJECT_STORE_BYTES}"),
        ]
        environment = {key: value for key, value in (os.environ | SETTINGS).items() if key != "RAY_ADDRESS"}
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd="/", start_new_session=True
            )
        node = Node(self, name, process)
        self.nodes.append(node)
        return node

    def _answers(self) -> bool:
        assert self.nodes[0].process.poll() is None, f"the head did not start:\n{self.log()}"
        if not accepts_connections(self.address):
            return False
        self.gcs = GcsClient(address=self.address)
        return len(self.alive()) == 1

    def _stop(self) -> None:
        for node in self.nodes:
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def accepts_connections(address: str) -> bool:
    name, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((name, int(port)), timeout=1):
        return True
    return False


def free_ports(count: int) -> list[int]:
    """Of the system's own range, which begins above the ports that Ray gives to workers."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def kill_session(leader: subprocess.Popen[bytes]) -> None:
    """SIGKILL to everything of the session that this process leads."""
    # First they stand still, so that none starts another or tells of a death.
    signal_all(living(leader.pid), signal.SIGSTOP)
    while processes := living(leader.pid):
        signal_all(processes, signal.SIGKILL)
        time.sleep(0.02)
    leader.wait()


def living(session: int) -> list[psutil.Process]:
    """Processes of a session, also where the parent has died."""
    found = []
    for pid in psutil.pids():
        with suppress(psutil.NoSuchProcess):
            if session_of(pid) == session and (each := psutil.Process(pid)).status() != psutil.STATUS_ZOMBIE:
                found.append(each)
    return found


def session_of(pid: int) -> int | None:
    """The process session, which outlives the parent that a process was started by."""
    with suppress(ProcessLookupError):
        return os.getsid(pid)
    return None


def title_of(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline()).strip()
    return ""


def is_worker(title: str) -> bool:
    return title.startswith("ray::") and not title.endswith("Agent")


def signal_all(processes: list[psutil.Process], number: int) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
