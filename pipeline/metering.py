"""Where every microsecond of an actor's device went: to documents, by their share of each pass, or to an overhead.

An actor's time is a gapless line of intervals. Each belongs to `startup`, to `idle`, or is split over the documents of
one pass through the model. Time is counted in whole microseconds, so that parts sum to the whole exactly.
"""

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from threading import Lock
from typing import Literal

from pipeline.tables import MICROSECOND, PRICE_STEP

Overhead = Literal["startup", "idle"]
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Rate:
    """What an actor's device is and costs."""

    gpu_type: str
    """For example `NVIDIA H200`, or `cpu`."""
    devices: int
    """GPUs, or CPUs, that the actor reserves."""
    price_per_second: Decimal
    """Of one device, 12 decimals."""
    currency: str

    @staticmethod
    def hourly(gpu_type: str, devices: int, price_per_hour: Decimal, currency: str) -> "Rate":
        return Rate(gpu_type, devices, (price_per_hour / SECONDS_PER_HOUR).quantize(PRICE_STEP), currency)

    def seconds(self, microseconds: int) -> Decimal:
        """Device-seconds of so much of the actor's time, exact."""
        return microseconds * self.devices * MICROSECOND

    def cost(self, microseconds: int) -> Decimal:
        """Exact: `seconds` times `price_per_second`."""
        return self.seconds(microseconds) * self.price_per_second


@dataclass(frozen=True)
class Totals:
    """What a meter shows: `total_us` is the sum of the overheads and of all that went to documents."""

    total_us: int
    startup_us: int
    idle_us: int


class Meter:
    """One actor's time. Every call closes the interval since the last one."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._last_ns = clock_ns()
        self._overheads: dict[Overhead, int] = {"startup": 0, "idle": 0}
        self._documents: dict[Hashable, int] = {}
        self._settled_us = 0
        self._lock = Lock()

    def spend(self, overhead: Overhead) -> None:
        """The time since the last call served no document."""
        with self._lock:
            self._overheads[overhead] += self._elapsed_us()

    def spend_on(self, shares: Mapping[Hashable, int]) -> None:
        """The time since the last call served documents, in proportion to `shares`."""
        with self._lock:
            for document, part in split(self._elapsed_us(), shares).items():
                self._documents[document] = self._documents.get(document, 0) + part

    def settle(self, document: Hashable) -> int:
        """A document is finished: its microseconds, which it now leaves with."""
        with self._lock:
            microseconds = self._documents.pop(document, 0)
            self._settled_us += microseconds
            return microseconds

    def totals(self) -> Totals:
        with self._lock:
            startup, idle = self._overheads["startup"], self._overheads["idle"]
            documents = self._settled_us + sum(self._documents.values())
            return Totals(startup + idle + documents, startup, idle)

    def _elapsed_us(self) -> int:
        """Whole microseconds; the rest stays for the next interval."""
        elapsed = (self._clock_ns() - self._last_ns) // 1000
        self._last_ns += elapsed * 1000
        return elapsed


def split(amount: int, shares: Mapping[Hashable, int]) -> dict[Hashable, int]:
    """Whole parts of `amount` in proportion to `shares`, summing to it exactly; the largest remainders round up."""
    total = sum(shares.values())
    assert total > 0, "time must go to somebody"
    parts = {key: amount * share // total for key, share in shares.items()}
    by_remainder = sorted(shares, key=lambda key: amount * shares[key] % total, reverse=True)
    for key in by_remainder[: amount - sum(parts.values())]:
        parts[key] += 1
    return parts
