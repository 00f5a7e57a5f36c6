"""What the ledger holds: readings of meters, heartbeats, claims, and entries of attempts that have ended."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import cached_property
from hashlib import sha256
from typing import Any, Literal

import pyarrow as pa

from configs.errors import LedgerError
from pipeline.billing.metering import NODE, OVERHEADS, SECONDS_PER_HOUR, Overhead, Rate, Spent
from pipeline.billing.money import TIME
from pipeline.schemas.tables import FAILURES, STATES, SUMMARIES


@dataclass(frozen=True)
class MeterReading:
    """What an actor's meter showed at one moment, and what the actor is; or a node's that holds none."""

    actor_id: str
    node: str
    device_type: str
    devices: int
    price_per_second: str
    """Decimal, as text."""
    currency: str
    started_us: int
    """UTC, microseconds since 1970."""
    read_us: int
    """When the meter was read, likewise."""
    total_us: int
    """Time on the meter, of one device."""
    startup_us: int = 0
    load_us: int = 0
    idle_us: int = 0
    snapshot_us: int = 0
    drain_us: int = 0
    tokens_read: int = 0
    """Of documents, also of those not finished."""
    tokens_decoded: int = 0
    documents: int = 0
    """Finished."""
    peak_rss_bytes: int = 0
    # Of runs that began before there were these, nothing.
    market: str = ""
    provider: str = ""
    region: str = ""
    instance_type: str = ""
    on_demand_price_per_second: str = ""
    """Decimal, as text."""
    node_us: int = 0
    """Of a node that holds no actor."""
    start: int = 0
    """Which start of the run the actor belongs to (`pipeline.ledger.lease`); 0 where that is not known."""
    instance_id: str = ""
    """Of the machine, as its cloud's bill names it."""
    kernels: str = ""
    """What runs the actor's model."""
    kernels_error: str = ""
    """As a number: how far they are from plain PyTorch, in a test on its device."""
    price_per_hour: str = ""
    """Decimal, as text: the price as it was given, of which `price_per_second` is rounded."""
    on_demand_price_per_hour: str = ""

    @property
    def is_of_actor(self) -> bool:
        return self.device_type != NODE

    @cached_property
    def rate(self) -> Rate:
        """What the actor's device is and costs."""
        return Rate(
            self.device_type,
            self.devices,
            _hour(self.price_per_hour, self.price_per_second),
            self.currency,
            market=self.market,
            provider=self.provider,
            region=self.region,
            instance_type=self.instance_type,
            on_demand=_hour(
                self.on_demand_price_per_hour or self.price_per_hour,
                self.on_demand_price_per_second or self.price_per_second,
            ),
            instance_id=self.instance_id,
        )

    @property
    def tokens_per_second(self) -> float:
        """While it has documents."""
        busy = (self.total_us - sum(self.overheads.values())) / 1e6
        return self.tokens_read / busy if busy else 0.0

    @property
    def overheads(self) -> dict[Overhead, int]:
        """Microseconds."""
        return {overhead: getattr(self, f"{overhead}_us") for overhead in OVERHEADS}


@dataclass(frozen=True)
class Underway:
    """An attempt that an actor is at."""

    document_id: str
    source_etag: str
    attempt: int
    started_us: int
    spent: Spent
    """Of the actor's time, so far."""
    tokens_read: int
    tokens_resumed: int
    batch: str = ""
    """That the document came with."""


@dataclass(frozen=True)
class Figures:
    """What else an actor tells those who watch it: as of now, or since it began."""

    slots: int = 0
    slots_in_use: int = 0
    waiting: int = 0
    """Documents that it was given and that wait for a slot."""
    waiting_us: int = 0
    """How long the oldest of these has waited."""
    passes: int = 0
    snapshots: int = 0
    """That it stored, of documents under way."""
    snapshot_bytes: int = 0
    snapshots_failed: int = 0
    preempted: int = 0
    """1 once its node goes away."""


@dataclass(frozen=True)
class Heartbeat:
    """What an actor writes down at every heartbeat."""

    reading: MeterReading
    underway: tuple[Underway, ...] = ()
    ended: int = 0
    """Documents that finished or failed at this actor."""
    is_stopped: bool = False
    """Whether the actor has heard of a stop, and all that it was given is in the ledger; or has left."""
    figures: Figures = Figures()

    def to_bytes(self) -> bytes:
        """As JSON."""
        return as_json(asdict(self))

    @staticmethod
    def from_bytes(data: bytes) -> "Heartbeat":
        """Raises ValueError, TypeError or KeyError where it is damaged."""
        about = json.loads(data)
        underway = tuple(_underway(each) for each in about["underway"])
        figures = Figures(**about.get("figures", {}))
        return Heartbeat(MeterReading(**about["reading"]), underway, about["ended"], about["is_stopped"], figures)

    @property
    def places(self) -> "dict[Place, Underway]":
        """The attempts that the actor is at."""
        keys = {document_key(each.document_id, each.source_etag): each for each in self.underway}
        return {(key, each.batch, each.attempt, self.reading.actor_id): each for key, each in keys.items()}


