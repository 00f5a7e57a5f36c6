"""One driver works on a run at a time: each start of it is numbered, and tells as long as it lives that it does.

_runs/RUN/starts/0001.json     who started, and when; made only where there was none: of two at once one loses
_runs/RUN/starts/0001.alive    a count that goes up; `ended` when the driver has left in good order

A driver that was killed is known to be gone at once on its own machine, and elsewhere when its count stands still. One
that was frozen, or kept from the store, for so long that it may be taken for dead looks before it continues; what it
commits without looking does not count (`pipeline.ledger.commits`).
"""

import json
import os
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import structlog

from configs.errors import ConfigError, LedgerError, StorageError
from pipeline.ledger.run_folder import Ledger
from pipeline.storage import objects
from pipeline.storage.s3 import LONGEST_SECONDS

log = structlog.get_logger()

BEAT_SECONDS = 2.0
GONE_SECONDS = LONGEST_SECONDS + 15
"""A count that stood still for so long, while the store answered, is that of a driver which is gone: longer than one
whose store stumbles keeps trying."""
LOOK_BEATS = 4
"""For so many beats whoever only looks at a run waits for one."""
ENDED = b"ended"


def starts(ledger: Ledger) -> dict[int, datetime]:
    """When drivers began to work on a run, by the number of the start."""
    return {number: datetime.fromisoformat(_start(ledger, number)["started_at"]) for number in _numbers(ledger)}


class Lease(Thread):
    """A context around everything a driver does to a run. Raises ConfigError if another driver is at work on it."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(name="lease", daemon=True)
        self._ledger = ledger
        self._stopped = Event()
        self._is_lost = False
        self._renewed = 0.0
        """When the count last went up, as `_clock` has it, or rather when that began."""
        self.number = 0
        """Of this start, from 1."""

    def __enter__(self) -> "Lease":
        last, start = _last(self._ledger)
        if start is not None:
            _wait_until_gone(self._ledger, last, start)
        self.number = last + 1
        about = {
            "started_at": datetime.now(UTC).isoformat(),
            "host": platform.node(),
            "pid": os.getpid(),
            "machine": _machine(),
        }
        self._renewed = _clock()
        if not objects.create(_uri(self._ledger, self.number, "json"), json.dumps(about).encode()):
            raise _taken(self._ledger, "another driver, which started just now,")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join(timeout=2 * BEAT_SECONDS)
        try:
            objects.publish(_uri(self._ledger, self.number, "alive"), ENDED)
        except StorageError:  # the next start waits a little, which is no reason to hide how this one ends
            log.warning("lease_not_ended", run_id=self._ledger.run_id, exc_info=True)

    def check(self) -> None:
        """Cheap, but after a time in which nobody heard of this driver. Raises LedgerError where another one has taken
        the run over, and StorageError where that cannot be found out."""
        if self._is_lost or _clock() - self._renewed > GONE_SECONDS / 2:
            self.confirm()

    def confirm(self) -> None:
        """Look in the store. Raises as `check`."""
        self._is_lost = self._is_lost or objects.exists(_uri(self._ledger, self.number + 1, "json"))
        if self._is_lost:
            raise LedgerError("another driver took this one for dead and has taken the run over")

    def run(self) -> None:
        """Renew the lease until it is released, and notice if another driver has taken the run over."""
        count = 0
        while not self._stopped.is_set():
            count, now = count + 1, _clock()
            try:
                objects.publish(_uri(self._ledger, self.number, "alive"), str(count).encode())
                self._renewed = now
                self._is_lost |= objects.exists(_uri(self._ledger, self.number + 1, "json"))
            except Exception:  # the next one says it again
                log.warning("lease_not_renewed", run_id=self._ledger.run_id, exc_info=True)
            self._stopped.wait(BEAT_SECONDS)


def newest_over(ledger: Ledger) -> int:
    """The number of the last start if it is known to be over, 0 if there was none, -1 if it may still be at work."""
    last, start = _last(ledger)
    return last if start is None or _is_over(ledger, last, start) else -1


def is_at_work(ledger: Ledger) -> bool:
    """Whether a driver works on the run now; looks for some seconds at whether its count goes up. Raises
    StorageError."""
    number, start = _last(ledger)
    if start is None or _is_over(ledger, number, start):
        return False
    uri = _uri(ledger, number, "alive")
    first, deadline = _read(uri), time.monotonic() + LOOK_BEATS * BEAT_SECONDS
    while time.monotonic() < deadline:
        time.sleep(BEAT_SECONDS / 8)
        if (now := _read(uri)) != first:
            return now != ENDED
    return False


def _wait_until_gone(ledger: Ledger, number: int, start: Mapping[str, Any]) -> None:
    if _is_over(ledger, number, start):
        return
    uri = _uri(ledger, number, "alive")
    first, waited = _read(uri), 0.0
    log.info("waiting_for_another_driver", run_id=ledger.run_id, host=start["host"], pid=start["pid"])
    # Time in which the store does not answer is no sign of death: the other one is kept waiting too.
    while waited < GONE_SECONDS:
        pause = min(BEAT_SECONDS, GONE_SECONDS) / 4
        time.sleep(pause)
        waited += pause
        if (now := _read(uri)) == ENDED:
            return
        if now != first:
            since = f"{start['started_at'][:19]} UTC"
            raise _taken(ledger, f"the driver on {start['host']} (process {start['pid']}, since {since})")


def _is_over(ledger: Ledger, number: int, start: Mapping[str, Any]) -> bool:
    """Whether a driver ended in good order, or is known not to be among this machine's processes."""
    if _read(_uri(ledger, number, "alive")) == ENDED:
        return True
    if start["machine"] is None or start["machine"] != _machine():
        return False
    try:
        os.kill(start["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _machine() -> str | None:
    """What process ids on this machine are unique to: two containers with the same host name are told apart."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _taken(ledger: Ledger, who: str) -> ConfigError:
    return ConfigError(
        f"run.id = {ledger.run_id!r}: {who} is at work on this run; wait until it ends, stop it, or give another run.id"
    )


def _last(ledger: Ledger) -> tuple[int, Mapping[str, Any] | None]:
    """The newest start with its number; 0 and None where there was none."""
    number = max(_numbers(ledger), default=0)
    return number, _start(ledger, number) if number else None


def _numbers(ledger: Ledger) -> list[int]:
    files = objects.list_files(objects.join(ledger.uri, "starts"), ".json")
    return [int(file.rsplit("/", 1)[1].removesuffix(".json")) for file in files]


def _start(ledger: Ledger, number: int) -> dict[str, Any]:
    about: dict[str, Any] = json.loads(objects.read_bytes(_uri(ledger, number, "json")))
    return about


def _clock() -> float:
    """A clock that keeps running while this process is frozen or the machine is asleep."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _read(uri: str) -> bytes | None:
    try:
        return objects.read_bytes(uri)
    except FileNotFoundError:
        return None


def _uri(ledger: Ledger, number: int, suffix: str) -> str:
    return objects.join(ledger.uri, "starts", f"{number:04d}.{suffix}")
