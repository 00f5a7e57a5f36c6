"""Whatever one document raises in an actor is its failure row, with class, message and place; the others are read."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from configs.settings import EngineSettings, InputSettings
from pipeline.actor.assignment import Assignment
from pipeline.actor.entries import Entries
from pipeline.actor.job import Job
from pipeline.documents import content
from pipeline.ledger.records import batch_of, document_key
from pipeline.schemas.tables import Row
from pipeline.states import kept as states
from pipeline.storage import objects
from tests.one_actor import (
    PATIENCE_SECONDS,
    TEXT,
    assignment_in,
    entries,
    feed_threads,
    ledger,
    row,
    run,
    streamed,
    tokenizer,
    with_settings,
)


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    return with_settings(assignment_in(tmp_path), engine=EngineSettings(slots=4, step_tokens=512))


def outcome(assignment: Assignment, rows: list[Row], error: str = "UnexpectedError") -> tuple[Row, Row]:
    """The receipt and the entry of the one document that fails, named `bad`."""
    _, futures = run(assignment, *rows)
    receipts = {each["document_id"]: each for each in _results(futures)}
    bad = receipts.pop("bad")
    assert {each["status"] for each in receipts.values()} == {"ok"}
    entry = entries(assignment)["bad"]
    (failure,) = entry["failures"]
    assert bad["status"] == failure["status"] == entry["outcome"] == "failed"
    assert bad["error_class"] == failure["error_class"] == error
    assert bad["error_message"] == failure["error_message"]
    assert not entry["summaries"] and not entry["states"]
    return bad, entry


def _results(futures: list["Future[Row]"]) -> list[Row]:
    return [future.result(PATIENCE_SECONDS) for future in futures]


def inline(folder: Path, *names: str, **values: Any) -> list[Row]:
    tokens = tokenizer().encode(TEXT)
    return [
        row(folder / name, title="T", tokens=tokens[: 2000 - 100 * index]) | values for index, name in enumerate(names)
    ]


def test_a_value_that_no_table_holds(assignment: Assignment, tmp_path: Path) -> None:
    rows = inline(tmp_path, "a", "bad", "b", "c")
    rows[1]["title"] = "half of a pair \ud83d"
    bad, entry = outcome(assignment, rows)
    assert bad["error_message"].startswith("UnicodeEncodeError: 'utf-8' codec can't encode")
    assert "(at pipeline/actor/ledger_writer.py:" in bad["error_message"]
    assert entry["spent"]["saved"] > 0


def test_answers_that_cannot_be_told(assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Entries._answered

    def answered(self: Entries, job: Job, finished: Any) -> Any:
        return {}["bad"] if job.document_id == "bad" else original(self, job, finished)

    monkeypatch.setattr(Entries, "_answered", answered)
    bad, entry = outcome(assignment, inline(tmp_path, "a", "b", "bad", "c"))
    assert bad["error_message"].startswith("KeyError: 'bad' (at pipeline/actor/entries.py:")
    # What it took to read it is still its own.
    assert entry["spent"]["saved"] > 0 and entry["tokens_read"] == bad["tokens_read"] == 1800


def test_a_state_that_cannot_be_kept(assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = states.keep

    def keep(assignment: Assignment, kept: Any, *others: Any) -> Row:
        assert kept.document_id != "bad", "no state of this one"
        return original(assignment, kept, *others)

    monkeypatch.setattr(states, "keep", keep)
    for name in ("a", "b", "bad", "c"):
        (tmp_path / name).write_text(TEXT * 3)
    rows = [row(tmp_path / name, title="T", is_streamed=True) for name in ("a", "b", "bad", "c")]
    bad, entry = outcome(with_settings(assignment, ttl_days=1.0), rows)
    assert "AssertionError: no state of this one" in bad["error_message"]
    assert entry["spent"]["saved"] > 0
    assert len(entries(assignment)["a"]["states"]) == 1


def test_a_claim_that_nobody_can_read(assignment: Assignment, tmp_path: Path) -> None:
    """The attempt counts, and says nothing else."""
    uri = f"{ledger(assignment).uri}/claims/{batch_of(0, [document_key('bad', 'e')])}/0001.json"
    objects.publish(uri, b"")
    _, receipts = run(assignment, *inline(tmp_path, "a", "b", "bad", "c"))
    assert {each.result(PATIENCE_SECONDS)["status"] for each in receipts} == {"ok"}
    assert entries(assignment)["bad"]["claim"] == 2


def test_a_row_that_cannot_be_opened(assignment: Assignment, tmp_path: Path) -> None:
    """Here one whose cuts are not those of a document."""
    rows = inline(tmp_path, "a", "b", "bad", "c")
    rows[2]["cuts"] = [{"parts": 1}]
    bad, _ = outcome(assignment, rows)
    assert bad["error_message"].startswith("KeyError: 'tokens' (at pipeline/actor/job.py:")


def test_one_whose_reading_hangs(assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hanging(stream: BinaryIO, position: int = 0) -> Iterator[bytes]:
        assert released.wait(PATIENCE_SECONDS)
        yield from ()

    monkeypatch.setattr(content, "pieces", hanging)
    limits = InputSettings(sources=("unused",), max_document_seconds=0.2)
    hurried = with_settings(assignment, input=limits, heartbeat_seconds=0.1)
    rows = [streamed(tmp_path / "bad", TEXT.encode()), *inline(tmp_path, "a", "b", "c")]
    bad, entry = outcome(hurried, rows, "TimeLimitError")
    assert "Reading the document got no further for 0.2 s" in bad["error_message"]
    assert entry["tokens_read"] == 0
    # Its thread is left to itself, and nobody hears of it any more.
    assert len(feed_threads()) == 1
    released.set()


def test_titles_are_found_where_the_reader_has_not_been(assignment: Assignment, tmp_path: Path) -> None:
    rows = [streamed(tmp_path / name, TEXT.encode()) | {"title": None} for name in ("a.txt", "b.txt", "c.txt")]
    assert {each["status"] for each in _results(run(assignment, *rows)[1])} == {"ok"}
    titles = {entry["summaries"][0]["title"] for entry in entries(assignment).values()}
    assert titles == {"line 0"}
