"""From the ledger to the five tables. A function of the ledger alone, so that it can be repeated at any time.

What is written counts when its marker is there (`pipeline.ledger.commits`).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from configs import VERSION
from configs.errors import LedgerError, StorageError
from pipeline.billing.metering import Rate
from pipeline.billing.money import MICROSECOND, amount_of, proportioned, split, units
from pipeline.ledger import attempts
from pipeline.ledger.attempts import ENDED
from pipeline.ledger.commits import Commit
from pipeline.ledger.lease import starts
from pipeline.ledger.records import Entry, MeterReading, final_readings, place_of
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.document import Document
from pipeline.schemas.tables import Row


def commit(
    ledger: Ledger,
    documents: Sequence[Document],
    stopped: bool = False,
    *,
    start: int = 1,
    confirm: Callable[[], None] | None = None,
) -> Row:
    """Write the run's tables and, for its start of that number, their marker. Returns the run's row in `jobs`.

    `confirm` raises where the run is no longer this driver's; it is asked when the files are there, right before the
    marker. Raises LedgerError, and takes the files back, where it does or where a later start has committed; also where
    a document of the manifest has neither result nor failure, unless the run was `stopped`.
    """
    about = ledger.about()
    assert about is not None, "a run begins before it is committed"
    account = _Account(ledger)
    etags = {document.document_id: document.source_etag for document in documents}
    chosen = _one_per_document(account.entries, etags)
    outcomes = {id: entry["outcome"] for id, entry in chosen.items() if entry["source_etag"] == etags.get(id)}
    missing = [document_id for document_id in etags if outcomes.get(document_id) not in ENDED]
    if missing and not stopped:
        raise LedgerError(f"{len(missing)} documents have no row yet, for example {missing[0]!r}: run it again")
    counts = Counter(outcomes.values())
    tables = {
        "summaries": account.with_costs(chosen, "summaries"),
        "failures": account.with_costs(chosen, "failures"),
        "costs": account.costs,
        "states": [row for entry in account.entries for row in entry["states"]],
    }
    _in_full([*tables["summaries"], *tables["failures"]], account.costs)
    job = _job(about, account) | _counts(len(documents), counts["finished"], counts["failed"])
    made = Commit(ledger, start, about["started_at"][:10])
    try:
        made.write(tables | {"jobs": [job]})
        if confirm is not None:
            confirm()
    except (LedgerError, StorageError):
        made.withdraw()
        raise
    made.publish({"status": job["status"], "documents": len(documents) - len(missing)})
    ledger.forget_snapshots({place_of(entry)[0] for entry in account.entries if entry["outcome"] == "finished"})
    return job


class _Account:
    """What the ledger of a run comes to."""

    def __init__(self, ledger: Ledger) -> None:
        self.run_id = ledger.run_id
        self.entries, self.quote = ledger.entries(), ledger.quote()
        heartbeats = ledger.heartbeats()
        places = ledger.places()
        self.meters = final_readings(self.entries, [heartbeat.reading for heartbeat in heartbeats])
        self.begun = Counter(key for key, _ in places)
        """Attempts, by the document's key."""
        costs = [row for entry in self.entries for row in entry["costs"]]
        costs += attempts.lost_costs(ledger, places, self.entries, heartbeats, self.meters)
        attempts.add_wasted_tokens(costs)
        self._starts = starts(ledger)
        self.costs: list[Row] = [row | self._start(row) for row in [*costs, *self._overheads(costs)]]
        """Of attempts and overheads, which sum to the bill."""
        self.currency = _one_currency(self.run_id, self.costs)

    def with_costs(self, chosen: Mapping[str, Entry], table: str) -> list[Row]:
        """The rows of a table, each with its equal share of what its document's attempts come to, lost work aside."""
        of_documents = defaultdict(list)
        for cost in self.costs:
            if cost["kind"] == "document":
                of_documents[cost["document_id"], cost["source_etag"]].append(cost)
        rows: list[Row] = []
        for entry in chosen.values():
            costs = of_documents[entry["document_id"], entry["source_etag"]]
            begun = self.begun[place_of(entry)[0]]
            rows.extend(row | {"attempts": begun} for row in _sharing(entry[table], costs))
        return rows

    def _start(self, row: Row) -> Row:
        """The start of the run that the row's actor belongs to, where that is known."""
        reading = self.meters.get(row["actor_id"])
        return {"run_started_at": self._starts.get(reading.start) if reading else None}

    def _overheads(self, costs: Sequence[Row]) -> list[Row]:
        """What the actors' meters show beyond attempts, and what was lost without being any one document's."""
        of_attempts: dict[str, Decimal] = defaultdict(Decimal)
        for cost in costs:
            of_attempts[cost["actor_id"]] += cost["device_seconds"]
        rows: list[Row] = []
        for reading in self.meters.values():
            rate = reading.rate
            spent: dict[str, Decimal] = {kind: rate.seconds(us) for kind, us in reading.overheads.items()}
            spent["wasted"] = rate.seconds(reading.total_us) - sum(spent.values()) - of_attempts[reading.actor_id]
            if spent["wasted"] < 0:
                raise LedgerError(f"actor {reading.actor_id} published more seconds than its meter showed")
            rows.extend(
                _overhead(self.run_id, kind, seconds, reading, rate) for kind, seconds in spent.items() if seconds
            )
        return rows


