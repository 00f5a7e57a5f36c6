"""Threads that take turns at every storage operation, in each order that there is."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeline.storage import objects

OPERATIONS = ("create", "publish", "delete", "list_files", "read_bytes", "exists")
PATIENCE_SECONDS = 60


class Turns:
    """Lets one thread at a time go on to its next storage operation: that which the schedule names, else the first."""

    def __init__(self, patch: pytest.MonkeyPatch, schedule: tuple[int, ...]) -> None:
        self.taken: list[int] = []
        """Which of the threads that could go on did, by their numbers."""
        self.choices: list[int] = []
        """How many could."""
        self._schedule = schedule
        self._turn = threading.Condition()
        self._waiting: set[int] = set()
        self._going: set[int] = set()
        self._numbers: dict[int, int] = {}
        for name in OPERATIONS:
            patch.setattr(objects, name, self._in_turn(getattr(objects, name)))

    def run(self, works: list[Callable[[], Any]]) -> list[Any]:
        """What each returned, or the exception that it raised."""
        outcomes: list[Any] = [None] * len(works)
        threads = [threading.Thread(target=self._work, args=(number, works, outcomes)) for number in range(len(works))]
        self._going = set(range(len(works)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()
        return outcomes

    def _work(self, number: int, works: list[Callable[[], Any]], outcomes: list[Any]) -> None:
        self._numbers[threading.get_ident()] = number
        try:
            outcomes[number] = works[number]()
        except Exception as error:  # for the test to look at
            outcomes[number] = error
        with self._turn:
            self._going.discard(number)
            self._turn.notify_all()

    def _in_turn(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            number = self._numbers.get(threading.get_ident())
            if number is None:
                return operation(*arguments)
            with self._turn:
                self._waiting.add(number)
                self._turn.notify_all()
                self._turn.wait_for(lambda: self._going <= self._waiting and self._next() == number, PATIENCE_SECONDS)
                self.choices.append(len(self._waiting))
                self.taken.append(sorted(self._waiting).index(number))
                result = operation(*arguments)
                self._waiting.discard(number)
                return result

        return call

    def _next(self) -> int:
        step = len(self.taken)
        chosen = self._schedule[step] if step < len(self._schedule) else 0
        return sorted(self._waiting)[chosen % len(self._waiting)]


def every_order(run: Callable[[tuple[int, ...]], Turns]) -> Iterator[None]:
    """Call `run` with one schedule after another, until all orders of the threads' operations have been."""
    schedule: tuple[int, ...] | None = ()
    while schedule is not None:
        turns = run(schedule)
        yield
        steps = list(zip(turns.taken, turns.choices, strict=True))
        # The last step at which another thread could have gone on takes the next one.
        while steps and steps[-1][0] + 1 == steps[-1][1]:
            steps.pop()
        schedule = (*(taken for taken, _ in steps[:-1]), steps[-1][0] + 1) if steps else None
