"""A real Prometheus scrapes real runs, and answers what the dashboard and the alert rules ask."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from jobs import exits
from pipeline.ledger.run_folder import Ledger
from pipeline.reports.warehouse import Warehouse
from tests.chaos.cluster import Cluster, free_ports
from tests.infra.test_observability import ALERTS, alerts, queries
from tests.jobs.test_summarize import tokens_underway
from tests.prometheus import Prometheus
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
OFTEN = {"RAY_metrics_report_interval_ms": "2000"}
"""Instead of every ten seconds."""
RARELY = "run.heartbeat_seconds=300"
"""Written to the ledger; the driver is told all the same."""
TALKATIVE = "prompts=[{name: summary, instruction: Summarize., max_tokens: 500}]"
SLOW = ("engine.step_tokens=64", "prompts=[{name: summary, instruction: Summarize., max_tokens: 12}]")
WITHOUT_DATA = {"Preemptions: preemptions", "Snapshots: stored"}
"""What happens in none of the runs: a counter begins when it first counts."""


@pytest.fixture(scope="module")
def metrics_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def cluster(metrics_port) -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in OFTEN.items():
            patch.setenv(name, value)
        with Cluster(f"--metrics-export-port={metrics_port}", head_cpus=3) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def prometheus(cluster, metrics_port, tmp_path_factory) -> Iterator[Prometheus]:
    (port,) = free_ports(1)
    with Prometheus(tmp_path_factory.mktemp("prometheus"), port, f"127.0.0.1:{metrics_port}", ALERTS) as started:
        yield started


@pytest.fixture(scope="module")
def start(cluster, small_model, tmp_path_factory):
    def started(sources: list[str], output: Path, *overrides: str) -> subprocess.Popen[str]:
        command = [
            *(sys.executable, "-m", "jobs.summarize", "configs/demo.yaml", f"input.sources={json.dumps(sources)}"),
            *(f"output.uri={output}", f"model.uri={small_model}", *overrides),
        ]
        return subprocess.Popen(
            command, cwd=ROOT, env=cluster.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    return started


@pytest.fixture(scope="module")
def long_document(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("long") / "long.txt"
    path.write_text("\n".join(topics.values()) * 4, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def runs(start, prometheus, long_document, tmp_path_factory) -> dict[str, str]:
    """What the alert rules said that hold at the end: after a run with failures, one that spent its budget, and one
    whose driver was killed."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").touch()
    empty = [str(folder / f"{name}.txt") for name in ("a", "b", "c")]
    often = "run.heartbeat_seconds=0.2"
    failing = start(
        ["sample://python-reference/as*.txt", *empty], folder / "failing", "run.id=failing", often, TALKATIVE
    )
    said = failing.communicate()[1]
    assert failing.returncode == exits.PARTIAL, said
    spent = start([long_document], folder / "spent", "run.id=spent", "run.budget_usd=0.000001", *SLOW)
    said = spent.communicate()[1]
    assert spent.returncode == exits.STOPPED, said
    lost = start([long_document], folder / "lost", "run.id=lost", often, *SLOW)
    ledger = Ledger(str(folder / "lost"), "lost")
    wait_for(lambda: tokens_underway(ledger) and prometheus.now("ray_longhaul_run_active == 1"), "the run is at work")
    during = {name: prometheus.now(expression.replace("> 900", "> 0")) for name, expression in alerts().items()}
    lost.kill()
    lost.communicate()
    wait_for(lambda: prometheus.now(alerts()["LonghaulNodesWithoutRun"]), "figures of the lost driver vanish")
    after = {name: prometheus.now(expression) for name, expression in alerts().items()}
    return {
        "during": {name for name, found in during.items() if found},
        "after": {name for name, found in after.items() if found},
    }


