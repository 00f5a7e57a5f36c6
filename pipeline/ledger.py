"""The ledger of a run: what has been finished and what every actor's time went to, durable from the moment it is known.

OUTPUT/_runs/RUN/
    run.json                      what was asked, written first
    manifest.parquet              the documents, as listed
    ledger/ACTOR-000001.parquet   finished documents, one entry each, written whole
    actors/ACTOR.json             the actor's last reading of its meter, overwritten
    commit.json                   the marker, written last

The ledger only grows. The tables are a function of it, so that a commit can be repeated.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from configs.errors import LedgerError
from pipeline import storage
from pipeline.documents import MANIFEST, Document
from pipeline.metering import Rate
from pipeline.tables import COSTS, FAILURES, SUMMARIES, TIME


@dataclass(frozen=True)
class Reading:
    """What an actor's meter showed at one moment, and what the actor is."""

    actor_id: str
    node: str
    gpu_type: str
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
    startup_us: int
    idle_us: int
    tokens_read: int
    """Of documents, also of those not finished."""
    tokens_decoded: int
    documents: int
    """Finished."""
    peak_rss_bytes: int

    @property
    def rate(self) -> Rate:
        """What the actor's device is and costs."""
        return Rate(self.gpu_type, self.devices, Decimal(self.price_per_second), self.currency)


READING = pa.struct(
    [(name, pa.string() if kind is str else pa.int64()) for name, kind in Reading.__annotations__.items()]
)

ENTRY = pa.schema(
    [
        ("document_id", pa.string()),
        ("source_etag", pa.string()),
        ("settings_sha256", pa.string()),
        ("published_at", TIME),
        ("summaries", pa.list_(pa.struct(list(SUMMARIES)))),
        ("failures", pa.list_(pa.struct(list(FAILURES)))),
        ("costs", pa.list_(pa.struct(list(COSTS)))),
        ("reading", READING),
    ]
)
"""One attempt that came to an end: its rows for the tables, summaries or a failure, and the meter at that time."""

Entry = dict[str, Any]


class Ledger:
    """One run's folder."""

    def __init__(self, output_uri: str, run_id: str) -> None:
        # One spelling everywhere: an actor's working directory is not the driver's.
        self.output_uri, self.run_id = storage.resolve(output_uri), run_id
        self.uri = storage.join(self.output_uri, "_runs", run_id)

    def begin(self, about: dict[str, Any]) -> None:
        """Write what the run is asked to do; a run that goes on keeps its first words."""
        if self.about() is None:
            storage.publish(storage.join(self.uri, "run.json"), _json(about))

    def about(self) -> dict[str, Any] | None:
        """What `begin` wrote, or None where there is no such run."""
        return _read_json(storage.join(self.uri, "run.json"))

    def write_manifest(self, documents: Sequence[Document]) -> None:
        rows = [document.as_row() for document in documents]
        storage.publish_table(storage.join(self.uri, "manifest.parquet"), pa.Table.from_pylist(rows, MANIFEST))

    def publish(self, actor_id: str, sequence: int, entries: Sequence[Entry]) -> None:
        """Write a part that appears whole or not at all. Names never repeat, so nothing is overwritten."""
        name = f"{actor_id}-{sequence:06d}.parquet"
        storage.publish_table(storage.join(self.uri, "ledger", name), pa.Table.from_pylist(list(entries), ENTRY))

    def publish_reading(self, reading: Reading) -> None:
        storage.publish(storage.join(self.uri, "actors", f"{reading.actor_id}.json"), _json(asdict(reading)))

    def entries(self) -> list[Entry]:
        """Every attempt that came to an end, in the order of its end."""
        parts = storage.list_files(storage.join(self.uri, "ledger"), ".parquet")
        rows = [row for table in storage.read_tables(parts) for row in table.to_pylist()]
        return sorted(rows, key=lambda row: (row["published_at"], row["document_id"]))

    def readings(self) -> list[Reading]:
        """The last reading that each actor wrote by itself."""
        files = storage.list_files(storage.join(self.uri, "actors"), ".json")
        return [Reading(**json.loads(storage.read_bytes(file))) for file in files]

    def commit(self, about: dict[str, Any]) -> None:
        """Write the marker. Only after the tables."""
        storage.publish(storage.join(self.uri, "commit.json"), _json(about))

    def committed(self) -> dict[str, Any] | None:
        """What `commit` wrote, or None."""
        return _read_json(storage.join(self.uri, "commit.json"))

    def reopen(self) -> None:
        """Take the marker away, before a committed run gets more work."""
        if self.committed() is not None:
            storage.delete(storage.join(self.uri, "commit.json"))


def runs(output_uri: str) -> list[Ledger]:
    """Every run below an output, the newest first."""
    files = storage.list_files(storage.join(output_uri, "_runs"), "/run.json")
    ledgers = [Ledger(output_uri, file.rsplit("/", 2)[1]) for file in files]
    return sorted(ledgers, key=lambda ledger: (ledger.about() or {}).get("started_at", ""), reverse=True)


def final_readings(entries: Sequence[Entry], readings: Sequence[Reading]) -> dict[str, Reading]:
    """The last known reading of each actor: its own file, or its last part where that is newer.

    Raises LedgerError where an actor published more time than its meter ever showed.
    """
    last: dict[str, Reading] = {}
    for reading in [*readings, *(Reading(**entry["reading"]) for entry in entries)]:
        known = last.get(reading.actor_id)
        if known is None or reading.total_us > known.total_us:
            last[reading.actor_id] = reading
    for actor_id, reading in last.items():
        if reading.startup_us + reading.idle_us > reading.total_us:
            raise LedgerError(f"actor {actor_id}: overheads exceed the {reading.total_us} us on its meter")
    return last


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _read_json(uri: str) -> dict[str, Any] | None:
    try:
        return json.loads(storage.read_bytes(uri))
    except FileNotFoundError:
        return None
