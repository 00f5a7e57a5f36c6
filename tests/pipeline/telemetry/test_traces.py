"""Spans as a collector receives them; where none is named nothing is imported, and one that is gone costs a line."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from configs.errors import ConfigError
from configs.settings import EXTRACTS
from pipeline.telemetry import exporters, observer
from pipeline.telemetry.events import AttemptEnded, Run, RunCommitted, RunFailed
from pipeline.telemetry.traces import CLOSE_SECONDS, Traces
from tests.collector import Collector, attributes, collecting

BEGAN = datetime(2026, 11, 26, 1, tzinfo=UTC)
RUN = Run("night", 1, "s3://bucket/out", ("s3://in/",), "small")
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


ATTEMPT = AttemptEnded(
    RUN, "actor-1", "a.txt", 1, "finished", "text", 10, 90, 5, after(1), after(9), Decimal(4), Decimal("0.1"), "USD",
    ("stop",), admitted_at=after(2), read_at=after(6),
)  # fmt: skip
COMMITTED = RunCommitted(RUN, BEGAN, after(10), "succeeded", None, 1, 1, 0, 0, 90, 5, Decimal("0.2"), "USD")


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in (*exporters.TRACES, *exporters.TRACES_PROTOCOLS, "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def collector(monkeypatch) -> Iterator[Collector]:
    with collecting() as started:
        monkeypatch.setenv(ENDPOINT, started.url)
        yield started


def send(*events) -> None:
    sink = Traces()
    for event in events:
        sink.take(event)
    sink.close()


def test_driver_and_actor_make_one_trace(collector):
    # Each of its own process.
    send(ATTEMPT)
    send(COMMITTED)
    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"run", "document", "queue", "read", "answer"}
    assert len({span.trace_id for span in spans.values()}) == 1
    assert spans["run"].parent_span_id == b""
    assert spans["document"].parent_span_id == spans["run"].span_id
    assert {spans[name].parent_span_id for name in ("queue", "read", "answer")} == {spans["document"].span_id}
    times = {name: (span.start_time_unix_nano, span.end_time_unix_nano) for name, span in spans.items()}
    seconds = {name: tuple(at / 1e9 - BEGAN.timestamp() for at in pair) for name, pair in times.items()}
    expected = {"run": (0, 10), "document": (1, 9), "queue": (1, 2), "read": (2, 6), "answer": (6, 9)}
    assert seconds == {name: pytest.approx(pair, abs=1e-5) for name, pair in expected.items()}
    told = attributes(spans["document"])
    assert {key: value for key, value in told.items() if key.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.request.model": "small",
        "gen_ai.usage.input_tokens": 90,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.response.finish_reasons": ["stop"],
    }
    assert told["longhaul.document.id"] == "a.txt" and told["longhaul.cost"] == 0.1
    (resource,) = {
        each.value.string_value
        for request in collector.requests
        for each in request.resource_spans[0].resource.attributes
        if each.key == "service.name"
    }
    assert resource == "longhaul"


def test_extracts_are_no_usage_of_a_model(collector):
    run = replace(RUN, model=EXTRACTS)
    send(replace(ATTEMPT, run=run, read_at=None), replace(COMMITTED, run=run))
    assert {span.name for span in collector.spans} == {"run", "document", "queue", "read"}
    assert not [key for span in collector.spans for key in attributes(span) if key.startswith("gen_ai.")]


def test_each_start_of_a_run_is_a_trace_and_so_is_each_run(collector):
    again = replace(RUN, start=2), replace(RUN, run_id="other"), replace(RUN, output_uri="s3://bucket/elsewhere")
    send(COMMITTED, *(replace(COMMITTED, run=run) for run in again))
    assert len({span.trace_id for span in collector.spans}) == 4


def test_what_failed_says_so_without_what_may_quote_a_document(collector):
    failed = replace(
        ATTEMPT, outcome="failed", error_class="CorruptError", error_message="it says: Dear Sir", read_at=None
    )
    send(failed, RunFailed(RUN, BEGAN, after(3), "StorageError", "gone"))
    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {"run", "document", "queue", "read"}
    for name, error in (("document", "CorruptError"), ("run", "StorageError")):
        assert spans[name].status.code == spans[name].status.STATUS_CODE_ERROR
        assert attributes(spans[name])["error.type"] == spans[name].status.message == error
    assert b"Dear Sir" not in b"".join(collector.bodies["/v1/traces"])


@pytest.mark.parametrize("is_there", [True, False], ids=["refuses", "is gone"])
def test_a_collector_that_fails_costs_a_line_and_a_moment(collector, monkeypatch, is_there):
    collector.status = 400
    if not is_there:
        monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    sink = Traces()
    with capture_logs() as logs:
        for _ in range(3):
            began = time.monotonic()
            sink.take(ATTEMPT)
            assert time.monotonic() - began < 0.2
            time.sleep(0.4)
        sink.close()
    assert time.monotonic() - began < CLOSE_SECONDS + 5
    assert [each["event"] for each in logs] == ["traces_not_delivered"]


def test_the_environment_decides(collector, monkeypatch):
    assert [type(sink).__name__ for sink in exporters.of_actor()] == ["Traces"]
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert exporters.of_actor() == []
    monkeypatch.delenv("OTEL_TRACES_EXPORTER")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_PROTOCOL = 'grpc': traces are sent as http/protobuf"):
        observer.of_driver()


def test_a_missing_package_is_named_before_anything_starts(collector, monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(ConfigError, match=rf"{ENDPOINT} is set.*pip install 'longhaul\[opentelemetry\]'"):
        observer.of_driver()
    with capture_logs() as logs:
        assert exporters.of_actor() == []
    assert [each["event"] for each in logs] == ["no_traces"], "an actor works without"


def test_without_an_endpoint_nothing_is_imported():
    code = """
import sys
from pipeline.telemetry import observer
observer.of_driver(), observer.of_actor()
print(sorted(name for name in sys.modules if name.startswith(("opentelemetry", "openlineage"))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
