"""Traces and lineage of real runs, as a collector and a server of lineage receive them."""

from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from jobs import exits
from pipeline.reports.warehouse import Warehouse
from tests.collector import Collector, attributes, collecting
from tests.conftest import SECRET_KEY
from tests.openlineage import problems

TEXTS = sorted((text for text in topics.values() if 3000 < len(text) < 6000), key=len)[:2]


@pytest.fixture
def collector(monkeypatch) -> Iterator[Collector]:
    with collecting() as started:
        monkeypatch.setenv("OPENLINEAGE_URL", started.url)
        yield started


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "documents"
    path.mkdir()
    for number, text in enumerate(TEXTS):
        (path / f"{number}.txt").write_text(text)
    return path


def test_a_run_is_a_trace_of_its_documents_and_their_stages_and_lineage(collector, summarize, folder, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    (folder / "empty.txt").touch()
    # Workers have the environment of their Ray's start.
    done = summarize.alone([str(folder)])
    assert done.returncode == exits.PARTIAL, done.stderr
    assert len({span.trace_id for span in collector.spans}) == 1
    (run,) = (span for span in collector.spans if span.name == "run")
    documents = {attributes(span)["longhaul.document.id"]: span for span in collector.spans if span.name == "document"}
    assert set(documents) == {str(folder / name) for name in ("0.txt", "1.txt", "empty.txt")}
    assert {span.parent_span_id for span in documents.values()} == {run.span_id}
    stages = {span.span_id: [] for span in documents.values()}
    for span in collector.spans:
        if span not in (run, *documents.values()):
            stages[span.parent_span_id].append(span.name)
    assert {name: stages[span.span_id] for name, span in documents.items()} == {
        str(folder / "0.txt"): ["queue", "read", "answer"],
        str(folder / "1.txt"): ["queue", "read", "answer"],
        str(folder / "empty.txt"): ["queue"],
    }
    tables = Warehouse(summarize.output)
    for row in tables.rows("select document_id, tokens_read as input, summary_tokens from summaries"):
        told = attributes(documents[row["document_id"]])
        assert told["gen_ai.usage.input_tokens"] == row["input"]
        assert told["gen_ai.usage.output_tokens"] >= row["summary_tokens"] > 0
    assert attributes(documents[str(folder / "empty.txt")])["error.type"] == "EmptyDocumentError"
    (job,) = tables.rows("select run_id, cost from jobs")
    assert attributes(run)["longhaul.run.id"] == job["run_id"]
    assert attributes(run)["longhaul.cost"] == pytest.approx(float(job["cost"]))
    sent = b"".join(collector.bodies["/v1/traces"])
    assert not any(word.encode() in sent for word in (SECRET_KEY, TEXTS[0][:40], TEXTS[1][-40:]))

    assert [each["eventType"] for each in collector.lineage] == ["START", "COMPLETE"]
    assert [problem for each in collector.lineage for problem in problems(each)] == []
    assert collector.lineage[0]["inputs"][0]["name"] == str(folder)
    assert {each["name"] for each in collector.lineage[1]["outputs"]} >= {f"{summarize.output}/summaries"}


def test_a_run_that_stops_at_its_budget_is_aborted(collector, summarize, folder):
    (folder / "long.txt").write_text("\n\n".join(topics.values())[:160_000])
    slow = ("price.cpu_hour=3.6", "engine.step_tokens=32", "run.budget_usd=0.002")
    done = summarize([str(folder)], *slow)
    assert done.returncode == exits.STOPPED, done.stderr
    start, end = collector.lineage
    assert (start["eventType"], end["eventType"], problems(end)) == ("START", "ABORT", [])
    tags = {each["key"]: each["value"] for each in end["run"]["facets"]["tags"]["tags"]}
    assert tags["stopped_by"] == "budget" and tags["documents_left"] != "0"


def test_a_run_that_an_error_ends_has_failed(collector, summarize, folder, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = summarize.alone([str(folder)], "model.device=cuda")
    assert done.returncode == exits.REFUSED, done.stderr
    start, end = collector.lineage
    assert (start["eventType"], end["eventType"], problems(end)) == ("START", "FAIL", [])
    assert end["run"]["facets"]["errorMessage"]["message"].startswith("ConfigError: model.device = 'cuda'")


def test_a_missing_package_ends_a_run_before_it_starts(summarize, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    # Found before the real one, as an environment without the extra has it.
    package = tmp_path / "without" / "opentelemetry"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    done = summarize.alone([str(folder)])
    assert done.returncode == exits.REFUSED
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set" in done.stderr and "longhaul[opentelemetry]" in done.stderr
    assert not Path(summarize.output).exists()