def _one_per_document(entries: Sequence[Entry], etags: Mapping[str, str]) -> dict[str, Entry]:
    """Of several attempts at a document: one at its present content, then one that finished, then one that failed, then
    the latest that has a summary so far. A failure to read what is no longer there is none of any document."""
    chosen: dict[str, Entry] = {}

    def worth(entry: Entry) -> tuple[bool, bool, bool]:
        is_present = entry["source_etag"] == etags.get(entry["document_id"])
        return is_present, entry["outcome"] == "finished", entry["outcome"] in ENDED

    for entry in entries:
        known = chosen.get(entry["document_id"])
        if not entry["summaries"] and not (entry["failures"] and worth(entry)[0]):
            continue
        if known is None or worth(entry) >= worth(known):
            chosen[entry["document_id"]] = entry
    return chosen


def _sharing(rows: Sequence[Row], costs: Sequence[Row]) -> list[Row]:
    """The rows with equal parts of the costs, to the microsecond, which sum to them exactly."""
    shared = [row | {"device_seconds": Decimal(0), "cost": Decimal(0)} for row in rows]
    for cost in costs if rows else ():
        parts = split(int(cost["device_seconds"] / MICROSECOND), dict.fromkeys(range(len(rows)), 1))
        for place, row in enumerate(shared):
            seconds = parts[place] * MICROSECOND
            row["device_seconds"] += seconds
            row["cost"] += seconds * cost["price_per_second"]
    return shared


def _in_full(rows: Sequence[Row], costs: Sequence[Row]) -> None:
    """Give each row its part of all that the run cost, in proportion to its own cost; the parts sum to it exactly."""
    weights = [units(row["cost"]) for row in rows]
    if not any(weights):
        weights = [1] * len(rows)
    total = sum(units(cost["cost"]) for cost in costs)
    for row, part in zip(rows, proportioned(total, weights) if rows else (), strict=True):
        row["full_cost"] = amount_of(part)


def _overhead(run_id: str, kind: str, seconds: Decimal, reading: MeterReading, rate: Rate) -> Row:
    return rate.columns | {
        "run_id": run_id,
        "kind": kind,
        "actor_id": reading.actor_id,
        "node": reading.node,
        "device_seconds": seconds,
        "cost": seconds * rate.price_per_second,
        "started_at": attempts.moment(reading.started_us),
        "finished_at": attempts.moment(reading.read_us),
    }


def _one_currency(run_id: str, costs: Sequence[Row]) -> str | None:
    """None where nothing has a price. Raises LedgerError where a sum would be of several."""
    currencies = sorted({cost["currency"] for cost in costs if cost["currency"]})
    if len(currencies) > 1:
        raise LedgerError(f"run {run_id}: its costs are in {' and '.join(currencies)}, which have no sum")
    return currencies[0] if currencies else None


def _job(about: Mapping[str, Any], account: _Account) -> Row:
    costs = account.costs
    actors = [reading for reading in account.meters.values() if reading.is_of_actor]
    return {
        "run_id": account.run_id,
        "started_at": datetime.fromisoformat(about["started_at"]),
        "finished_at": datetime.now(UTC),
        "tokens_read": sum(cost.get("tokens_read") or 0 for cost in costs),
        "tokens_decoded": sum(cost.get("tokens_decoded") or 0 for cost in costs),
        "actors": len(actors),
        "device_type": next((reading.device_type for reading in actors), None),
        "device_seconds": sum((cost["device_seconds"] for cost in costs if cost["kind"] != "node"), Decimal(0)),
        "cost": sum((cost["cost"] for cost in costs), Decimal(0)),
        "currency": account.currency or about["config"]["price"]["currency"],
        "peak_rss_bytes": max((reading.peak_rss_bytes for reading in actors), default=0),
        "model_id": about["config"]["model"]["uri"],
        "model_revision": about["model_revision"],
        "settings_sha256": about["settings_sha256"],
        "config": json.dumps(about["config"], sort_keys=True),
        "code_version": VERSION,
        "quote": account.quote and json.dumps(account.quote, sort_keys=True),
    }


def _counts(documents: int, succeeded: int, failed: int) -> Row:
    left = documents - succeeded - failed
    return {
        "status": "stopped" if left else "partial" if failed else "succeeded",
        "documents_total": documents,
        "documents_succeeded": succeeded,
        "documents_failed": failed,
        "documents_left": left,
    }
