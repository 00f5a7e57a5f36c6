"""Writes what an actor has to say to the ledger, beside the engine, so that no pass waits for storage."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import structlog

from configs.errors import LonghaulError, unexpected
from pipeline.actor import citing
from pipeline.actor.entries import unstorable
from pipeline.actor.segment_writer import Pending, SegmentWriter
from pipeline.cluster.mailbox import Mailbox
from pipeline.documents.handover import reason
from pipeline.ledger.heartbeats import TOLD
from pipeline.ledger.records import ENTRY, Entry, Heartbeat, document_key
from pipeline.ledger.run_folder import Ledger
from pipeline.ledger.stop import stop_message
from pipeline.schemas.tables import Row
from pipeline.states import stored
from pipeline.states.segments import Segment
from pipeline.states.snapshot import Snapshot
from pipeline.telemetry.events import SnapshotFailed, SnapshotStored
from pipeline.telemetry.observer import Observer

TELL_SECONDS = 2.0
"""That the last heartbeat waits for the driver to have it."""
THREADS = 8
"""Enough to keep a store busy at a rate of some GB/s."""

log = structlog.get_logger()


class Saved(NamedTuple):
    """A snapshot that was stored."""

    cpu_seconds: float
    segments: tuple[Segment, ...]
    """It has, of what grows with the tokens."""


class LedgerWriter:
    """Writes to the ledger in threads of its own, not always in the order of the requests."""

    def __init__(
        self,
        ledger: Ledger,
        actor_id: str,
        start: int,
        most_seconds: float,
        observer: Observer,
        mailbox: Mailbox | None = None,
        every_seconds: float = 0.0,
    ) -> None:
        """`start` is that of the run which the actor belongs to, and which may be stopped. Entries wait for one another
        for `most_seconds` at the most. With a mailbox, heartbeats go there, and to the ledger only `every_seconds`."""
        self._ledger, self._actor_id, self._start, self._observer = ledger, actor_id, start, observer
        self._pool = ThreadPoolExecutor(THREADS, "ledger")
        self._segments = SegmentWriter(ledger, actor_id, most_seconds)
        self._segments.start()
        self._pulse = ThreadPoolExecutor(1, "heartbeat")
        self._open: set[Future[Any]] = set()
        self._heartbeat_written: Future[None] | None = None
        self._telling = ThreadPoolExecutor(1, "telling")
        self._heartbeat_told: Future[None] | None = None
        self._mailbox, self._every_seconds = mailbox, every_seconds
        self._is_heard = False
        """Whether the mailbox took the last heartbeat."""
        self._writing_due = 0.0
        """On the monotonic clock."""
        self.stop_reason: str | None = None
        """Why the run shall stop; asked for at each heartbeat, in the mailbox and in the ledger."""

    def publish(
        self,
        entry: Entry,
        receipt: Row,
        waiting: "Future[Row]",
        keep: Callable[[], Row] | None = None,
        has_snapshot: bool = False,
        passages: bytes | None = None,
    ) -> None:
        """Fulfill `waiting` with the receipt once the entry is in the ledger, or with what went wrong.

        `keep` stores a state first, and returns its row for the table `states`. The snapshot of a document that is
        finished, if it has one, goes. Answers are compared with `passages`, those of their document, where there are
        any.
        """
        self._submit(self._publish, entry, receipt, waiting, keep, has_snapshot, passages)

    def save(self, taken: Snapshot, on_done: Callable[[Saved | None], None], in_int8: bool = False) -> None:
        """Store a snapshot; `on_done` hears of it in another thread, None where it failed."""
        self._submit(self._save, taken, on_done, in_int8)

    def heartbeat(self, heartbeat: Heartbeat) -> None:
        """Tell the driver, and write it when that is due; each is skipped while the last one is still under way, since
        the next will say the same."""
        try:
            if self._mailbox is not None and (self._heartbeat_told is None or self._heartbeat_told.done()):
                self._heartbeat_told = self._telling.submit(self._tell, heartbeat)
            if self._is_heard and time.monotonic() < self._writing_due:
                return
            if self._heartbeat_written is None or self._heartbeat_written.done():
                self._heartbeat_written = self._pulse.submit(self._heartbeat, heartbeat)
                self._writing_due = time.monotonic() + self._every_seconds
        except RuntimeError as error:  # the process is ending and takes no more work, which no device is to blame for
            log.warning("heartbeat_not_written", actor_id=self._actor_id, error=str(error))

    def await_receipts(self, is_awaited: bool) -> None:
        """Whether nothing comes to read until receipts go out."""
        self._segments.await_receipts(is_awaited)

    def flush(self, seconds: float | None = None) -> bool:
        """Wait until everything is written. Returns False if the time runs out."""
        until = None if seconds is None else time.monotonic() + seconds
        if wait(set(self._open), seconds).not_done:
            return False
        return self._segments.flush(None if until is None else max(0.0, until - time.monotonic()))

    def close(self, last: Heartbeat) -> None:
        """Wait until everything is written, the last heartbeat too."""
        self.flush()
        told = [] if self._mailbox is None else [self._telling.submit(self._tell, last)]
        self._pulse.submit(self._heartbeat, last).result()
        wait(told, TELL_SECONDS)

    def _submit(self, work: Callable[..., None], *arguments: Any) -> None:
        future = self._pool.submit(work, *arguments)
        self._open.add(future)
        future.add_done_callback(self._open.discard)

    def _publish(
        self,
        entry: Entry,
        receipt: Row,
        waiting: "Future[Row]",
        keep: Callable[[], Row] | None,
        has_snapshot: bool,
        passages: bytes | None,
    ) -> None:
        if passages is not None:
            entry = entry | {"summaries": citing.cited(entry["summaries"], passages)}
        try:
            table, receipt = self._storable(entry, receipt, keep)
        except Exception as error:  # whatever it is, the call that waits must hear of it
            waiting.set_exception(error)
            return
        is_finished = entry["outcome"] == "finished" and receipt["status"] == "ok"
        forget = partial(self._forget, entry) if is_finished and has_snapshot else _nothing
        self._segments.add(Pending(table, receipt, waiting, forget))

    def _storable(self, entry: Entry, receipt: Row, keep: Callable[[], Row] | None) -> tuple[pa.Table, Row]:
        """The entry as a table, and its receipt: a failure's if a finished document's rows or state cannot be kept."""
        try:
            if keep is not None:
                entry = entry | {"states": [keep()]}
            return pa.Table.from_pylist([entry], ENTRY), receipt
        except LonghaulError:
            raise
        except Exception as error:  # of a value that no table holds, of a state that is none
            if entry["outcome"] != "finished":
                raise
            log.exception("document_not_stored", document_id=entry["document_id"], actor_id=self._actor_id)
            failure = unexpected(error)
            failed = pa.Table.from_pylist([unstorable(entry, failure)], ENTRY)
            return failed, receipt | {"status": "failed"} | reason(failure)

    def _forget(self, entry: Entry) -> None:
        self._ledger.forget_snapshot(document_key(entry["document_id"], entry["source_etag"]))

    def _save(self, taken: Snapshot, on_done: Callable[[Saved | None], None], in_int8: bool) -> None:
        started = time.thread_time()
        try:
            uri = self._ledger.snapshot_uri(document_key(taken.document_id, taken.source_etag))
            segments, num_bytes = stored.store(uri, taken, in_int8)
        except Exception as error:  # nothing is lost yet; it stays at stake, so that it is tried again
            self._observer.tell(SnapshotFailed(self._ledger.run_id, self._actor_id, taken.document_id, error))
            on_done(None)
        else:
            self._observer.tell(SnapshotStored(self._ledger.run_id, self._actor_id, taken.document_id, num_bytes))
            on_done(Saved(time.thread_time() - started, segments))

    def _tell(self, heartbeat: Heartbeat) -> None:
        assert self._mailbox is not None
        try:
            self._mailbox.put(f"{TOLD}{self._actor_id}", heartbeat.to_bytes())
            if (asked := self._mailbox.get(stop_message(self._start))) is not None:
                self.stop_reason = asked.decode()
            self._is_heard = True
        except Exception:  # whatever it is, the ledger is written at each heartbeat then
            if self._is_heard:
                log.warning("driver_not_told", actor_id=self._actor_id, exc_info=True)
            self._is_heard = False

    def _heartbeat(self, heartbeat: Heartbeat) -> None:
        try:
            self._ledger.publish_heartbeat(heartbeat)
            self.stop_reason = self._ledger.stop_reason(self._start) or self.stop_reason
        except Exception:  # the next heartbeat says it again; entries carry readings too
            log.warning("heartbeat_not_written", actor_id=self._actor_id, exc_info=True)


def _nothing() -> None:
    pass
