"""From the ledger to the five tables. A function of the ledger alone, so that it can be repeated at any time.

Each table's files are replaced one by one and the marker is written last; before a run's first commit readers see none
of its rows.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from configs import VERSION
from configs.errors import LedgerError
from pipeline import storage
from pipeline.amounts import amount_of, proportioned, units
from pipeline.documents import Document
from pipeline.lease import starts
from pipeline.ledger import Claim, Entry, Ledger, Place, Reading, Underway, final_readings, place_of
from pipeline.metering import Rate, Spent, split
from pipeline.tables import MICROSECOND, TABLES

ROWS_PER_FILE = 100_000
ENDED = ("finished", "failed")
Row = dict[str, Any]


def commit(ledger: Ledger, documents: Sequence[Document], stopped: bool = False) -> Row:
    """Write the run's tables and its marker. Returns the run's row in `jobs`.

    Raises LedgerError where a document of the manifest has neither result nor failure, unless the run was `stopped`.
    """
    about = ledger.about()
    assert about is not None, "a run begins before it is committed"
    account = _Account(ledger)
    etags = {document.document_id: document.source_etag for document in documents}
    chosen = _one_per_document(account.entries, etags)
    ended = {id for id, entry in chosen.items() if entry["outcome"] in ENDED and entry["source_etag"] == etags.get(id)}
    missing = [document_id for document_id in etags if document_id not in ended]
    if missing and not stopped:
        raise LedgerError(f"{len(missing)} documents have no row yet, for example {missing[0]!r}: run it again")
    done = len(documents) - len(missing)
    tables = {
        "summaries": account.with_costs(chosen, "summaries"),
        "failures": account.with_costs(chosen, "failures"),
        "costs": account.costs,
        "states": [row for entry in account.entries for row in entry["states"]],
    }
    _in_full([*tables["summaries"], *tables["failures"]], account.costs)
    job = _job(ledger.run_id, about, tables, account, len(documents), done)
    for name, rows in (tables | {"jobs": [job]}).items():
        _write(ledger, name, about["started_at"][:10], rows)
    ledger.forget_snapshots({place_of(entry)[0] for entry in account.entries if entry["outcome"] == "finished"})
    ledger.commit({"committed_at": datetime.now(UTC).isoformat(), "status": job["status"], "documents": done})
    return job


class _Account:
    """What the ledger of a run comes to."""

    def __init__(self, ledger: Ledger) -> None:
        self.run_id = ledger.run_id
        self.entries, self.quote = ledger.entries(), ledger.quote()
        beats = ledger.beats()
        places = ledger.places()
        self.meters = final_readings(self.entries, [beat.reading for beat in beats])
        self.attempts = Counter(key for key, _ in places)
        """Begun, by the document's key."""
        ended = {place_of(entry) for entry in self.entries}
        seen = {each.place: (each, beat.reading) for beat in beats for each in beat.underway}
        lost = [self._lost(ledger, place, seen.get(place)) for place in places if place not in ended]
        costs = [row for entry in self.entries for row in entry["costs"]] + [row for rows in lost for row in rows]
        self._starts = starts(ledger)
        self.costs: list[Row] = [row | self._start(row) for row in [*costs, *self._overheads(costs)]]
        """Of attempts and overheads, which sum to the bill."""

    def with_costs(self, chosen: Mapping[str, Entry], table: str) -> list[Row]:
        """The rows of a table, each with its equal share of what its document's attempts come to, lost work aside."""
        of_documents = defaultdict(list)
        for cost in self.costs:
            if cost["kind"] == "document":
                of_documents[cost["document_id"], cost["source_etag"]].append(cost)
        rows: list[Row] = []
        for entry in chosen.values():
            costs = of_documents[entry["document_id"], entry["source_etag"]]
            attempts = self.attempts[place_of(entry)[0]]
            rows.extend(row | {"attempts": attempts} for row in _sharing(entry[table], costs))
        return rows

    def _start(self, row: Row) -> Row:
        """The start of the run that the row's actor belongs to, where that is known."""
        reading = self.meters.get(row["actor_id"])
        return {"run_started_at": self._starts.get(reading.start) if reading else None}

    def _lost(self, ledger: Ledger, place: Place, seen: tuple[Underway, Reading] | None) -> list[Row]:
        """Rows of an attempt whose actor has died: what snapshots hold of it, and the rest."""
        if seen is None:
            # Of one that its actor's last heartbeat did not know, nothing is known but that it was begun.
            claim = ledger.claim(place)
            reading = self.meters.get(claim.actor_id, _unknown(claim))
            underway = Underway(claim.document_id, claim.source_etag, claim.attempt, claim.began_us, Spent(), 0, 0)
        else:
            underway, reading = seen
        common = reading.rate.columns | {
            "run_id": self.run_id,
            "document_id": underway.document_id,
            "source_etag": underway.source_etag,
            "attempt": underway.attempt,
            "outcome": "lost",
            "actor_id": reading.actor_id,
            "node": reading.node,
            "started_at": _time(underway.started_us),
            "finished_at": _time(reading.read_us),
        }
        counts = {
            "tokens_read": underway.tokens_read,
            "tokens_resumed": underway.tokens_resumed,
            "tokens_decoded": 0,
        }
        rate, spent = reading.rate, underway.spent
        rows = [common | {"kind": "document"} | counts | rate.charge(spent.saved, spent.decoding_saved)]
        if spent.at_stake:
            rows.append(common | {"kind": "wasted"} | rate.charge(spent.at_stake, spent.decoding_at_stake))
        return rows

    def _overheads(self, costs: Sequence[Row]) -> list[Row]:
        """What the actors' meters show beyond attempts, and what was lost without being any one document's."""
        of_attempts: dict[str, Decimal] = defaultdict(Decimal)
        for cost in costs:
            of_attempts[cost["actor_id"]] += cost["gpu_seconds"]
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
    the latest that has a summary so far."""
    chosen: dict[str, Entry] = {}

    def worth(entry: Entry) -> tuple[bool, bool, bool]:
        is_present = entry["source_etag"] == etags.get(entry["document_id"])
        return is_present, entry["outcome"] == "finished", entry["outcome"] in ENDED

    for entry in entries:
        known = chosen.get(entry["document_id"])
        if not entry["summaries"] and not entry["failures"]:
            continue
        if known is None or worth(entry) >= worth(known):
            chosen[entry["document_id"]] = entry
    return chosen


def _sharing(rows: Sequence[Row], costs: Sequence[Row]) -> list[Row]:
    """The rows with equal parts of the costs, to the microsecond, which sum to them exactly."""
    shared = [row | {"gpu_seconds": Decimal(0), "cost": Decimal(0)} for row in rows]
    for cost in costs if rows else ():
        parts = split(int(cost["gpu_seconds"] / MICROSECOND), dict.fromkeys(range(len(rows)), 1))
        for place, row in enumerate(shared):
            seconds = parts[place] * MICROSECOND
            row["gpu_seconds"] += seconds
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


def _unknown(claim: Claim) -> Reading:
    """Of an actor that died before its first heartbeat."""
    began = claim.began_us
    return Reading(claim.actor_id, "", "", 1, "0", "", began, began, total_us=0)


def _overhead(run_id: str, kind: str, seconds: Decimal, reading: Reading, rate: Rate) -> Row:
    return rate.columns | {
        "run_id": run_id,
        "kind": kind,
        "actor_id": reading.actor_id,
        "node": reading.node,
        "gpu_seconds": seconds,
        "cost": seconds * rate.price_per_second,
        "started_at": _time(reading.started_us),
        "finished_at": _time(reading.read_us),
    }


def _job(
    run_id: str,
    about: Mapping[str, Any],
    tables: Mapping[str, list[Row]],
    account: _Account,
    documents: int,
    done: int,
) -> Row:
    costs = tables["costs"]
    actors = [reading for reading in account.meters.values() if reading.is_of_actor]
    failed = len(tables["failures"])
    return {
        "run_id": run_id,
        "status": "stopped" if done < documents else "partial" if failed else "succeeded",
        "started_at": datetime.fromisoformat(about["started_at"]),
        "finished_at": datetime.now(UTC),
        "documents_total": documents,
        "documents_succeeded": done - failed,
        "documents_failed": failed,
        "documents_left": documents - done,
        "tokens_read": sum(cost.get("tokens_read") or 0 for cost in costs),
        "tokens_decoded": sum(cost.get("tokens_decoded") or 0 for cost in costs),
        "actors": len(actors),
        "gpu_type": next((reading.gpu_type for reading in actors), None),
        "gpu_seconds": sum((cost["gpu_seconds"] for cost in costs if cost["kind"] != "node"), Decimal(0)),
        "cost": sum((cost["cost"] for cost in costs), Decimal(0)),
        "currency": about["config"]["price"]["currency"],
        "peak_rss_bytes": max((reading.peak_rss_bytes for reading in actors), default=0),
        "model_id": about["config"]["model"]["uri"],
        "model_revision": about["model_revision"],
        "settings_sha256": about["settings_sha256"],
        "config": json.dumps(about["config"], sort_keys=True),
        "code_version": VERSION,
        "quote": account.quote and json.dumps(account.quote, sort_keys=True),
    }


def _write(ledger: Ledger, name: str, day: str, rows: Sequence[Row]) -> None:
    """Files that an earlier commit of this run wrote are replaced, and those beyond the new ones removed."""
    folder = storage.join(ledger.output_uri, name, f"dt={day}", f"run_id={ledger.run_id}")
    parts = [rows[start : start + ROWS_PER_FILE] for start in range(0, len(rows), ROWS_PER_FILE)]
    files = [storage.join(folder, f"part-{index:05d}.parquet") for index in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        storage.publish_table(file, pa.Table.from_pylist(list(part), TABLES[name]))
    for stale in set(storage.list_files(folder, ".parquet")) - set(files):
        storage.delete(stale)


def _time(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)
