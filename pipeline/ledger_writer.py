"""Writes an actor's entries and readings to the ledger, beside the engine, so that no pass waits for storage."""

import queue
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread
from typing import TypeAlias

import structlog

from pipeline.assignment import Row
from pipeline.ledger import Entry, Ledger, Reading

log = structlog.get_logger()


@dataclass(frozen=True)
class _Ended:
    entry: Entry
    receipt: Row
    waiting: "Future[Row]"


_Item: TypeAlias = _Ended | Reading


class LedgerWriter(Thread):
    """What comes while a write is under way goes into the next part together."""

    def __init__(self, ledger: Ledger, actor_id: str) -> None:
        super().__init__(name="ledger", daemon=True)
        self._ledger, self._actor_id = ledger, actor_id
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._parts = 0

    def publish(self, entry: Entry, receipt: Row, waiting: "Future[Row]") -> None:
        """Fulfil `waiting` with the receipt once the entry is in the ledger, or with what went wrong."""
        self._inbox.put(_Ended(entry, receipt, waiting))

    def publish_reading(self, reading: Reading) -> None:
        self._inbox.put(reading)

    def run(self) -> None:
        while True:
            items = [self._inbox.get()]
            while not self._inbox.empty():
                items.append(self._inbox.get())
            ended = [item for item in items if isinstance(item, _Ended)]
            readings = [item for item in items if isinstance(item, Reading)]
            if ended:
                self._write(ended)
            if readings:
                self._write_reading(readings[-1])

    def _write(self, ended: list[_Ended]) -> None:
        self._parts += 1
        try:
            self._ledger.publish(self._actor_id, self._parts, [item.entry for item in ended])
        except Exception as error:  # whatever it is, the calls that wait must hear of it
            for item in ended:
                item.waiting.set_exception(error)
        else:
            for item in ended:
                item.waiting.set_result(item.receipt)

    def _write_reading(self, reading: Reading) -> None:
        try:
            self._ledger.publish_reading(reading)
        except Exception:  # the next heartbeat says it again; entries carry readings too
            log.warning("heartbeat_not_written", actor_id=self._actor_id, exc_info=True)
