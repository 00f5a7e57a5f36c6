"""The driver's progress line: documents, tokens, speed, cost so far and the time that is left."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from threading import Event, Lock, Thread

import structlog
from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipeline.documents import tokenize
from pipeline.ledger.records import Heartbeat
from pipeline.reports import quantities
from pipeline.telemetry import logs

log = structlog.get_logger()

TICK_SECONDS, LOG_SECONDS = 1.0, 10.0


@dataclass
class Tally:
    """What the receipts have reported so far."""

    documents_total: int
    bytes_total: int
    succeeded: int = 0
    failed: int = 0
    stopped: int = 0
    bytes_done: int = 0
    tokens_done: int = 0
    lock: Lock = field(default_factory=Lock)

    def add(self, status: str, size_bytes: int, tokens: int) -> None:
        """Count a receipt. `status` is `ok`, `failed` or `stopped`; a stopped document counts neither bytes nor
        tokens."""
        with self.lock:
            if status == "stopped":
                self.stopped += 1
                return
            self.succeeded += status == "ok"
            self.failed += status == "failed"
            self.bytes_done += size_bytes
            self.tokens_done += tokens

    @property
    def received(self) -> int:
        """Number of receipts."""
        return self.succeeded + self.failed + self.stopped

    def tokens_expected(self) -> float:
        """Estimated tokens of all documents, from their bytes and the tokens per byte so far."""
        with self.lock:
            per_byte = self.tokens_done / self.bytes_done if self.tokens_done else tokenize.TOKENS_PER_BYTE
            return self.tokens_done + (self.bytes_total - self.bytes_done) * per_byte


@dataclass(frozen=True)
class Standing:
    """The progress of the run at one moment."""

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
        """The figures as a line for a terminal."""
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
    """Looks at the actors' meters every second and reports the run's progress while the context is open.

    On a terminal it keeps one line below the log; elsewhere it logs an event every ten seconds.
    """

    def __init__(
        self,
        tally: Tally,
        currency: str,
        heartbeats: Callable[[], Sequence[Heartbeat]],
        run_id: str,
        on_cost: Callable[[Decimal], None] | None = None,
        on_look: Callable[[Sequence[Heartbeat]], None] = lambda heartbeats: None,
    ) -> None:
        """`on_cost` is called every second, in this thread, with the cost of this start of the run so far; `on_look`
        at every look with the heartbeats of this start."""
        super().__init__(name="progress", daemon=True)
        self._tally, self._currency, self._run_id, self._on_cost = tally, currency, run_id, on_cost
        self._beats, self._on_look = heartbeats, on_look
        self._as_json = logs.as_json()
        self._as_line = sys.stderr.isatty() and not self._as_json
        self._line = Live(console=Console(stderr=True), auto_refresh=False, redirect_stdout=False)
        self._stopped = Event()
        self._before: frozenset[str] = frozenset()
        self._is_warned = False

    def __enter__(self) -> "Progress":
        # Actors of earlier starts of this run do not count for this start's speed.
        self._before = frozenset(heartbeat.reading.actor_id for heartbeat in self._beats())
        if self._as_line:
            self._line.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join(timeout=5)
        if (now := self._look()) is not None:
            self._say(now)
        self._line.stop()

    def run(self) -> None:
        """Reports until the context ends."""
        logged = time.monotonic()
        while not self._stopped.wait(TICK_SECONDS):
            now = self._look()
            if now is None:
                continue
            if self._on_cost is not None:
                self._on_cost(now.cost)
            if self._as_line or time.monotonic() >= logged + LOG_SECONDS:
                logged = time.monotonic()
                self._say(now)

    def standing(self, before: frozenset[str]) -> Standing:
        """The progress now, without the actors in `before`."""
        heartbeats = [each for each in self._beats() if each.reading.actor_id not in before]
        self._on_look(heartbeats)
        readings = [heartbeat.reading for heartbeat in heartbeats]
        actors = [reading for reading in readings if reading.is_of_actor]
        tokens = max(self._tally.tokens_done, sum(reading.tokens_read for reading in readings))
        rate = sum(reading.tokens_per_second for reading in actors)
        left = max(0.0, self._tally.tokens_expected() - tokens) / rate if rate else None
        return Standing(
            done=self._tally.succeeded + self._tally.failed,
            failed=self._tally.failed,
            total=self._tally.documents_total,
            tokens=tokens,
            tokens_per_second=rate,
            cost=sum((reading.rate.cost(reading.total_us) for reading in readings), Decimal(0)),
            currency=self._currency,
            seconds_left=left,
            actors=len(actors),
        )

    def _look(self) -> Standing | None:
        try:
            return self.standing(self._before)
        except Exception:  # a run must not end because of its progress line, but the user must know
            if not self._is_warned:
                log.warning("progress_unknown", run_id=self._run_id, exc_info=True)
            self._is_warned = True
            return None

    def _say(self, now: Standing) -> None:
        if self._as_line:
            self._line.update(Text(now.line(), no_wrap=True, overflow="ellipsis"), refresh=True)
        else:
            fields = asdict(now) | {"cost": str(now.cost)} if self._as_json else {"line": now.line()}
            log.info("progress", run_id=self._run_id, **fields)
