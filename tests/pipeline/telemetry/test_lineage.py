"""Events of lineage as a server or a file receives them, by what OpenLineage's specification asks of them."""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from configs.errors import ConfigError
from pipeline.telemetry import exporters, lineage, observer
from pipeline.telemetry.events import Run, RunCommitted, RunFailed, RunStarted
from pipeline.telemetry.lineage import Lineage, dataset
from tests.collector import Collector, collecting
from tests.openlineage import problems

BEGAN = datetime(2026, 11, 26, 1, tzinfo=UTC)
ENDED = BEGAN + timedelta(hours=1)
RUN = Run("night", 1, "s3://bucket/summaries", ("s3://in/docs/", "gs://other/*.pdf"), "small")
STARTED = RunStarted(RUN, BEGAN, 1, 0, 10, None)
COMMITTED = RunCommitted(RUN, BEGAN, ENDED, "succeeded", None, 1, 1, 0, 0, 90, 5, Decimal("0.20"), "USD")
FAILED = RunFailed(RUN, BEGAN, ENDED, "StorageError", "s3://user:secret@bucket is gone")


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    # The client adds variables of its own.
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in lineage.os.environ if name.startswith("OPENLINEAGE")]:
            patch.delenv(name)
        yield
        for name in [name for name in lineage.os.environ if name.startswith("OPENLINEAGE")]:
            del lineage.os.environ[name]


@pytest.fixture
def server(unset, monkeypatch) -> Iterator[Collector]:
    with collecting() as started:
        monkeypatch.setenv("OPENLINEAGE_URL", started.url)
        yield started


def send(*events) -> None:
    sink = Lineage("OPENLINEAGE_URL")
    for event in events:
        sink.take(event)
    sink.close()


def test_a_run_is_one_with_what_it_reads_and_writes(server):
    send(STARTED, COMMITTED)
    start, complete = server.lineage
    assert [problem for each in server.lineage for problem in problems(each)] == []
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert (start["eventTime"], complete["eventTime"]) == (BEGAN.isoformat(), ENDED.isoformat())
    assert (start["job"]["namespace"], start["job"]["name"]) == ("longhaul", "summarize/bucket/summaries")
    assert [(each["namespace"], each["name"]) for each in start["inputs"]] == [("s3://in", "docs"), ("gs://other", "/")]
    assert [(each["namespace"], each["name"]) for each in complete["outputs"]] == [
        ("s3://bucket", f"summaries/{table}") for table in ("summaries", "failures", "costs", "jobs")
    ]
    tags = {each["key"]: each["value"] for each in complete["run"]["facets"]["tags"]["tags"]}
    assert tags["cost"] == "0.20" and tags["run_id"] == "night" and "stopped_by" not in tags


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (replace(COMMITTED, status="stopped", stopped_by="deadline", left=3), "ABORT"),
        (FAILED, "FAIL"),
        (replace(FAILED, error_class="KeyboardInterrupt", error_message=None), "ABORT"),
    ],
    ids=["deadline", "error", "second Ctrl-C"],
)
def test_how_a_run_ended(server, event, state):
    send(STARTED, event)
    end = server.lineage[-1]
    assert problems(end) == [] and end["eventType"] == state
    if event is FAILED:
        assert end["run"]["facets"]["errorMessage"]["message"] == "StorageError: s3://***@bucket is gone"


def test_a_run_that_had_nothing_left_to_start_has_a_start_and_each_start_an_id(server):
    send(COMMITTED)
    send(replace(COMMITTED, run=replace(RUN, start=2)))
    assert [each["eventType"] for each in server.lineage] == ["START", "COMPLETE"] * 2
    assert len({each["run"]["runId"] for each in server.lineage}) == 2


def test_what_started_the_run_is_its_parent(server, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", "airflow/dag.task/0198e3a4-7b1f-7c3e-9d5a-2f6b8c1d4e7a")
    monkeypatch.setenv("OPENLINEAGE_NAMESPACE", "nights")
    send(STARTED)
    (start,) = server.lineage
    assert problems(start) == [] and start["job"]["namespace"] == "nights"
    parent = start["run"]["facets"]["parent"]
    assert (parent["job"]["namespace"], parent["job"]["name"]) == ("airflow", "dag.task")
    monkeypatch.setenv("OPENLINEAGE_PARENT_ID", "airflow/dag.task/7")
    with pytest.raises(ConfigError, match=r"OPENLINEAGE_PARENT_ID = .airflow/dag\.task/7.: it should be"):
        observer.of_driver()


def test_a_file_will_do(tmp_path, monkeypatch):
    settings = {"transport": {"type": "file", "log_file_path": str(tmp_path / "events.json"), "append": True}}
    (tmp_path / "openlineage.yml").write_text(json.dumps(settings))
    monkeypatch.setenv("OPENLINEAGE_CONFIG", str(tmp_path / "openlineage.yml"))
    send(STARTED, COMMITTED)
    lines = (tmp_path / "events.json").read_text().splitlines()
    assert [json.loads(line)["eventType"] for line in lines] == ["START", "COMPLETE"]


def test_settings_that_lead_nowhere_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_CONFIG", str(tmp_path / "none.yml"))
    with pytest.raises(ConfigError, match="OPENLINEAGE_CONFIG is set, and openlineage-python finds no transport"):
        observer.of_driver()
    (tmp_path / "none.yml").write_text("transport: {type: no-such}")
    with pytest.raises(ConfigError, match="OPENLINEAGE_CONFIG: openlineage-python cannot use this"):
        observer.of_driver()


def test_a_server_that_is_gone_costs_a_line_and_a_moment(server, monkeypatch):
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    sink = Lineage("OPENLINEAGE_URL")
    with capture_logs() as logs:
        began = time.monotonic()
        sink.take(STARTED)
        sink.take(COMMITTED)
        assert time.monotonic() - began < 0.5
        sink.close()
    assert time.monotonic() - began < lineage.CLOSE_SECONDS + 5
    assert [each["event"] for each in logs] == ["lineage_not_delivered"]


def test_the_environment_decides(server, monkeypatch):
    assert [type(sink).__name__ for sink in exporters.of_driver()] == ["Lineage"]
    assert exporters.of_actor() == []
    monkeypatch.setenv("OPENLINEAGE_DISABLED", "true")
    assert exporters.of_driver() == []
    monkeypatch.delenv("OPENLINEAGE_DISABLED")
    monkeypatch.setitem(sys.modules, "openlineage.client", None)
    with pytest.raises(ConfigError, match=r"OPENLINEAGE_URL is set.*pip install 'longhaul\[openlineage\]'"):
        observer.of_driver()


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3a://b/k/x.txt", ("s3://b", "k/x.txt")),
        ("gcs://b", ("gs://b", "/")),
        ("abfs://c@a.dfs.core.windows.net/p/", ("abfss://c@a.dfs.core.windows.net", "p")),
        ("az://c/p", ("abfss://c@account.dfs.core.windows.net", "p")),
        ("/data/2026/[ab]*/x.txt", ("file", "/data/2026")),
        ("s3://b/docs/part-*/x.txt", ("s3://b", "docs")),
        ("sample://python-reference/", ("sample://python-reference", "/")),
    ],
)
def test_datasets_are_named_as_the_specification_has_it(uri, expected, monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    assert dataset(uri) == expected
