"""The cloud's notice, as its metadata service words it, makes a real Ray drain the node."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from infra.preemption_watcher import Auto, Aws, Azure, Gcp, MetadataError, NodeError, only_node_at
from tests.chaos.cluster import Cluster
from tests.waiting import PATIENCE_SECONDS, wait_for

PROGRAM = Path(__file__).parents[2] / "infra" / "preemption_watcher.py"
ACTION, REBALANCE = "/latest/meta-data/spot/instance-action", "/latest/meta-data/events/recommendations/rebalance"
PREEMPTED = "/computeMetadata/v1/instance/preempted"
NAME = "/metadata/instance/compute/name?api-version=2021-02-01&format=text"
EVENTS = "/metadata/scheduledevents?api-version=2020-07-01"
BUSY = """
import ray, time

@ray.remote(num_cpus=1)
def busy():
    time.sleep(600)

ray.init(log_to_driver=False)
ray.get([busy.remote() for _ in range(2)])
"""
"""A node with nothing to do is gone as soon as it drains, before a test can see it."""


class Metadata(ThreadingHTTPServer):
    """Stands for the metadata service of a machine on either cloud, as strict as it is about headers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answers: dict[str, str] = {}
        self.cloud = "aws"
        self.status = 200
        self.tokens: set[str] = set()
        self.asked = 0

    def status_and_body(self, method: str, path: str, headers) -> tuple[int, str]:
        self.asked += 1
        if self.status != 200:
            return self.status, ""
        if self.cloud == "azure":
            return (200, self.answers[path]) if headers["Metadata"] == "true" and path in self.answers else (404, "")
        if self.cloud == "gcp":
            return (
                (200, self.answers[path]) if headers["Metadata-Flavor"] == "Google" and method == "GET" else (403, "")
            )
        if (method, path) == ("PUT", "/latest/api/token"):
            assert int(headers["X-aws-ec2-metadata-token-ttl-seconds"]) > 0
            self.tokens.add(f"token {self.asked}")
            return 200, f"token {self.asked}"
        if headers["X-aws-ec2-metadata-token"] not in self.tokens:
            return 401, ""
        return (200, self.answers[path]) if path in self.answers else (404, "")


