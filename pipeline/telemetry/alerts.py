"""Alerts when shares of a run's budget are spent: an event in the log, and a POST to a webhook if there is one.

The webhook's URL comes from the environment (LONGHAUL_ALERT_WEBHOOK) and is never a setting, since such URLs hold
secrets: settings land in Parquet.
"""

import json
import os
import time
import urllib.request
from collections.abc import Callable
from decimal import Decimal
from threading import Thread

import structlog

from pipeline.telemetry.event_log import about_share
from pipeline.telemetry.events import BudgetShareSpent, Event

WEBHOOK = "LONGHAUL_ALERT_WEBHOOK"
SHARES = (50, 80, 100)
"""Percent of the budget."""
TRIES, FIRST_PAUSE_SECONDS, TIMEOUT_SECONDS = 4, 1.0, 10.0

log = structlog.get_logger()


class Shares:
    """Tells of each share that one start of a run has spent, once."""

    def __init__(
        self, run_id: str, budget: Decimal | None, tell: Callable[[Event], None], currency: str = "USD"
    ) -> None:
        self._run_id, self._budget, self._tell, self._currency = run_id, budget, tell, currency
        self._left = list(SHARES)

    def spent(self, cost: Decimal) -> None:
        """Report what this start has cost so far. Does not block."""
        while self._budget is not None and self._left and cost * 100 >= self._budget * self._left[0]:
            share = self._left.pop(0)
            self._tell(BudgetShareSpent(self._run_id, share, cost, self._budget, self._currency))


class Webhook:
    """The sink that posts alerts, if there is a webhook."""

    def take(self, event: Event) -> None:
        """Post it in a thread of its own, if it is a share of the budget."""
        if isinstance(event, BudgetShareSpent) and (url := os.environ.get(WEBHOOK)):
            Thread(target=_post, args=(url, about_share(event)), name="alert", daemon=True).start()

    def close(self) -> None:
        """What is on its way may arrive or not."""


def _post(url: str, about: dict[str, object]) -> None:
    """POST with retries. Neither the URL nor the response is logged."""
    request = urllib.request.Request(url, json.dumps(about).encode(), {"Content-Type": "application/json"})
    for tried in range(TRIES):
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
                return
        except (OSError, ValueError) as error:
            problem = type(error).__name__
        time.sleep(FIRST_PAUSE_SECONDS * 2**tried)
    log.warning("alert_not_delivered", run_id=about["run_id"], share_percent=about["share_percent"], problem=problem)
