"""A real Prometheus scrapes real runs, and answers what the dashboard and the alert rules ask."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from jobs import exits
from pipeline.ledger.run_folder import Ledger
from tests.chaos.cluster import Cluster, free_ports
from tests.infra.test_observability import ALERTS, alerts, queries
from tests.jobs.test_summarize import tokens_underway
from tests.prometheus import Prometheus
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
OFTEN = {"RAY_metrics_report_interval_ms": "1000"}
"""Instead of every ten seconds."""
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
            *(f"output.uri={output}", f"model.uri={small_model}", "run.heartbeat_seconds=0.2", *overrides),
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
    failing = start(
        ["sample://python-reference/as*.txt", *empty], folder / "failing", "run.id=failing", "engine.slots=1"
    )
    said = failing.communicate()[1]
    assert failing.returncode == exits.PARTIAL, said
    spent = start([long_document], folder / "spent", "run.id=spent", "run.budget_usd=0.000001", *SLOW)
    said = spent.communicate()[1]
    assert spent.returncode == exits.STOPPED, said
    lost = start([long_document], folder / "lost", "run.id=lost", *SLOW)
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
