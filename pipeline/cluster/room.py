"""Room for actors on nodes of choice: asked for by tasks that take what an actor takes, do nothing, and so wait for it.

Ray itself falls back to another choice of labels at once, and shows its autoscaler all of them, of which a node that
cannot be had satisfies none. So each choice is asked for by a task of its own, the next one when the last has waited.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
import structlog

log = structlog.get_logger()

GONE_SECONDS = 5.0
"""That a task which is given up may take to end."""


@ray.remote
def _stand_in() -> None:
    """It ends as soon as there is room."""


class Room:
    """A context in which room is asked for. What is asked for when it ends is given up."""

    def __init__(self, takes: Mapping[str, Any], choices: Sequence[Mapping[str, str]], wait_seconds: float) -> None:
        """`takes` are options of a Ray task, such as num_gpus. `choices` are labels, the best first."""
        self._takes, self._choices, self._wait_seconds = takes, choices, wait_seconds
        self._seats: list[_Seat] = []

    def __enter__(self) -> "Room":
        return self

    def __exit__(self, *_: object) -> None:
        self.ask(0)

    def ask(self, actors: int) -> None:
        """For so many, of which some may have been asked for before: those go on waiting."""
        while len(self._seats) > actors:
            self._give_up([self._seats.pop()])
        while len(self._seats) < actors:
            self._seats.append(_Seat())
        for seat in self._seats:
            while seat.is_due(len(self._choices), self._wait_seconds):
                self._ask_next(seat)

    def take(self) -> bool:
        """Whether there is room for one. Then nothing is asked for until the next `ask`: all others may have found the
        same room, and must not be in it when the actor comes."""
        found = next((seat for seat in self._seats if seat.is_found()), None)
        if found is None:
            return False
        self._give_up(self._seats)
        self._seats.remove(found)
        return True

    def _give_up(self, seats: Sequence["_Seat"]) -> None:
        tasks = [task for seat in seats for task in seat.asked]
        for task in tasks:
            ray.cancel(task)
        if tasks:
            ray.wait(tasks, num_returns=len(tasks), timeout=GONE_SECONDS)
        for seat in seats:
            seat.asked.clear()

    def _ask_next(self, seat: "_Seat") -> None:
        labels = dict(self._choices[len(seat.asked)])
        if len(seat.asked) >= seat.told:
            seat.told = len(seat.asked) + 1
            if seat.asked:
                log.info("asks_for_other_nodes", waited_seconds=round(time.monotonic() - seat.since), labels=labels)
        # Its end says that there is room: a node that dies under it must not.
        options = {**self._takes, "label_selector": labels, "max_retries": -1}
        seat.asked.append(_stand_in.options(**options).remote())


class _Seat:
    """Room for one actor, asked for under some of the choices."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.asked: list[ray.ObjectRef[None]] = []
        self.told = 0
        """Choices that the log has."""

    def is_due(self, choices: int, wait_seconds: float) -> bool:
        """Whether the next choice is to be asked for."""
        return len(self.asked) < choices and time.monotonic() - self.since >= len(self.asked) * wait_seconds

    def is_found(self) -> bool:
        return bool(self.asked and ray.wait(self.asked, timeout=0)[0])
