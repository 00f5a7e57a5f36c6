"""Documents that an actor reads itself: summarized, or broken off with a reason and their cost."""

import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pytest

from configs.errors import StorageError
from configs.settings import PromptSettings
from pipeline.actor import engine_driver
from pipeline.actor.assignment import Assignment
from pipeline.actor.engine_driver import EngineDriver
from pipeline.actor.job import Job
from pipeline.documents import content, tokenize
from pipeline.documents.token_feed import AHEAD_TOKENS
from tests.driven import Driven
from tests.one_actor import (
    TEXT,
    assignment_in,
    entries,
    feed_threads,
    ledger,
    row,
    run,
    streamed,
    submitted,
    tokenizer,
    with_settings,
)
from tests.waiting import PATIENCE_SECONDS, wait_for


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    return assignment_in(tmp_path)


def test_a_streamed_document_gives_what_its_tokens_give(assignment: Assignment, tmp_path: Path) -> None:
    tokens = tokenize.tokens([TEXT], tokenizer())
    inline = row(tmp_path / "inline", title="T", tokens=tokens, is_streamed=False)
    # The same document id draws the same answer.
    _, (first,) = run(assignment, inline)
    first.result(PATIENCE_SECONDS)
    other = with_settings(assignment, output_uri=str(tmp_path / "other"))
    _, (second,) = run(other, streamed(tmp_path / "a.txt", TEXT.encode()) | {"document_id": "inline"})
    receipt = second.result(PATIENCE_SECONDS)
    assert (receipt["status"], receipt["tokens_read"]) == ("ok", len(tokens))
    (expected,), (summary,) = (entries(each)["inline"]["summaries"] for each in (assignment, other))
    assert summary["summary"] == expected["summary"]
    assert summary["tokens_total"] == summary["tokens_read"] == expected["tokens_total"] == len(tokens)
    wait_for(lambda: not feed_threads())