def test_every_query_of_the_dashboard_has_data(runs, prometheus):
    found = {}
    for name, query in queries().items():
        asked = query.replace("$session", ".*").replace("$__rate_interval", "10s")
        assert "$" not in asked
        found[name] = prometheus.ever(asked)
    assert {name for name, series in found.items() if not series} == WITHOUT_DATA
    # And not only the name: each value is a number that makes sense.
    outcomes = {series["metric"]["outcome"] for series in prometheus.ever("ray_longhaul_documents_total")}
    assert {"ok", "failed"} <= outcomes
    assert {series["metric"]["error_class"] for series in found["Failures: {{error_class}}"]} == {"EmptyDocumentError"}
    assert [float(series["values"][-1][1]) for series in found["Failures: {{error_class}}"]] == [3]
    kinds = {series["metric"]["kind"] for series in found["Device time: {{kind}}"]}
    assert {"document", "startup", "load", "idle"} <= kinds


def test_every_rule_is_evaluated_without_an_error(runs, prometheus):
    rules = prometheus.rules()
    assert {rule["name"] for rule in rules} == set(alerts())
    assert [rule for rule in rules if rule["health"] != "ok" or rule.get("lastError")] == []


def test_an_alert_holds_when_it_should_and_not_before(runs, prometheus):
    assert {"LonghaulDocumentsFail", "LonghaulNoProgress"} <= runs["during"]
    assert not {"LonghaulDriverLost", "LonghaulNodesWithoutRun"} & runs["during"]
    assert {"LonghaulDriverLost", "LonghaulNodesWithoutRun", "LonghaulDocumentsFail"} <= runs["after"]
    assert prometheus.ever(alerts()["LonghaulBudget"])
    assert not prometheus.ever(alerts()["LonghaulNoProgress"])


def test_labels_hold_no_id_of_a_run_or_a_document(runs, prometheus):
    labels = {name for series in prometheus.ever('{__name__=~"ray_longhaul_.+"}') for name in series["metric"]}
    of_ray = {"Component", "NodeAddress", "SessionName", "Version", "WorkerId", "__name__", "instance", "job"}
    assert {name for name in labels if not re.match("otel_", name)} - of_ray == {
        "outcome",
        "error_class",
        "kind",
        "currency",
    }


def tokens_of_run_at_work(prometheus: Prometheus) -> float:
    found = prometheus.now("ray_longhaul_tokens_read_total and on (WorkerId) (ray_longhaul_run_active == 1)")
    return sum(float(series["value"][1]) for series in found)


@pytest.fixture(scope="module")
def document(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("document") / "topics.txt"
    path.write_text("\n".join(topics.values())[:200_000], encoding="utf-8")
    return str(path)


def test_an_actor_that_is_killed_between_two_heartbeats_is_paid_for(start, cluster, prometheus, document, tmp_path):
    process = start([document], tmp_path / "output", "run.id=killed", RARELY, *SLOW)
    wait_for(lambda: tokens_of_run_at_work(prometheus) > 500, "the driver hears of tokens")
    (actor,) = cluster.nodes[0].workers("SummarizeStage")
    actor.kill()
    said = process.communicate()[1]
    assert process.returncode == exits.SUCCESS, said
    rows = Warehouse(str(tmp_path / "output")).rows("""
        select outcome, sum(tokens_read) > 500 as has_read, sum(device_seconds) > 0.1 as is_paid
        from costs where document_id is not null group by outcome order by outcome
    """)
    assert rows == [{"outcome": outcome, "has_read": True, "is_paid": True} for outcome in ("finished", "lost")]


def test_a_stop_reaches_an_actor_before_its_next_heartbeat(start, prometheus, long_document, tmp_path):
    process = start([long_document], tmp_path / "output", "run.id=interrupted", RARELY, *SLOW)
    wait_for(lambda: tokens_of_run_at_work(prometheus) > 500, "the driver hears of tokens")
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=200)[1]
    assert process.returncode == exits.INTERRUPTED, said
    rows = Warehouse(str(tmp_path / "output")).rows("select outcome from costs where kind = 'document'")
    assert rows == [{"outcome": "stopped"}]
