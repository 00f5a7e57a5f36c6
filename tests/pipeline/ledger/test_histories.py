"""Random histories of one run over several starts: documents come, change, go and come back, fail, are half read when
their actor dies. After every start the tables say what has become of the documents that it found."""

import json
import tempfile
from collections import Counter
from decimal import Decimal
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.driver.prepare import remaining
from pipeline.ledger.commit import commit
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.document import Document
from pipeline.storage import objects
from tests.worker import ABOUT, Worker, assert_tokens_add_up, bill

NAMES, ETAGS, TOKENS = "abc", ("v1", "v2"), 900
STARTS = st.fixed_dictionaries(
    {
        "listed": st.dictionaries(st.sampled_from(NAMES), st.sampled_from(ETAGS)),
        "events": st.lists(
            st.tuples(
                st.sampled_from(NAMES),
                st.sampled_from(("read", "read", "save", "beat", "finished", "failed", "stopped", "die")),
            ),
            max_size=9,
        ),
        "stops": st.booleans(),
    }
)


@settings(max_examples=40, deadline=None)
@given(starts=st.lists(STARTS, min_size=1, max_size=4), draw=st.integers(0, 99).map(Random))
def test_the_tables_say_what_has_become_of_the_documents_that_the_last_start_found(starts, draw):
    with tempfile.TemporaryDirectory() as folder:
        ledger, outcomes = Ledger(folder, "r1"), {}
        for number, start in enumerate(starts):
            config = ABOUT["config"] | {"start": number}
            ledger.begin(
                ABOUT | {"run_id": "r1", "started_at": f"2026-11-{22 + number}T01:00:00+00:00", "config": config}
            )
            documents = tuple(Document(name, f"/{name}", etag, TOKENS) for name, etag in start["listed"].items())
            work(ledger, documents, outcomes, start, draw)
            job = commit(ledger, documents, stopped=start["stops"], start=number + 1)
            assert json.loads(job["config"])["start"] == number
            assert job["started_at"].day == 22
            rows = {name: table(ledger, name) for name in ("summaries", "failures", "costs", "jobs")}
            assert [row["status"] for row in rows["jobs"]] == [job["status"]]
            assert_counts(job, documents, outcomes)
            assert_rows(rows, documents, outcomes)
            assert_sums(job, rows, bill(ledger))


def work(ledger: Ledger, documents: tuple[Document, ...], outcomes: dict, start: dict[str, Any], draw: Random) -> None:
    """One start, up to its commit; `outcomes` of documents at a content are told by it."""
    todo = {document.document_id: document for document in remaining(documents, ledger)}
    worker = Worker(ledger, draw)
    for name, event in start["events"]:
        if event == "die":
            worker = Worker(ledger, draw)
        elif event == "beat":
            worker.heartbeat()
        elif name in todo:
            if name not in worker.jobs:
                worker.take([todo[name]])
            if event == "read":
                worker.advance([name], 300)
            elif event == "save":
                worker.save(name)
            else:
                end(worker, todo, name, event, outcomes)
    for name in [] if start["stops"] else list(todo):
        if outcomes.get((name, todo[name].source_etag)) is None:
            if name not in worker.jobs:
                worker.take([todo[name]])
            end(worker, todo, name, "finished", outcomes)
    if draw.random() < 0.7:
        worker.leave()


def end(worker: Worker, todo: dict[str, Document], name: str, outcome: str, outcomes: dict) -> None:
    worker.end(name, outcome)
    worker.flush()
    if outcome != "stopped":
        document = todo.pop(name)
        outcomes[name, document.source_etag] = outcome


def assert_counts(job: dict[str, Any], documents: tuple[Document, ...], outcomes: dict) -> None:
    became = Counter(outcomes.get((each.document_id, each.source_etag), "left") for each in documents)
    counts = {name: job[f"documents_{name}"] for name in ("total", "succeeded", "failed", "left")}
    assert counts == {
        "total": len(documents),
        "succeeded": became["finished"],
        "failed": became["failed"],
        "left": became["left"],
    }
    assert job["status"] == ("stopped" if became["left"] else "partial" if became["failed"] else "succeeded")


def assert_rows(rows: dict[str, list[dict]], documents: tuple[Document, ...], outcomes: dict) -> None:
    present = {(each.document_id, each.source_etag) for each in documents}
    whole = {content(row) for row in rows["summaries"] if not row["truncated"]}
    failed = {content(row) for row in rows["failures"]}
    assert whole & present == {each for each in present if outcomes.get(each) == "finished"}
    assert failed == {each for each in present if outcomes.get(each) == "failed"}
    # One of the document, or one per prompt.
    assert len(rows["failures"]) == len(failed)
    per_prompt = Counter((row["document_id"], row["prompt_id"]) for row in rows["summaries"])
    assert not per_prompt or max(per_prompt.values()) == 1
    assert not {document for document, _ in per_prompt} & {document for document, _ in failed}


def assert_sums(job: dict[str, Any], rows: dict[str, list[dict]], expected: Decimal) -> None:
    costs, answers = rows["costs"], [*rows["summaries"], *rows["failures"]]
    assert job["cost"] == expected == sum((row["cost"] for row in costs), Decimal(0))
    assert not answers or sum(row["full_cost"] for row in answers) == expected
    assert job["tokens_read"] == sum(row["tokens_read"] or 0 for row in costs)
    assert_tokens_add_up(costs, rows["summaries"])


def table(ledger: Ledger, name: str) -> list[dict]:
    files = objects.list_files(objects.join(ledger.output_uri, name), ".parquet")
    return [row for part in objects.read_tables(files) for row in part.to_pylist()]


def content(row: dict) -> tuple[str, str]:
    return row["document_id"], row["source_etag"]