class Answer(BaseHTTPRequestHandler):
    server: Metadata

    def do_GET(self) -> None:
        status, body = self.server.status_and_body(self.command, self.path, self.headers)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    do_PUT = do_GET  # noqa: N815  # the name is http.server's

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    with Metadata() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes, both busy."""
    with Cluster() as started:
        nodes = [started.add_node(num_cpus=1) for _ in range(2)]
        started.wait_for_nodes(2)
        driver = subprocess.Popen([sys.executable, "-c", BUSY], env=started.environment, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: all(node.workers("busy") for node in nodes), "the nodes are busy")
            yield started
        finally:
            driver.kill()
            driver.wait()


@contextmanager
def watcher(cluster: Cluster, metadata: Metadata, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(PROGRAM), "--metadata-url", metadata.url, "--poll-seconds", "0.1", *options]
    # A proxy is not asked: the metadata service that it reaches is that of another machine.
    environment = cluster.environment | {"http_proxy": "http://127.0.0.1:9"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def aws_time(seconds_from_now: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds_from_now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_notice_of_aws_drains_the_node_until_its_time(cluster, metadata):
    _, node, other = cluster.nodes
    with watcher(cluster, metadata, "--node-id", node.node_id) as process:
        wait_for(lambda: metadata.asked > 5, "the watcher polls")
        metadata.status = 500
        asked = metadata.asked
        wait_for(lambda: metadata.asked > asked + 2, "it goes on after failures")
        metadata.status = 200
        asked = metadata.asked
        wait_for(lambda: metadata.asked > asked + 4, "all is well again")
        metadata.tokens.clear()
        metadata.answers[REBALANCE] = '{"noticeTime": "2026-11-22T08:00:00Z"}'
        wait_for(lambda: metadata.tokens, "it gets a new token")
        assert process.poll() is None
        assert not cluster.draining()

        metadata.answers[ACTION] = f'{{"action": "terminate", "time": "{aws_time(120)}"}}'
        assert process.wait(PATIENCE_SECONDS) == 0
        log = process.stderr.read()
    assert log.count("fails, polling goes on") == 1, log
    assert log.count("AWS expects to need this machine") == 1
    assert f"Ray drains node {node.node_id}" in log
    assert 100 < cluster.draining()[node.node_id] / 1000 - time.time() <= 120
    assert other.node_id not in cluster.draining()


def test_a_notice_of_gcp_drains_the_node_for_30_seconds(cluster, metadata):
    node = cluster.nodes[2]
    metadata.cloud, metadata.answers[PREEMPTED] = "gcp", "FALSE"
    with watcher(cluster, metadata, "--node-id", node.node_id, "--once") as process:
        assert process.wait(PATIENCE_SECONDS) == 0
        assert "no notice" in process.stderr.read()
    with watcher(cluster, metadata, "--node-id", node.node_id) as process:
        wait_for(lambda: metadata.asked > 5, "the watcher polls")
        assert node.node_id not in cluster.draining()
        metadata.answers[PREEMPTED] = "TRUE"
        assert process.wait(PATIENCE_SECONDS) == 0
        assert "this is gcp" in process.stderr.read()
    assert 15 < cluster.draining()[node.node_id] / 1000 - time.time() <= 30


def test_a_machine_with_several_nodes_must_say_which(cluster, metadata):
    with watcher(cluster, metadata) as process:
        assert process.wait(PATIENCE_SECONDS) == 2
        log = process.stderr.read()
    assert "--node-id" in log
    assert all(node.node_id in log for node in cluster.nodes if node.is_alive())


def test_a_node_is_found_by_its_address():
    nodes = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.2"}
    assert only_node_at("10.0.0.1", nodes) == "a"
    with pytest.raises(NodeError, match="b, c all have this machine's address"):
        only_node_at("10.0.0.2", nodes)
    with pytest.raises(NodeError, match="no node of the cluster"):
        only_node_at("10.0.0.3", nodes)


@pytest.mark.parametrize("answer", ["{", "[]", '{"action": "stop"}', '{"action": "stop", "time": 7}'])
def test_an_answer_that_nobody_understands_is_an_error_and_no_notice(metadata, answer):
    metadata.answers[ACTION] = answer
    with pytest.raises(MetadataError, match="instance-action says"):
        Aws(metadata.url).notice()


def test_the_clouds_are_told_apart_and_neither_is_taken_for_the_other(metadata):
    assert Auto(metadata.url).notice() is None
    with pytest.raises(MetadataError, match="preempted: HTTP 401"):
        Gcp(metadata.url).notice()
    metadata.cloud, metadata.answers[PREEMPTED] = "gcp", "TRUE"
    with pytest.raises(MetadataError):
        Aws(metadata.url).notice()
    assert Auto(metadata.url).notice().message == "GCP: preempted"
    metadata.status = 503
    with pytest.raises(MetadataError, match=r"aws: .* 503; gcp: .* 503; azure: .* 503"):
        Auto(metadata.url).notice()


def event(kind: str = "Preempt", machine: str = "vmss_3", not_before: str = "Thu, 26 Nov 2026 18:00:30 GMT") -> str:
    about = {"EventId": "1", "EventType": kind, "Resources": [machine], "NotBefore": not_before}
    return json.dumps({"DocumentIncarnation": 2, "Events": [about | {"EventStatus": "Scheduled"}]})


def test_an_event_of_azure_counts_where_it_names_this_machine(metadata):
    metadata.cloud, metadata.answers[NAME], metadata.answers[EVENTS] = "azure", "vmss_3", '{"Events": []}'
    auto = Auto(metadata.url)
    assert auto.notice() is None
    for others in (event(machine="vmss_4"), event(kind="Reboot")):
        metadata.answers[EVENTS] = others
        assert auto.notice() is None
    metadata.answers[EVENTS] = event()
    notice = auto.notice()
    assert (notice.message, notice.deadline) == (
        "Azure: Preempt",
        datetime(2026, 11, 26, 18, 0, 30, tzinfo=UTC).timestamp(),
    )
    metadata.answers[EVENTS] = event(not_before="")
    assert 0 < auto.notice().deadline - time.time() <= 30


@pytest.mark.parametrize("answer", ["{", "[]", '{"Events": [{"EventType": "Preempt"}]}', event(not_before="soon")])
def test_an_event_of_azure_that_nobody_understands_is_an_error(metadata, answer):
    metadata.cloud, metadata.answers[NAME], metadata.answers[EVENTS] = "azure", "vmss_3", answer
    with pytest.raises(MetadataError, match="scheduledevents says"):
        Azure(metadata.url).notice()
