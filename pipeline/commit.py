"""From the ledger to the four tables. A function of the ledger alone, so that it can be repeated at any time.

Each table's files are replaced one by one and the marker is written last; before a run's first commit readers see none
of its rows.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from configs import VERSION
from configs.errors import LedgerError
from pipeline import storage
from pipeline.documents import Document
from pipeline.ledger import Entry, Ledger, Reading, final_readings
from pipeline.metering import Rate
from pipeline.tables import TABLES

ROWS_PER_FILE = 100_000
Row = dict[str, Any]


def commit(ledger: Ledger, documents: Sequence[Document]) -> Row:
    """Write the run's tables and its marker. Returns the run's row in `jobs`.

    Raises LedgerError where a document of the manifest has neither result nor failure.
    """
    about = ledger.about()
    assert about is not None, "a run begins before it is committed"
    entries, readings = ledger.entries(), ledger.readings()
    chosen = _one_per_document(entries, {document.document_id: document.source_etag for document in documents})
    if missing := [document.document_id for document in documents if document.document_id not in chosen]:
        raise LedgerError(f"{len(missing)} documents have no row yet, for example {missing[0]!r}: run it again")
    actors = final_readings(entries, readings)
    attempts = _count(entry["document_id"] for entry in entries)
    tables = {
        "summaries": [row | {"attempts": attempts[row["document_id"]]} for row in _rows(chosen, "summaries")],
        "failures": [row | {"attempts": attempts[row["document_id"]]} for row in _rows(chosen, "failures")],
        "costs": [*(row for entry in entries for row in entry["costs"]), *_overheads(ledger.run_id, entries, actors)],
    }
    job = _job(ledger.run_id, about, tables, chosen, actors)
    for name, rows in (tables | {"jobs": [job]}).items():
        _write(ledger, name, about["started_at"][:10], rows)
    marker = {"committed_at": datetime.now(UTC).isoformat(), "status": job["status"], "documents": len(chosen)}
    ledger.commit(marker)
    return job


def _one_per_document(entries: Sequence[Entry], etags: Mapping[str, str]) -> dict[str, Entry]:
    """Of several attempts at a document: one at its present content, then one that succeeded, then the latest failure
    or the earliest success."""
    chosen: dict[str, Entry] = {}

    def worth(entry: Entry) -> tuple[bool, bool]:
        return entry["source_etag"] == etags.get(entry["document_id"]), bool(entry["summaries"])

    for entry in entries:
        known = chosen.get(entry["document_id"])
        if known is None or worth(entry) > worth(known) or (worth(entry) == worth(known) and entry["failures"]):
            chosen[entry["document_id"]] = entry
    return chosen


def _rows(chosen: Mapping[str, Entry], table: str) -> list[Row]:
    return [row for entry in chosen.values() for row in entry[table]]


def _count(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _overheads(run_id: str, entries: Sequence[Entry], actors: Mapping[str, Reading]) -> list[Row]:
    """What an actor's meter shows beyond its published documents: start-up, idle time, and work that was lost."""
    published: dict[str, Decimal] = {}
    for cost in (cost for entry in entries for cost in entry["costs"]):
        published[cost["actor_id"]] = published.get(cost["actor_id"], Decimal(0)) + cost["gpu_seconds"]
    rows: list[Row] = []
    for reading in actors.values():
        rate = reading.rate
        documents = published.get(reading.actor_id, Decimal(0))
        spent = {"startup": rate.seconds(reading.startup_us), "idle": rate.seconds(reading.idle_us)}
        spent["wasted"] = rate.seconds(reading.total_us) - sum(spent.values()) - documents
        if spent["wasted"] < 0:
            raise LedgerError(f"actor {reading.actor_id} published more seconds than its meter showed")
        rows.extend(_overhead(run_id, kind, seconds, reading, rate) for kind, seconds in spent.items() if seconds)
    return rows


def _overhead(run_id: str, kind: str, seconds: Decimal, reading: Reading, rate: Rate) -> Row:
    return {
        "run_id": run_id,
        "kind": kind,
        "actor_id": reading.actor_id,
        "node": reading.node,
        "gpu_type": reading.gpu_type,
        "gpu_seconds": seconds,
        "price_per_second": rate.price_per_second,
        "cost": seconds * rate.price_per_second,
        "currency": reading.currency,
        "started_at": _time(reading.started_us),
        "finished_at": _time(reading.read_us),
    }


def _job(
    run_id: str,
    about: Mapping[str, Any],
    tables: Mapping[str, list[Row]],
    chosen: Mapping[str, Entry],
    actors: Mapping[str, Reading],
) -> Row:
    costs = tables["costs"]
    failed = len(tables["failures"])
    return {
        "run_id": run_id,
        "status": "partial" if failed else "succeeded",
        "started_at": datetime.fromisoformat(about["started_at"]),
        "finished_at": datetime.now(UTC),
        "documents_total": len(chosen),
        "documents_succeeded": len(chosen) - failed,
        "documents_failed": failed,
        "tokens_read": sum(cost.get("tokens_read") or 0 for cost in costs),
        "tokens_decoded": sum(cost.get("tokens_decoded") or 0 for cost in costs),
        "actors": len(actors),
        "gpu_type": next((reading.gpu_type for reading in actors.values()), None),
        "gpu_seconds": sum((cost["gpu_seconds"] for cost in costs), Decimal(0)),
        "cost": sum((cost["cost"] for cost in costs), Decimal(0)),
        "currency": about["config"]["price"]["currency"],
        "peak_rss_bytes": max((reading.peak_rss_bytes for reading in actors.values()), default=0),
        "model_id": about["config"]["model"]["uri"],
        "model_revision": about["model_revision"],
        "settings_sha256": about["settings_sha256"],
        "config": json.dumps(about["config"], sort_keys=True),
        "code_version": VERSION,
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
