"""Asking a run to stop before it is done: what is under way is saved, what is finished is committed."""

from decimal import Decimal
from threading import Thread

import structlog

from pipeline.actor import now_us
from pipeline.alerts import Alerts
from pipeline.ledger import Ledger

log = structlog.get_logger()


class Stopping:
    """The driver's side. Actors and readers find the request in the ledger; the deadline they know themselves."""

    def __init__(self, ledger: Ledger, budget: Decimal | None = None, deadline_us: int | None = None) -> None:
        self._ledger, self._budget, self._deadline_us = ledger, budget, deadline_us
        self._alerts = Alerts(ledger.run_id, budget)
        self._asked: str | None = None
        self.is_possible = False
        """Whether the run is this driver's, so that it may be stopped."""

    @property
    def reason(self) -> str | None:
        """`deadline`, `budget` or `interrupt`, once it has come to that."""
        if self._asked is None and has_passed(self._deadline_us):
            return "deadline"
        return self._asked

    def spent(self, cost: Decimal) -> None:
        """What this start of the run has cost so far."""
        self._alerts.spent(cost)
        if self._budget is not None and cost >= self._budget:
            self.ask("budget")

    def ask(self, reason: str) -> None:
        """Returns at once, so that a signal's handler may call it."""
        if self._asked is None:
            self._asked = reason
            Thread(target=self._publish, args=(reason,), name="stop", daemon=True).start()

    def _publish(self, reason: str) -> None:
        log.info("stopping", run_id=self._ledger.run_id, reason=reason)
        self._ledger.stop(reason)


def is_asked(output_uri: str, run_id: str, deadline_us: int | None) -> bool:
    """For a reader: whether nothing more need be read."""
    return has_passed(deadline_us) or Ledger(output_uri, run_id).stop_reason() is not None


def has_passed(deadline_us: int | None) -> bool:
    """Whether there is a deadline (UTC, microseconds since 1970), and it is over."""
    return deadline_us is not None and now_us() >= deadline_us
