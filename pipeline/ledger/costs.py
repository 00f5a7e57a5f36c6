"""Rows of `costs`, made of what the ledger holds: microseconds on a meter, and the price of its device.

Here decimals are made, once; everything before counts in whole microseconds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pipeline.billing.metering import Rate, Spent
from pipeline.billing.money import MICROSECOND, split
from pipeline.ledger.attempts import ENDED, Attempt
from pipeline.ledger.records import Entry, MeterReading
from pipeline.schemas.tables import Row


@dataclass(frozen=True)
class DeviceTime:
    """An actor's time, and the rate of its device."""

    rate: Rate
    microseconds: int

    @property
    def cost(self) -> Decimal:
        return self.rate.cost(self.microseconds)


def ended_rows(run_id: str, entry: Entry, reading: MeterReading, fate: Attempt | None) -> Iterator[Row]:
    """Of an attempt that ended; `fate` where its document had several. One that was fenced is all waste."""
    outcome = entry["outcome"] if fate is None else fate.outcome
    about = {
        "document_id": entry["document_id"],
        "source_etag": entry["source_etag"],
        "attempt": entry["attempt"] if fate is None else fate.number,
        "outcome": outcome,
        "started_at": entry["started_at"],
        "finished_at": entry["published_at"],
    }
    wasted = (0 if outcome in ENDED else None) if fate is None else fate.wasted
    counts = {name: entry[name] for name in ("tokens_read", "tokens_resumed", "tokens_decoded")}
    kind = "wasted" if outcome == "fenced" else "document"
    yield from _rows(run_id, kind, reading, about, counts | {"tokens_wasted": wasted}, Spent(**entry["spent"]))


def lost_rows(run_id: str, attempt: Attempt) -> Iterator[Row]:
    """Of an attempt whose actor died: what snapshots hold of it, and the rest."""
    assert attempt.lost is not None
    underway, reading = attempt.lost
    about = {
        "document_id": underway.document_id,
        "source_etag": underway.source_etag,
        "attempt": attempt.number,
        "outcome": "lost",
        "started_at": moment(underway.started_us),
        "finished_at": moment(reading.read_us),
    }
    counts = {
        "tokens_read": attempt.tokens_read,
        "tokens_resumed": attempt.start,
        "tokens_wasted": attempt.wasted,
        "tokens_decoded": 0,
    }
    yield from _rows(run_id, "document", reading, about, counts, attempt.spent)


def overhead_row(run_id: str, kind: str, microseconds: int, reading: MeterReading) -> Row:
    """Of time that no document had."""
    about = {"started_at": moment(reading.started_us), "finished_at": moment(reading.read_us)}
    return _common(run_id, reading, about) | {"kind": kind, **reading.rate.amounts(microseconds)}


def sharing(rows: Sequence[Row], times: Sequence[DeviceTime]) -> list[Row]:
    """The rows with equal parts of the times' costs, to the microsecond, which sum to them exactly."""
    shared = [row | {"device_seconds": Decimal(0), "cost": Decimal(0)} for row in rows]
    for time in times if rows else ():
        parts = split(time.microseconds * time.rate.devices, dict.fromkeys(range(len(rows)), 1))
        for place, row in enumerate(shared):
            seconds = parts[place] * MICROSECOND
            row["device_seconds"] += seconds
            row["cost"] += seconds * time.rate.price_per_second
    return shared


def moment(microseconds: int) -> datetime:
    """Since 1970, in UTC."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


def _rows(
    run_id: str, kind: str, reading: MeterReading, about: dict[str, Any], counts: dict[str, Any], spent: Spent
) -> Iterator[Row]:
    """An attempt's row, with its tokens, and another for what is lost of its time."""
    common = _common(run_id, reading, about)
    yield common | {"kind": kind} | counts | _amounts(reading.rate, spent.saved, spent.decoding_saved)
    if spent.at_stake:
        yield common | {"kind": "wasted"} | _amounts(reading.rate, spent.at_stake, spent.decoding_at_stake)


def _common(run_id: str, reading: MeterReading, about: dict[str, Any]) -> Row:
    return reading.rate.columns | about | {"run_id": run_id, "actor_id": reading.actor_id, "node": reading.node}


def _amounts(rate: Rate, microseconds: int, decoding: int) -> Row:
    return rate.amounts(microseconds) | {"decode_seconds": rate.seconds(decoding)}
