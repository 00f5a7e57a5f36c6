"""One driver works on a run at a time: each start of it is numbered, and tells as long as it lives that it does.

_runs/RUN/starts/0001.json     who started, and when; made only where there was none: of two at once one loses
_runs/RUN/starts/0001.alive    a count that goes up; `ended` when the driver has left in good order

A driver that was killed is known to be gone at once on its own machine, and elsewhere when its count stands still.
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
from pipeline import storage
from pipeline.ledger import Ledger
from pipeline.s3 import TRYING_SECONDS

log = structlog.get_logger()

BEAT_SECONDS = 2.0
GONE_SECONDS = TRYING_SECONDS + 30
"""A count that stood still for so long is that of a driver which is gone: longer than a store is waited for."""
ENDED = b"ended"


def starts(ledger: Ledger) -> dict[int, datetime]:
    """When drivers began to work on a run, by the number of the start."""
    return {number: datetime.fromisoformat(start["started_at"]) for number, start in _starts(ledger).items()}


class Lease(Thread):
    """As a context, around all that a driver does to a run. Raises ConfigError where another driver is at it."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(name="lease", daemon=True)
        self._ledger = ledger
        self._stopped = Event()
        self._is_lost = False
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
        if not storage.create(_uri(self._ledger, self.number, "json"), json.dumps(about).encode()):
            raise _taken(self._ledger, "another driver, which started just now,")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join(timeout=2 * BEAT_SECONDS)
        try:
            storage.publish(_uri(self._ledger, self.number, "alive"), ENDED)
        except StorageError:  # the next start waits a little, which is no reason to hide how this one ends
            log.warning("lease_not_ended", run_id=self._ledger.run_id, exc_info=True)

    def check(self) -> None:
        """Raises LedgerError where another driver has taken the run over, since this one stood still for too long."""
        if self._is_lost:
            raise LedgerError("another driver took this one for dead and has taken the run over")

    def run(self) -> None:
        count = 0
        while not self._stopped.is_set():
            count += 1
            try:
                storage.publish(_uri(self._ledger, self.number, "alive"), str(count).encode())
                self._is_lost |= storage.exists(_uri(self._ledger, self.number + 1, "json"))
            except Exception:  # the next one says it again
                log.warning("lease_not_renewed", run_id=self._ledger.run_id, exc_info=True)
            self._stopped.wait(BEAT_SECONDS)


def newest_over(ledger: Ledger) -> int:
    """The number of the last start, where it is known to be over; 0 where there was none, -1 where it may go on."""
    last, start = _last(ledger)
    return last if start is None or _is_over(ledger, last, start) else -1


def _wait_until_gone(ledger: Ledger, number: int, start: Mapping[str, Any]) -> None:
    if _is_over(ledger, number, start):
        return
    uri = _uri(ledger, number, "alive")
    first, until = _read(uri), time.monotonic() + GONE_SECONDS
    log.info("waiting_for_another_driver", run_id=ledger.run_id, host=start["host"], pid=start["pid"])
    while time.monotonic() < until:
        time.sleep(min(BEAT_SECONDS, GONE_SECONDS) / 4)
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
    """Of which process ids are, where Linux tells: two containers of one name are not one."""
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
    known = _starts(ledger)
    last = max(known, default=0)
    return last, known.get(last)


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
