"""Where every microsecond of an actor's device went: to documents, by their share of each pass, or to an overhead.

An actor's time is a sequence of intervals without gaps. Each is charged to an overhead, or split over the documents of
one pass through the model. A document's time is saved once a snapshot holds the result; the rest is lost if the actor
is lost. Time is counted in whole microseconds, so that parts sum to the whole exactly.

A device may still be at work on a pass when its time is charged: the pass is pending then, and its interval ends where
the device says that the pass did, whenever that is asked.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from threading import Lock
from typing import Any, Literal, get_args

from pipeline.billing.money import MICROSECOND, PRICE_STEP, split

Overhead = Literal["startup", "load", "idle", "snapshot", "drain", "node"]
OVERHEADS: tuple[Overhead, ...] = get_args(Overhead)
"""`startup` before the model is loaded, `load` for loading and warming up, `idle` without tokens to read, `snapshot`
for copying states, `drain` for shutting down; `node` is all time of a node that holds no actor."""
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Rate:
    """What an actor's device is and costs."""

    device_type: str
    """For example `NVIDIA H200`, or `cpu`."""
    devices: int
    """GPUs, or CPUs, that the actor reserves."""
    price_per_hour: Decimal
    """Price of one device, as it was given."""
    currency: str
    market: str = ""
    """`spot` or `on_demand`; empty, like the fields below, if it is not known."""
    provider: str = ""
    region: str = ""
    instance_type: str = ""
    on_demand: Decimal | None = None
    """Price of one device for an hour on demand, if it is known to differ."""
    instance_id: str = ""
    """Id of the machine, as in its cloud's bill."""

    @cached_property
    def price_per_second(self) -> Decimal:
        """What is charged: the price for an hour by its seconds, rounded to 12 decimals, so that costs never are."""
        return _per_second(self.price_per_hour)

    @property
    def on_demand_price_per_hour(self) -> Decimal:
        """The price on demand; the price itself if no other is known."""
        return self.price_per_hour if self.on_demand is None else self.on_demand

    @cached_property
    def on_demand_price_per_second(self) -> Decimal:
        """Likewise."""
        return _per_second(self.on_demand_price_per_hour)

    @property
    def prices(self) -> dict[str, Decimal]:
        """The columns of `costs` that are prices."""
        return {
            "price_per_second": self.price_per_second,
            "price_per_hour": self.price_per_hour,
            "on_demand_price_per_second": self.on_demand_price_per_second,
            "on_demand_price_per_hour": self.on_demand_price_per_hour,
        }

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of `costs` that describe the device."""
        return {
            "device_type": self.device_type,
            "currency": self.currency,
            "market": self.market or None,
            "provider": self.provider or None,
            "region": self.region or None,
            "instance_type": self.instance_type or None,
            "instance_id": self.instance_id or None,
            **self.prices,
        }

    def seconds(self, microseconds: int) -> Decimal:
        """Device seconds of a time of the actor, exact."""
        return microseconds * self.devices * MICROSECOND

    def cost(self, microseconds: int) -> Decimal:
        """Exact: `seconds` times `price_per_second`."""
        return self.seconds(microseconds) * self.price_per_second

    def amounts(self, microseconds: int) -> dict[str, Decimal]:
        """The columns of `costs` for a time of the actor."""
        return {"device_seconds": self.seconds(microseconds), "cost": self.cost(microseconds)}


UNKNOWN = Rate("", 1, Decimal(0), "")
"""The rate of an actor before it knows its device."""


def _per_second(price_per_hour: Decimal) -> Decimal:
    return (price_per_hour / SECONDS_PER_HOUR).quantize(PRICE_STEP)


@dataclass(frozen=True)
class Spent:
    """Time spent on a document, in microseconds."""

    microseconds: int = 0
    decoding: int = 0
    """The part of it that was spent on answers."""
    saved: int = 0
    """The part of the total whose result a snapshot holds."""
    decoding_saved: int = 0

    @property
    def at_stake(self) -> int:
        return self.microseconds - self.saved

    @property
    def decoding_at_stake(self) -> int:
        return self.decoding - self.decoding_saved

    @property
    def all_saved(self) -> "Spent":
        """The same time, all of it saved."""
        return replace(self, saved=self.microseconds, decoding_saved=self.decoding)


EndedNs = Callable[[], int | None]
"""Waits for a device and says when it ended a pass, on the meter's clock; None where it broke."""


