"""An actor's engine worked by hand in the test's own thread, on a clock that moves only when a test lets it."""

from collections.abc import Callable
from typing import Any

from pipeline.actor.assignment import Assignment
from pipeline.actor.engine_driver import EngineDriver
from pipeline.billing.metering import Meter
from tests.one_actor import PATIENCE_SECONDS

WAIT_US = 7_000_000
"""What each wait for news takes on the clock."""


class Clock:
    def __init__(self) -> None:
        self.now_us = 0

    def __call__(self) -> int:
        return self.now_us * 1000


class Driven(EngineDriver):
    def __init__(self, assignment: Assignment, clock: Clock | None = None, **options: Any) -> None:
        super().__init__(assignment, **options)
        self.clock = clock or Clock()
        self._actor.meter = Meter(self.clock)
        self.waits: list[float | None] = []
        news = self._inbox.news
        self._wait_for_news, news.wait = news.wait, self._wait
        self._load()

    def _wait(self, seconds: float | None = None) -> bool:
        self.waits.append(seconds)
        self.clock.now_us += WAIT_US
        return True

    def work_until(self, is_done: Callable[[], object]) -> None:
        for _ in range(3000):
            if is_done():
                return
            self._work()
        raise AssertionError("it did not come to that")

    def work_to_the_end(self) -> None:
        self.work_until(lambda: not self._engine.busy and not self._inbox and not self._queue)

    def await_arrivals(self, count: int) -> None:
        """Until the threads of the intake have handed on so many."""
        while len(self._inbox) < count:
            assert self._wait_for_news(PATIENCE_SECONDS)
            self._inbox.news.clear()

    def overheads(self) -> dict[str, int]:
        """Microseconds, of those that there are."""
        return {name: us for name, us in self._actor.meter.totals()[1].items() if us}
