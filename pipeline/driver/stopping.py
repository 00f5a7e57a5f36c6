"""Stopping a run early: work under way is saved, finished work is committed."""

from decimal import Decimal
from threading import Event, Thread

import structlog

from pipeline.cluster.mailbox import Mailbox
from pipeline.ledger.heartbeats import Heartbeats
from pipeline.ledger.run_folder import Ledger
from pipeline.ledger.stop import has_passed, stop_message
from pipeline.telemetry import observer
from pipeline.telemetry.alerts import Shares
from pipeline.telemetry.events import RunStopping
from pipeline.telemetry.observer import Observer

log = structlog.get_logger()

AGAIN_SECONDS = 5.0
"""Pause before a stop request that could not be written is written again."""
LOOK_SECONDS = 1.0
SILENT_SECONDS = 300.0
"""An actor whose meter has not moved for this long counts as dead and is not waited for."""


class Stopping:
    """The driver's side of a stop. Actors and readers find the request in the ledger, and know the deadline
    themselves."""

    def __init__(
        self,
        ledger: Ledger,
        budget: Decimal | None = None,
        deadline_us: int | None = None,
        told: Observer | None = None,
    ) -> None:
        """`told` hears of shares of the budget and of the stop; without one, the driver's usual sinks do."""
        self._ledger, self._budget, self._deadline_us = ledger, budget, deadline_us
        self._observer = told or observer.of_driver()
        self._shares = Shares(ledger.run_id, budget, self._observer.tell)
        self._asked: str | None = None
        self._start: int | None = None
        self._mailbox: Mailbox | None = None
        self._ended = Event()

    def begin(self, start: int) -> None:
        """Allow stop requests from now on: this driver holds the run, as its start number `start`."""
        self._start = start

    def end(self) -> None:
        """Stop writing requests: no actor is left."""
        self._ended.set()

    def reach(self, mailbox: Mailbox) -> None:
        """From now on actors hear of a stop at once, in the mailbox, beside the ledger."""
        self._mailbox = mailbox

    @property
    def is_possible(self) -> bool:
        return self._start is not None

    @property
    def reason(self) -> str | None:
        """`deadline`, `budget`, `failures` or `interrupt`; None unless the run is to stop."""
        if self._asked is None and has_passed(self._deadline_us):
            return "deadline"
        return self._asked

    def spent(self, cost: Decimal) -> None:
        """Report what this start of the run has cost so far; stops the run at its budget."""
        self._shares.spent(cost)
        if self._budget is not None and cost >= self._budget:
            self.ask("budget")

    def ask(self, reason: str) -> None:
        """Request a stop. Does not block, so that a signal handler may call it; retries until the ledger has it."""
        assert self._start is not None, "a run begins before it is stopped"
        if self._asked is None:
            self._asked = reason
            Thread(target=self._publish, args=(reason, self._start), name="stop", daemon=True).start()

    def _publish(self, reason: str, start: int) -> None:
        self._observer.tell(RunStopping(self._ledger.run_id, reason))
        if self._mailbox is not None:
            try:
                self._mailbox.put(stop_message(start), reason.encode())
            except Exception:  # the ledger says it too
                log.warning("stop_not_told", run_id=self._ledger.run_id, exc_info=True)
        while not self._ended.is_set():
            try:
                self._ledger.stop(reason, start)
                return
            except Exception:  # whatever it is, the run spends money until the request is written
                log.warning("stop_not_written", run_id=self._ledger.run_id, exc_info=True)
                self._ended.wait(AGAIN_SECONDS)


class Drain(Thread):
    """A context around a run's work that detects when a stopping run may end although documents are left: once no actor
    is working on any. Documents that no actor has begun need not pass through the stages."""

    def __init__(self, stopping: Stopping, heartbeats: Heartbeats, start: int) -> None:
        super().__init__(name="drain", daemon=True)
        self._stopping, self._heartbeats, self._number = stopping, heartbeats, start
        self._left = Event()
        self.is_over = False

    def __enter__(self) -> "Drain":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self.join(timeout=5)

    def run(self) -> None:
        """Looks every LOOK_SECONDS once a stop was requested, until the run may end or the context ends."""
        while not self.is_over and not self._left.wait(LOOK_SECONDS):
            self.is_over = self._stopping.reason is not None and self.look()

    def look(self) -> bool:
        """Whether no actor of this start is working on a document."""
        heartbeats = [
            heartbeat
            for heartbeat in self._heartbeats()
            if heartbeat.reading.start == self._number and heartbeat.reading.is_of_actor
        ]
        return all(heartbeat.is_stopped or self._is_silent(heartbeat.reading.actor_id) for heartbeat in heartbeats)

    def _is_silent(self, actor_id: str) -> bool:
        return self._heartbeats.silent_seconds(actor_id) >= SILENT_SECONDS
