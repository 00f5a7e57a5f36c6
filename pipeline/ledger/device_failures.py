"""Actors whose device failed in mid-work (out of memory, ECC, a broken driver), in the run's folder:

device_failures/ACTOR.json    what it raised, and which documents were in the engine

A fresh actor takes over. Where actor after actor ends so and no document comes to an end, the run does.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from configs.errors import DeviceError, unexpected
from pipeline.billing.metering import now_us
from pipeline.ledger.run_folder import Ledger
from pipeline.storage import objects

FOLDER = "device_failures"
IDLE_FAILURES = 3
"""Per actor of the run: so often it may fail while it loads the model, when there is no document to blame."""


@dataclass(frozen=True)
class DeviceFailure:
    """One actor's device has failed, with documents in the engine."""

    actor_id: str
    start: int
    """Of the run, by its number."""
    failed_us: int
    """UTC, microseconds since 1970."""
    reason: str
    """Class, message and place of what the actor raised."""
    documents: tuple[str, ...]
    """Keys of those in the engine, one of which may be to blame."""
    ended_before: int
    """Documents that this start of the run had brought to an end by then."""


class DeviceFailures:
    """Those of one run."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def record(self, actor_id: str, start: int, error: Exception, documents: Sequence[str]) -> DeviceFailure:
        """Write down what has happened to an actor, which has written its last heartbeat."""
        ended = sum(heartbeat.ended for heartbeat in self._ledger.heartbeats() if heartbeat.reading.start == start)
        failure = DeviceFailure(actor_id, start, now_us(), str(unexpected(error)), tuple(documents), ended)
        objects.publish(self._uri(f"{actor_id}.json"), json.dumps(asdict(failure), indent=2).encode())
        return failure

    def of(self, actor_id: str) -> DeviceFailure | None:
        """Why an actor ended, if its device failed."""
        try:
            return _parse(objects.read_bytes(self._uri(f"{actor_id}.json")))
        except FileNotFoundError:
            return None

    def check(self, last: DeviceFailure, actors: int, max_attempts: int) -> None:
        """Raises DeviceError where so many actors have failed in a row that another would not help.

        In a row is: no document came to an end in between. One that devices fail at takes some actors along until it is
        given up, more than `max_attempts` where it gets further now and then.
        """
        failures = [_parse(objects.read_bytes(file)) for file in objects.list_files(self._uri(), ".json")]
        in_a_row = [each for each in failures if (each.start, each.ended_before) == (last.start, last.ended_before)]
        without_documents = [each for each in in_a_row if not each.documents]
        if len(without_documents) >= IDLE_FAILURES * actors or len(in_a_row) >= 2 * (max_attempts + 1) * actors:
            raise DeviceError(
                f"the device failed under {len(in_a_row)} actors in a row, and no document came to an end in between; "
                f"the last time with {last.reason}. Lower engine.slots and engine.step_tokens if memory does not "
                "suffice, else look at the devices and their drivers; the same command then resumes this run"
            )

    def _uri(self, *names: str) -> str:
        return objects.join(self._ledger.uri, FOLDER, *names)


def _parse(data: bytes) -> DeviceFailure:
    about = json.loads(data)
    return DeviceFailure(**about | {"documents": tuple(about["documents"])})
