"""One driver works on a run at a time: each start of it is numbered, and tells as long as it lives that it does.

_runs/RUN/starts/0001.json     who started, and when; made only where there was none: of two at once one loses
_runs/RUN/starts/0001.alive    a count that goes up; `ended` when the driver has left in good order

A driver that was killed is known to be gone when its count stands still, or at once on its own machine.
"""

import json
import os
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any

import structlog

from configs.errors import ConfigError
from pipeline import storage
from pipeline.ledger import Ledger

log = structlog.get_logger()

BEAT_SECONDS = 2.0
GONE_SECONDS = 12.0
"""A count that stood still for so long is that of a driver which is gone. A store that hesitates is waited for."""
ENDED = b"ended"


def starts(ledger: Ledger) -> list[datetime]:
    """When drivers began to work on a run, in their order."""
    return sorted(datetime.fromisoformat(start["started_at"]) for start in _starts(ledger).values())


class Lease(Thread):
    """As a context, around all that a driver does to a run. Raises ConfigError where another driver is at it."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(name="lease", daemon=True)
        self._ledger = ledger
        self._stopped = Event()
        self._uri = ""

    def __enter__(self) -> "Lease":
        known = _starts(self._ledger)
        number = max(known, default=0)
        if number:
            self._wait_until_gone(number, known[number])
        about = {"started_at": datetime.now(UTC).isoformat(), "host": platform.node(), "pid": os.getpid()}
        if not storage.create(_uri(self._ledger, number + 1, "json"), json.dumps(about).encode()):
            raise _taken(self._ledger, "another one")
        self._uri = _uri(self._ledger, number + 1, "alive")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()
        storage.publish(self._uri, ENDED)

    def run(self) -> None:
        count = 0
        while not self._stopped.is_set():
            count += 1
            try:
                storage.publish(self._uri, str(count).encode())
            except Exception:  # the next one says it again
                log.warning("lease_not_renewed", run_id=self._ledger.run_id, exc_info=True)
            self._stopped.wait(BEAT_SECONDS)

    def _wait_until_gone(self, number: int, start: Mapping[str, Any]) -> None:
        uri = _uri(self._ledger, number, "alive")
        if (first := _read(uri)) == ENDED or _has_died_here(start):
            return
        who = f"the driver on {start['host']} (process {start['pid']}, since {start['started_at'][:19]} UTC)"
        log.info("waiting_for_another_driver", run_id=self._ledger.run_id, host=start["host"], pid=start["pid"])
        until = time.monotonic() + GONE_SECONDS
        while time.monotonic() < until:
            time.sleep(min(BEAT_SECONDS, GONE_SECONDS) / 4)
            if (now := _read(uri)) == ENDED:
                return
            if now != first:
                raise _taken(self._ledger, who)


def _has_died_here(start: Mapping[str, Any]) -> bool:
    """Whether it is known of this machine's processes that the driver is not among them."""
    if start["host"] != platform.node():
        return False
    try:
        os.kill(start["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _taken(ledger: Ledger, who: str) -> ConfigError:
    return ConfigError(
        f"run.id = {ledger.run_id!r}: {who} is at work on this run; wait until it ends, stop it, or give another run.id"
    )


def _starts(ledger: Ledger) -> dict[int, dict[str, Any]]:
    files = storage.list_files(storage.join(ledger.uri, "starts"), ".json")
    return {int(file[-9:-5]): json.loads(storage.read_bytes(file)) for file in files}


def _read(uri: str) -> bytes | None:
    try:
        return storage.read_bytes(uri)
    except FileNotFoundError:
        return None


def _uri(ledger: Ledger, number: int, suffix: str) -> str:
    return storage.join(ledger.uri, "starts", f"{number:04d}.{suffix}")