def test_a_document_that_breaks_off_is_a_failure_with_its_cost_and_the_others_go_on(
    assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A little more than the feed reads ahead, so that some tokens are read before the break is known.
    monkeypatch.setattr(content, "PIECE_BYTES", AHEAD_TOKENS + 12_000)
    broken = streamed(tmp_path / "broken.txt", TEXT.encode() * 40 + b"\xff\0\xff" * 500)
    assert 1.2 * content.PIECE_BYTES < len(TEXT) * 40 < 2 * content.PIECE_BYTES
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
        (failure,), entry = found[name]["failures"], found[name]
        assert (failure["attempts"], failure["error_class"]) == (1, receipts[name]["error_class"])
        assert failure["tokens_read"] == entry["tokens_read"] == receipts[name]["tokens_read"]
        assert (entry["spent"]["saved"] > 0) == (entry["tokens_read"] > 0)
    assert found["broken.txt"]["failures"][0]["tokens_read"] > 0
    # Of a document that is finished some time went to its answer, of another none.
    answering = {name: entry["spent"]["decoding"] > 0 for name, entry in found.items()}
    assert answering == {each["document_id"]: each in good for each in (broken, gone, *good)}
    for entry in found.values():
        assert entry["spent"]["decoding"] <= entry["spent"]["microseconds"]
    wait_for(lambda: not feed_threads())


def test_an_actor_that_waits_for_a_document_sleeps_and_wakes_for_any_other(
    assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comes = threading.Event()

    def late(stream: BinaryIO, position: int = 0) -> Iterator[bytes]:
        if stream.name.endswith("late.txt"):
            assert comes.wait(PATIENCE_SECONDS)
        yield from original(stream, position)

    original = content.pieces
    monkeypatch.setattr(content, "pieces", late)
    quiet = with_settings(assignment, heartbeat_seconds=4 * PATIENCE_SECONDS)
    driver, (waiting,) = run(quiet, streamed(tmp_path / "late.txt", TEXT.encode()))
    (other,) = driver.submit([streamed(tmp_path / "other.txt", TEXT.encode())])
    assert other.result(PATIENCE_SECONDS)["status"] == "ok"

    used = time.process_time()
    time.sleep(1)
    assert time.process_time() - used < 0.3 and not waiting.done()
    comes.set()
    # Before the next heartbeat, which is far away.
    assert waiting.result(PATIENCE_SECONDS)["status"] == "ok"
    idle = entries(assignment)["late.txt"]["reading"]["idle_us"]
    assert idle > 900_000


def test_a_store_that_is_lost_stops_the_actor(assignment: Assignment, tmp_path: Path, bucket: str) -> None:
    lost = row(tmp_path / "lost.txt", title="T", is_streamed=True) | {"source_uri": f"{bucket}-that-is-gone/a.txt"}
    waiting = streamed(tmp_path / "a.txt", TEXT.encode() * 30)
    _, futures = run(assignment, lost, waiting)
    for future in futures:
        with pytest.raises(StorageError, match="no such bucket"):
            future.result(PATIENCE_SECONDS)
    wait_for(lambda: not feed_threads())


def test_an_actor_that_leaves_waits_for_no_document_of_its_own(
    assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, comes = threading.Event(), threading.Event()

    def hanging(stream: BinaryIO, position: int = 0) -> Iterator[bytes]:
        if stream.name.endswith("hangs.txt"):
            asked.set()
            assert comes.wait(PATIENCE_SECONDS)
        yield from original(stream, position)

    original = content.pieces
    monkeypatch.setattr(content, "pieces", hanging)
    left = threading.Event()
    driver = EngineDriver(assignment, left.set)
    driver.start()
    names = ("hangs.txt", "b.txt", "c.txt")
    for name in names:
        driver.submit([streamed(tmp_path / name, TEXT.encode())])
    assert asked.wait(PATIENCE_SECONDS)
    wait_for(lambda: "hangs.txt" in driver._jobs)
    driver.preempt(30.0)
    assert left.wait(PATIENCE_SECONDS / 2)
    assert len(feed_threads()) == 1
    comes.set()
    wait_for(lambda: not feed_threads())


def test_what_stops_the_engine_reaches_each_call_once_whoever_tells_it(assignment: Assignment, tmp_path: Path) -> None:
    """A document may arrive, in a thread of the intake, just while the engine's thread refuses those that it has."""
    driver = EngineDriver(assignment)
    jobs = [Job(row(tmp_path / name), datetime.now(UTC), Future()) for name in "abcd"]
    driver._jobs = {job.document_id: job for job in jobs[:2]}
    driver._queue.put(jobs[2])
    driver._broken = StorageError("gone")

    class Jobs(queue.SimpleQueue):
        """While it is looked into for the first time another document comes in another thread."""

        late = jobs[3]

        def get_nowait(self) -> Job:
            if late := self.late:
                self.late = None
                thread = threading.Thread(target=driver._inbox.put, args=(late,))
                thread.start()
                thread.join(PATIENCE_SECONDS)
            return super().get_nowait()

    driver._inbox._jobs = Jobs()
    driver._refuse_all(driver._broken)
    for job in jobs:
        assert str(job.receipt.exception(0)) == "gone"


def test_a_stop_does_not_wait_for_long_answers_which_are_given_by_the_next_start(
    assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = with_settings(assignment, prompts=(PromptSettings(max_tokens=31),), state_key="k", summary_so_far=True)
    rows = [row(tmp_path / name, title="T", tokens=tokenizer().encode(TEXT[:900])) for name in "abc"]
    undisturbed = with_settings(asking, output_uri=str(tmp_path / "undisturbed"))
    assert {each.result(PATIENCE_SECONDS)["status"] for each in run(undisturbed, *rows)[1]} == {"ok"}

    monkeypatch.setattr(engine_driver, "STOP_SECONDS", 0.0)
    driver = Driven(asking)
    futures = submitted(driver, *rows)
    driver.await_arrivals(3)
    driver.work_until(lambda: driver._engine.num_answering == 2)
    ledger(asking).stop("budget")
    driver._heartbeat_due = 0.0
    driver._work()
    driver._writer.flush()
    wait_for(lambda: driver._writer.stop_reason)
    under_way = set(driver._jobs)
    driver._work()
    assert not driver._engine.busy
    receipts = {each["document_id"]: each["status"] for each in (future.result(PATIENCE_SECONDS) for future in futures)}
    assert {receipts[name] for name in under_way} == {"stopped"}

    again = [each for each in rows if each["document_id"] in under_way]
    assert {each.result(PATIENCE_SECONDS)["status"] for each in run(with_settings(asking, start=1), *again)[1]} == {
        "ok"
    }
    one, two = (
        {name: entry["summaries"][0]["summary"] for name, entry in entries(each).items()}
        for each in (asking, undisturbed)
    )
    assert one == two
