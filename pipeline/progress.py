"""The driver's progress line: documents, tokens, speed, cost so far and the time that is left."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from threading import Event, Lock, Thread

import structlog

from pipeline import logs, quantities
from pipeline.ledger import Reading

log = structlog.get_logger()

TERMINAL_SECONDS, LOG_SECONDS = 1.0, 10.0
TOKENS_PER_BYTE = 0.3
"""Until finished documents tell better."""


@dataclass
class Tally:
    """What the receipts have said so far."""

    documents_total: int
    bytes_total: int
    succeeded: int = 0
    failed: int = 0
    bytes_done: int = 0
    tokens_done: int = 0
    lock: Lock = field(default_factory=Lock)

    def add(self, succeeded: bool, size_bytes: int, tokens: int) -> None:
        with self.lock:
            self.succeeded += succeeded
            self.failed += not succeeded
            self.bytes_done += size_bytes
            self.tokens_done += tokens

    def tokens_expected(self) -> float:
        """In all, from the bytes and what a byte has held so far."""
        with self.lock:
            per_byte = self.tokens_done / self.bytes_done if self.tokens_done else TOKENS_PER_BYTE
            return self.tokens_done + (self.bytes_total - self.bytes_done) * per_byte


@dataclass(frozen=True)
class Snapshot:
    """One moment of the run."""

    done: int
    failed: int
    total: int
    tokens: int
    tokens_per_second: float
    cost: Decimal
    currency: str
    seconds_left: float | None
    actors: int

    def line(self) -> str:
        if not self.actors:
            return f"{self.done}/{self.total} documents · waiting for the first actor"
        parts = [
            f"{self.done}/{self.total} documents" + (f" ({self.failed} failed)" if self.failed else ""),
            f"{quantities.count(self.tokens)} tokens",
            f"{quantities.count(round(self.tokens_per_second))} tokens/s",
            quantities.money(self.cost, self.currency),
        ]
        if self.seconds_left is not None:
            parts.append(f"ETA {quantities.duration(self.seconds_left)}")
        return " · ".join(parts)


class Progress(Thread):
    """Reads the actors' meters from the ledger every so often and says how far the run is, until stopped.

    On a terminal it rewrites one line; elsewhere it logs an event every ten seconds.
    """

    def __init__(self, tally: Tally, currency: str, readings: Callable[[], Sequence[Reading]], run_id: str) -> None:
        super().__init__(name="progress", daemon=True)
        self._tally, self._currency, self._readings, self._run_id = tally, currency, readings, run_id
        self._as_json = logs.as_json()
        self._as_line = sys.stderr.isatty() and not self._as_json
        self._stopped = Event()
        self._before: frozenset[str] = frozenset()

    def __enter__(self) -> "Progress":
        # What earlier attempts of this run did is not this attempt's speed.
        self._before = frozenset(reading.actor_id for reading in self._readings())
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join(timeout=5)
        self._say(last=True)

    def run(self) -> None:
        while not self._stopped.wait(TERMINAL_SECONDS if self._as_line else LOG_SECONDS):
            self._say()

    def snapshot(self, before: frozenset[str]) -> Snapshot:
        """How far the run is now, without the actors `before`."""
        readings = [reading for reading in self._readings() if reading.actor_id not in before]
        tokens = max(self._tally.tokens_done, sum(reading.tokens_read for reading in readings))
        rate = sum(_speed(reading) for reading in readings)
        left = max(0.0, self._tally.tokens_expected() - tokens) / rate if rate else None
        return Snapshot(
            done=self._tally.succeeded + self._tally.failed,
            failed=self._tally.failed,
            total=self._tally.documents_total,
            tokens=tokens,
            tokens_per_second=rate,
            cost=sum((reading.rate.cost(reading.total_us) for reading in readings), Decimal(0)),
            currency=self._currency,
            seconds_left=left,
            actors=len(readings),
        )

    def _say(self, last: bool = False) -> None:
        try:
            now = self.snapshot(self._before)
        except Exception:  # a storage hiccup must not end the run over its progress line
            log.debug("progress_unknown", run_id=self._run_id, exc_info=True)
            return
        if self._as_line:
            print(f"\r\x1b[K{now.line()}", end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            fields = asdict(now) | {"cost": str(now.cost)} if self._as_json else {"line": now.line()}
            log.info("progress", run_id=self._run_id, **fields)


def _speed(reading: Reading) -> float:
    """Tokens per second of an actor while it has documents."""
    busy = (reading.total_us - reading.startup_us - reading.idle_us) / 1e6
    return reading.tokens_read / busy if busy else 0.0
