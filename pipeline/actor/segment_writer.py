"""Gathers the entries of attempts that have ended, and writes them to the ledger together: an object for each document
would cost more than reading a short one."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread

import pyarrow as pa
import structlog

from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.tables import Row

MOST_ENTRIES = 1000
MOST_BYTES = 8 * 2**20
"""Of Arrow's memory; what is larger is written at once."""
GATHER_SECONDS = 0.1
"""That an entry waits for others at the least: the last documents of a batch end close together."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Pending:
    """An entry that is to be written."""

    entry: pa.Table
    """One row of `ENTRY`."""
    receipt: Row
    waiting: "Future[Row]"
    """Gets the receipt once the entry is in the ledger, or what went wrong."""
    on_written: Callable[[], None]


class SegmentWriter(Thread):
    """Writes one segment at a time; entries that arrive meanwhile go into the next one."""

    def __init__(self, ledger: Ledger, actor_id: str, most_seconds: float) -> None:
        """An entry waits at most `most_seconds` for others, and less while the engine is waiting for receipts."""
        super().__init__(name="segments", daemon=True)
        self._ledger, self._actor_id, self._most_seconds = ledger, actor_id, most_seconds
        self._pending: list[Pending] = []
        self._since = 0.0
        """When the first of them came, on the monotonic clock."""
        self._changed = Condition()
        self._is_awaited = self._is_flushing = self._is_writing = False
        self._number = 0

    def add(self, pending: Pending) -> None:
        """In any thread."""
        with self._changed:
            if not self._pending:
                self._since = time.monotonic()
            self._pending.append(pending)
            self._changed.notify_all()

    def await_receipts(self, is_awaited: bool) -> None:
        """Say whether the engine has room and gets no documents until receipts go out."""
        with self._changed:
            if is_awaited and not self._is_awaited:
                self._changed.notify_all()
            self._is_awaited = is_awaited

    def flush(self, seconds: float | None = None) -> bool:
        """Wait until everything is written. Returns False if the time runs out."""
        with self._changed:
            self._is_flushing = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._pending and not self._is_writing, seconds)

    def run(self) -> None:
        """Until the process ends."""
        while True:
            with self._changed:
                while (left := self._seconds_left()) is None or left > 0:
                    self._changed.wait(left)
                pending, self._pending = self._pending, []
                self._is_writing = True
            self._write(pending)
            # Else what this thread holds while it waits would live on.
            del pending
            with self._changed:
                self._is_writing = False
                self._is_flushing = self._is_flushing and bool(self._pending)
                self._changed.notify_all()

    def _seconds_left(self) -> float | None:
        """Seconds until the next segment is due; None if there is nothing to write."""
        if not self._pending:
            return None
        if self._is_flushing or len(self._pending) >= MOST_ENTRIES:
            return 0.0
        if sum(each.entry.nbytes for each in self._pending) >= MOST_BYTES:
            return 0.0
        waits = min(GATHER_SECONDS, self._most_seconds) if self._is_awaited else self._most_seconds
        return self._since + waits - time.monotonic()

    def _write(self, pending: list[Pending]) -> None:
        self._number += 1
        try:
            entries = _with_last_reading(pa.concat_tables(each.entry for each in pending))
            self._ledger.publish_segment(self._actor_id, self._number, entries)
        except Exception as error:  # whatever it is, the calls that wait must hear of it
            for each in pending:
                each.waiting.set_exception(error)
            return
        for each in pending:
            try:
                each.on_written()
            except Exception:  # the entry is there; a snapshot that stays is in nobody's way
                log.warning("snapshot_not_removed", actor_id=self._actor_id, exc_info=True)
            each.waiting.set_result(each.receipt)


def _with_last_reading(entries: pa.Table) -> pa.Table:
    """What the meter showed last says what it showed before."""
    readings = entries["reading"].combine_chunks()
    shown = readings.field("total_us").to_pylist()
    last = max(range(len(shown)), key=lambda place: shown[place])
    only = readings.take(pa.array([place if place == last else None for place in range(len(shown))], pa.int64()))
    return entries.set_column(entries.schema.get_field_index("reading"), "reading", only)
