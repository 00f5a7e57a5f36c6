"""Entries go to the ledger together, and a receipt goes out when its entry is there."""

import threading
from concurrent.futures import Future

import pyarrow as pa
import pytest

from configs.errors import StorageError
from pipeline.actor.segment_writer import MOST_ENTRIES, Pending, SegmentWriter
from pipeline.ledger.records import ENTRY, MeterReading
from pipeline.ledger.run_folder import Ledger
from tests.one_actor import PATIENCE_SECONDS, TEXT, assignment_in, begin, claims, entries, ledger, row, run, tokenizer

LONG = 10 * PATIENCE_SECONDS


@pytest.fixture
def book(tmp_path) -> Ledger:
    return Ledger(str(tmp_path), "r")


def writer(book: Ledger, most_seconds: float = LONG) -> SegmentWriter:
    made = SegmentWriter(book, "actor", most_seconds)
    made.start()
    return made


def pending(name: str, total_us: int = 1) -> Pending:
    reading = MeterReading("actor", "node", "cpu", 1, "0.1", "USD", 0, 1, total_us=total_us)
    entry = {"document_id": name, "source_etag": "e", "actor_id": "actor", "reading": reading.__dict__}
    return Pending(pa.Table.from_pylist([entry], ENTRY), {"document_id": name}, Future(), lambda: None)


def test_what_ends_before_a_segment_is_due_is_written_with_it_and_nobody_is_told_before(book):
    made, some = writer(book), [pending(name, total) for name, total in (("a", 5), ("b", 9), ("c", 7))]
    for each in some:
        made.add(each)
    assert not any(each.waiting.done() for each in some) and not book.segments()
    assert made.flush(PATIENCE_SECONDS)
    assert [each.waiting.result(0)["document_id"] for each in some] == ["a", "b", "c"]
    assert len(book.segments("actor")) == 1
    # What the meter showed last is told once.
    shown = {entry["document_id"]: entry["reading"] for entry in book.entries()}
    assert {name: reading and reading["total_us"] for name, reading in shown.items()} == {"a": None, "b": 9, "c": None}


def test_nothing_waits_longer_than_it_may_nor_where_receipts_are_awaited(book):
    hurried, patient = writer(book, 0.05), writer(book)
    first, second = pending("a"), pending("b")
    hurried.add(first)
    assert first.waiting.result(PATIENCE_SECONDS)
    patient.add(second)
    assert not second.waiting.done()
    patient.await_receipts(True)
    assert second.waiting.result(PATIENCE_SECONDS)


def test_a_full_segment_does_not_wait(book):
    made, some = writer(book), [pending(str(number)) for number in range(MOST_ENTRIES)]
    for each in some:
        made.add(each)
    for each in some:
        each.waiting.result(PATIENCE_SECONDS)
    assert book.segments()


def test_a_store_that_fails_is_told_to_each_that_waits_and_the_next_segment_is_tried(book, monkeypatch):
    publish, is_gone = book.publish_segment, threading.Event()
    is_gone.set()

    def failing(*segment) -> None:
        if is_gone.is_set():
            raise StorageError("the store is gone")
        publish(*segment)

    monkeypatch.setattr(book, "publish_segment", failing)
    made, lost, later = writer(book), [pending("a"), pending("b")], pending("c")
    for each in lost:
        made.add(each)
    made.flush(PATIENCE_SECONDS)
    for each in lost:
        with pytest.raises(StorageError, match="gone"):
            each.waiting.result(0)
    is_gone.clear()
    made.add(later)
    assert made.flush(PATIENCE_SECONDS) and later.waiting.result(0)
    assert [entry["document_id"] for entry in book.entries()] == ["c"]


def batch_in(folder, count: int) -> list[dict]:
    tokens = tokenizer().encode(TEXT)
    return [row(folder / f"{index}.txt", title="T", tokens=tokens[: 60 + index]) for index in range(count)]


def test_a_batch_of_short_documents_takes_one_claim_and_few_segments(tmp_path):
    assignment, count = assignment_in(tmp_path), 24
    driver, _ = run(assignment)
    receipts = [each.result(PATIENCE_SECONDS) for each in driver.submit(batch_in(tmp_path, count))]
    assert {receipt["status"] for receipt in receipts} == {"ok"}
    book = ledger(assignment)
    assert len(entries(assignment)) == count
    assert len(book.claims_without_an_end({})) == count
    files = {
        kind: len(list((tmp_path / "output" / "_runs" / "r" / kind).rglob("*.*"))) for kind in ("claims", "segments")
    }
    assert files["claims"] == 1 and files["segments"] <= count / 3


def test_a_batch_that_comes_again_is_read_only_as_far_as_it_is_not_finished(tmp_path):
    """As Ray gives it to another actor when the first has died. Of what that had not written nothing is known."""
    assignment = assignment_in(tmp_path)
    begin(assignment)
    rows = batch_in(tmp_path, 5)
    first, _ = run(assignment)
    for each in first.submit(rows):
        each.result(PATIENCE_SECONDS)
    # Two of the five had not been written when it died.
    book = ledger(assignment)
    kept = [entry for entry in book.entries() if entry["document_id"] in ("0.txt", "2.txt", "4.txt")]
    for uri in book.segments():
        (tmp_path / uri).unlink()
    book.publish_segment(kept[0]["actor_id"], 1, pa.Table.from_pylist(kept, ENTRY))

    second, _ = run(assignment)
    receipts = [each.result(PATIENCE_SECONDS) for each in second.submit(rows)]
    assert [receipt["status"] for receipt in receipts] == ["ok"] * 5
    assert second._actor.reading().tokens_read == sum(len(rows[index]["tokens"]) for index in (1, 3))
    made = {entry["document_id"]: entry["attempt"] for entry in book.entries()}
    assert made == {"0.txt": 1, "1.txt": 2, "2.txt": 1, "3.txt": 2, "4.txt": 1}
    assert not claims(assignment, "1.txt")