@dataclass(frozen=True)
class _Pending:
    """A pass whose interval is open."""

    shares: Mapping[Hashable, int]
    decoding: bool
    ended_ns: EndedNs


class Meter:
    """One actor's time. Every call that charges time closes the interval since the last one, and before it those of
    pending passes."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock_ns = clock_ns
        self._last_ns = clock_ns()
        self._overheads = dict.fromkeys(OVERHEADS, 0)
        self._documents: dict[Hashable, Spent] = {}
        self._settled_us = 0
        self._pending: deque[_Pending] = deque()
        self._prefill_us = self._prefilled = 0
        self._lock = Lock()

    def spend(self, overhead: Overhead) -> int:
        """Charge the time since the last call, returned in microseconds, to an overhead."""
        with self._lock:
            self._close_passes(leave=0)
            elapsed = self._elapsed_us(self._clock_ns())
            self._overheads[overhead] += elapsed
            return elapsed

    def spend_on(self, shares: Mapping[Hashable, int], decoding: bool = False, ended_ns: EndedNs | None = None) -> None:
        """Charge the time since the last call to documents in proportion to `shares`, tokens that were read or, with
        `decoding`, decoded.

        With `ended_ns` the pass is pending: it is waited for when the next one is, so that the device has always one.
        """
        with self._lock:
            if ended_ns is None:
                self._close_passes(leave=0)
                self._charge(shares, decoding, self._clock_ns())
            else:
                self._pending.append(_Pending(shares, decoding, ended_ns))
                self._close_passes(leave=1)

    def save(self, document: Hashable, then: Spent) -> None:
        """Mark the time that a document had spent `then` as saved. Ignored for a document that has already finished."""
        with self._lock:
            spent = self._documents.get(document)
            if spent is not None and then.microseconds > spent.saved:
                self._documents[document] = replace(spent, saved=then.microseconds, decoding_saved=then.decoding)

    def settle(self, document: Hashable) -> Spent:
        """Remove a document that has ended and return its time, that in pending passes included."""
        with self._lock:
            while any(document in each.shares for each in self._pending):
                self._close_passes(leave=len(self._pending) - 1)
            spent = self._documents.pop(document, Spent())
            self._settled_us += spent.microseconds
            return spent

    def documents(self) -> dict[Hashable, Spent]:
        """The documents that have not ended, without what pending passes take."""
        with self._lock:
            return dict(self._documents)

    def prefill(self) -> tuple[int, int]:
        """Microseconds of the passes that read, and the tokens that they read, prompts included."""
        with self._lock:
            return self._prefill_us, self._prefilled

    def totals(self) -> tuple[int, dict[Overhead, int]]:
        """Microseconds on the meter in total, and of each overhead; the rest was spent on documents."""
        with self._lock:
            documents = self._settled_us + sum(spent.microseconds for spent in self._documents.values())
            return sum(self._overheads.values()) + documents, dict(self._overheads)

    def _close_passes(self, leave: int) -> None:
        """Charge pending passes but the last `leave`. What one took that broke its device is left to whoever comes
        next."""
        while len(self._pending) > leave:
            each = self._pending.popleft()
            ended_ns = each.ended_ns()
            if ended_ns is not None:
                self._charge(each.shares, each.decoding, min(ended_ns, self._clock_ns()))

    def _charge(self, shares: Mapping[Hashable, int], decoding: bool, until_ns: int) -> None:
        elapsed = self._elapsed_us(until_ns)
        for document, part in split(elapsed, shares).items():
            spent = self._documents.get(document, Spent())
            self._documents[document] = replace(
                spent, microseconds=spent.microseconds + part, decoding=spent.decoding + (part if decoding else 0)
            )
        if not decoding:
            self._prefill_us += elapsed
            self._prefilled += sum(shares.values())

    def _elapsed_us(self, until_ns: int) -> int:
        """Whole microseconds since the last interval's end; the fraction is carried over to the next interval."""
        elapsed = max(0, until_ns - self._last_ns) // 1000
        self._last_ns += elapsed * 1000
        return elapsed


def now_us() -> int:
    """The current time, UTC, in microseconds since 1970."""
    return time.time_ns() // 1000


NODE = "node"
"""The device type of a node that holds no actor."""
