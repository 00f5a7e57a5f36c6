"""Outputs of runs that never ran: Parquet parts with the schemas of `pipeline.schemas.tables`, as a commit has them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.schemas.tables import LISTING, LISTING_FOLDER, TABLES
from pipeline.storage import objects

STARTED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def write_part(root: Path, table: str, run_id: str, rows: list[dict[str, Any]], day: str = "2026-03-01") -> Path:
    """One part of one table, committed; columns that a row leaves out are null."""
    folder = root / table / f"dt={day}" / f"run={run_id}"
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"part-0001-{len(list(folder.iterdir())):05d}.parquet"
    filled = [{"run_id": run_id, "currency": "USD"} | row for row in rows]
    pq.write_table(pa.Table.from_pylist(filled, schema=TABLES[table]), part)
    mark(root, run_id)
    return part


def mark(output: Path | str, run_id: str, number: int = 1) -> None:
    """The marker that makes files of that commit count."""
    objects.publish(f"{output}/_commits/{run_id}/{number:04d}.json", b"{}")


def write_listing(root: Path, etags: dict[str, str]) -> None:
    """Documents as they were last listed, by their ids: what is of others is not the latest of anything."""
    folder = root / LISTING_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"document_id": name, "source_etag": etag, "listed_at": STARTED} for name, etag in etags.items()]
    pq.write_table(pa.Table.from_pylist(rows, schema=LISTING), folder / "part-one.parquet")


def cost_row(kind: str, cost: str, document_id: str | None = None, **others: Any) -> dict[str, Any]:
    return {"kind": kind, "cost": Decimal(cost), "document_id": document_id, "device_seconds": Decimal(1), **others}


def job_row(cost: str, started: datetime = STARTED, **others: Any) -> dict[str, Any]:
    """A run of 3 m 12 s that read 1.2 million tokens."""
    return {
        "status": "succeeded",
        "started_at": started,
        "finished_at": started + timedelta(seconds=192),
        "documents_total": 3,
        "documents_succeeded": 2,
        "documents_failed": 1,
        "tokens_read": 1_200_000,
        "device_type": "cpu",
        "device_seconds": Decimal("190.2"),
        "cost": Decimal(cost),
        **others,
    }