@dataclass(frozen=True)
class Claim:
    """An actor begins to work on a document."""

    document_id: str
    source_etag: str
    attempt: int
    """From 1."""
    actor_id: str
    began_us: int
    tokens_before: int
    """Which it need not read."""
    quarantined: bool = False
    """Whether the document has the engine to itself."""
    state_uri: str | None = None
    """Of the state that holds those tokens."""
    node_id: str = ""
    """Ray's, of the actor's node."""
    batch: str = ""
    """That the document came with."""

    @property
    def key(self) -> str:
        """Of the document at this content."""
        return document_key(self.document_id, self.source_etag)

    @property
    def place(self) -> "Place":
        return self.key, self.batch, self.attempt, self.actor_id


def prices_of(rate: Rate) -> dict[str, Any]:
    """The fields of a reading that are prices."""
    return {name: str(price) for name, price in rate.prices.items()}


def _hour(price_per_hour: str, price_per_second: str) -> Decimal:
    """Of a run that began before readings had it, what a second comes to."""
    return Decimal(price_per_hour) if price_per_hour else Decimal(price_per_second) * SECONDS_PER_HOUR


METER_READING = pa.struct(
    [(name, pa.string() if kind is str else pa.int64()) for name, kind in MeterReading.__annotations__.items()]
)

SPENT = pa.struct([(name, pa.int64()) for name in Spent.__annotations__])

ENTRY = pa.schema(
    [
        ("document_id", pa.string()),
        ("source_etag", pa.string()),
        ("batch", pa.string()),
        ("claim", pa.int32()),
        ("attempt", pa.int32()),
        ("actor_id", pa.string()),
        ("outcome", pa.string()),
        ("started_at", TIME),
        ("published_at", TIME),
        ("tokens_resumed", pa.int64()),
        ("tokens_read", pa.int64()),
        ("tokens_decoded", pa.int64()),
        ("spent", SPENT),
        ("state_uri", pa.string()),
        ("summaries", pa.list_(pa.struct(list(SUMMARIES)))),
        ("failures", pa.list_(pa.struct(list(FAILURES)))),
        ("states", pa.list_(pa.struct(list(STATES)))),
        ("reading", METER_READING),
    ]
)
"""One attempt that came to an end: with which claim of which batch it was begun, how it ended (`outcome`, as in
`costs`), the time that it took of its actor in microseconds, its rows for the tables, and the meter at that time.

It read `tokens_read` after `tokens_resumed`, which the state at `state_uri` held. Summaries come with an attempt that
finished, or of what was read so far with one that was stopped. One entry of a segment has the meter's last `reading`.
"""


Entry = dict[str, Any]


Outcome = Literal["finished", "failed", "stopped", "fenced"]


Place = tuple[str, str, int, str]
"""Of an attempt: the document's key, the batch that it came with, its number, and its actor, since of two actors each
may take itself for the only one."""


def _underway(about: dict[str, Any]) -> Underway:
    if "spent" not in about:
        # As actors wrote it that did not tell answers from reading.
        about = about | {"spent": {"microseconds": about.pop("microseconds"), "saved": about.pop("saved_us")}}
    return Underway(**about | {"spent": Spent(**about["spent"])})


def as_json(value: dict[str, Any] | list[dict[str, Any]]) -> bytes:
    """As the ledger's files hold it."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def document_key(document_id: str, source_etag: str) -> str:
    """A document at one content, as a name for files."""
    return sha256(f"{document_id}\0{source_etag}".encode()).hexdigest()[:32]


def place_of(entry: Entry) -> Place:
    """Of an entry of the ledger."""
    key = document_key(entry["document_id"], entry["source_etag"])
    return key, entry["batch"], entry["attempt"], entry["actor_id"]


def batch_of(start: int, keys: Sequence[str]) -> str:
    """A name for the documents that an actor is given at once. If the actor dies, Ray
    gives them out together again, so that one lookup tells whether anybody had begun them. Each start of a run has
    batches of its own."""
    return f"{sha256(chr(0).join([str(start), *keys]).encode()).hexdigest()[:32]}-{len(keys)}"


def size_of(batch: str) -> int:
    """How many documents it has."""
    return int(batch.rpartition("-")[2])


def final_readings(readings: Iterable[MeterReading]) -> dict[str, MeterReading]:
    """The last known reading of each actor, of those in heartbeats and in segments.

    Raises LedgerError where an actor published more time than its meter ever showed.
    """
    last: dict[str, MeterReading] = {}
    for reading in readings:
        known = last.get(reading.actor_id)
        if known is None or reading.total_us > known.total_us:
            last[reading.actor_id] = reading
    for actor_id, reading in last.items():
        if sum(reading.overheads.values()) > reading.total_us:
            raise LedgerError(f"actor {actor_id}: overheads exceed the {reading.total_us} us on its meter")
    return last
