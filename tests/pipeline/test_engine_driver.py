"""Documents that an actor reads itself: summarised, or broken off with a reason and their cost."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from configs.errors import StorageError
from pipeline import reading, tokenise
from pipeline.assignment import Assignment
from pipeline.token_feed import AHEAD_TOKENS
from tests.one_actor import PATIENCE_SECONDS, TEXT, assignment_in, entries, feed_threads, row, run, streamed, tokenizer


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    return assignment_in(tmp_path)


def test_a_streamed_document_gives_what_its_tokens_give(assignment: Assignment, tmp_path: Path) -> None:
    tokens = tokenise.tokens([TEXT], tokenizer())
    inline = row(tmp_path / "inline", title="T", tokens=tokens, is_streamed=False)
    # The same document id draws the same answer.
    _, (first,) = run(assignment, inline)
    first.result(PATIENCE_SECONDS)
    other = replace(assignment, output_uri=str(tmp_path / "other"))
    _, (second,) = run(other, streamed(tmp_path / "a.txt", TEXT.encode()) | {"document_id": "inline"})
    receipt = second.result(PATIENCE_SECONDS)
    assert (receipt["status"], receipt["tokens_read"]) == ("ok", len(tokens))
    (expected,), (summary,) = (entries(each)["inline"]["summaries"] for each in (assignment, other))
    assert summary["summary"] == expected["summary"]
    assert summary["tokens_total"] == summary["tokens_read"] == expected["tokens_total"] == len(tokens)
    assert not feed_threads()


def test_a_document_that_breaks_off_is_a_failure_with_its_cost_and_the_others_go_on(
    assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A little more than the feed reads ahead, so that some tokens are read before the break is known.
    monkeypatch.setattr(reading, "PIECE_BYTES", AHEAD_TOKENS + 12_000)
    broken = streamed(tmp_path / "broken.txt", TEXT.encode() * 40 + b"\xff\0\xff")
    assert 1.2 * reading.PIECE_BYTES < len(TEXT) * 40 < 2 * reading.PIECE_BYTES
    gone = row(tmp_path / "gone.txt", is_streamed=True)
    good = [streamed(tmp_path / f"good {index}.txt", TEXT.encode()) for index in range(3)]
    _, futures = run(assignment, broken, gone, *good)
    receipts = {each["document_id"]: each for each in (future.result(PATIENCE_SECONDS) for future in futures)}
    assert [receipts[each["document_id"]]["status"] for each in good] == ["ok"] * 3
    assert receipts["broken.txt"]["error_class"] == "UndecodableError"
    assert "is not valid UTF-8" in receipts["broken.txt"]["error_message"]
    assert receipts["gone.txt"]["error_class"] == "UnreadableError"
    found = entries(assignment)
    for name in ("broken.txt", "gone.txt"):
        (failure,), (cost,) = found[name]["failures"], found[name]["costs"]
        assert (failure["attempts"], failure["error_class"]) == (1, receipts[name]["error_class"])
        assert failure["tokens_read"] == cost["tokens_read"] == receipts[name]["tokens_read"]
        assert (cost["cost"] > 0) == (cost["tokens_read"] > 0)
    assert found["broken.txt"]["failures"][0]["tokens_read"] > 0
    # Of a document that is finished some time went to its answer, of another none.
    answering = {name: entry["costs"][0]["decode_seconds"] > 0 for name, entry in found.items()}
    assert answering == {each["document_id"]: each in good for each in (broken, gone, *good)}
    for entry in found.values():
        assert entry["costs"][0]["decode_seconds"] <= entry["costs"][0]["gpu_seconds"]
    assert not feed_threads()


def test_an_actor_that_waits_for_a_document_sleeps_and_wakes_for_any_other(
    assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comes = threading.Event()

    def late(stream: BinaryIO, position: int = 0) -> Iterator[bytes]:
        if stream.name.endswith("late.txt"):
            assert comes.wait(PATIENCE_SECONDS)
        yield from original(stream, position)

    original = reading.pieces
    monkeypatch.setattr(reading, "pieces", late)
    driver, (waiting,) = run(assignment, streamed(tmp_path / "late.txt", TEXT.encode()))
    other = driver.submit(streamed(tmp_path / "other.txt", TEXT.encode()))
    assert other.result(PATIENCE_SECONDS)["status"] == "ok"

    used = time.process_time()
    time.sleep(1)
    assert time.process_time() - used < 0.3 and not waiting.done()
    comes.set()
    # Far sooner than the next heartbeat.
    assert waiting.result(assignment.heartbeat_seconds / 2)["status"] == "ok"
    idle = entries(assignment)["late.txt"]["reading"]["idle_us"]
    assert idle > 900_000


def test_a_store_that_is_lost_stops_the_actor(assignment: Assignment, tmp_path: Path, bucket: str) -> None:
    lost = row(tmp_path / "lost.txt", title="T", is_streamed=True) | {"source_uri": f"{bucket}-that-is-gone/a.txt"}
    waiting = streamed(tmp_path / "a.txt", TEXT.encode() * 30)
    _, futures = run(assignment, lost, waiting)
    for future in futures:
        with pytest.raises(StorageError, match="no such bucket"):
            future.result(PATIENCE_SECONDS)
    deadline = time.monotonic() + 10
    while feed_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not feed_threads()
