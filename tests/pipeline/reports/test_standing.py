"""How a run stands is told by its ledger: who is at work, what is done, what it has cost."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from configs.errors import ConfigError
from pipeline.billing.metering import Spent
from pipeline.ledger import lease
from pipeline.ledger.lease import Lease
from pipeline.ledger.records import ENTRY, Heartbeat, MeterReading, Underway
from pipeline.ledger.run_folder import Ledger
from pipeline.reports import standing
from pipeline.schemas.document import Document
from pipeline.storage import objects
from tests.outputs import job_row, write_part

NAMES = ("a", "b", "c", "d")


def reading(actor: str, seconds_ago: float = 1.0) -> MeterReading:
    now = time.time()
    return MeterReading(
        *(actor, "node", "NVIDIA H100", 1, "0.001", "USD", round((now - 100) * 1e6), round((now - seconds_ago) * 1e6)),
        total_us=100_000_000,
        load_us=20_000_000,
        tokens_read=8_000,
        start=1,
    )


def begun(output: str, name: str = "one") -> Ledger:
    ledger = Ledger(output, name)
    config = {"price": {"currency": "USD"}, "run": {"heartbeat_seconds": 15.0}}
    ledger.begin({"started_at": datetime.now(UTC).isoformat(), "config": config})
    ledger.write_manifest([Document(each, f"/{each}", "e", 1) for each in NAMES], 1)
    return ledger


def ended(ledger: Ledger, *outcomes: tuple[str, str]) -> None:
    rows = [
        dict.fromkeys(ENTRY.names) | {"document_id": name, "source_etag": "e", "outcome": outcome}
        for name, outcome in outcomes
    ]
    ledger.publish_segment("actor", 1, pa.Table.from_pylist(rows, ENTRY))


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.2)


def test_while_it_runs(tmp_path):
    ledger = begun(str(tmp_path))
    at = Underway("c", "e", 2, 0, Spent(0), 500, 1_000)
    ledger.publish_heartbeat(Heartbeat(reading("actor"), (at,)))
    ledger.publish_heartbeat(Heartbeat(reading("gone", seconds_ago=900), (replace(at, document_id="d"),)))
    ended(ledger, ("a", "finished"), ("a", "fenced"), ("b", "failed"), ("c", "stopped"))
    with Lease(ledger):
        found = standing.of(str(tmp_path))
    assert (found.run_id, found.state, found.starts) == ("one", "running", 1)
    assert (found.documents, found.succeeded, found.failed, found.left) == (4, 1, 1, 2)
    assert (found.actors, found.underway) == (1, (at,))
    assert (found.tokens_read, found.tokens_per_second) == (16_000, 100)
    assert found.cost == Decimal("0.2")


def test_a_document_that_failed_and_then_finished_is_done(tmp_path):
    ledger = begun(str(tmp_path))
    ended(ledger, ("a", "failed"), ("a", "finished"))
    found = standing.of(str(tmp_path))
    assert (found.succeeded, found.failed) == (1, 0)


def test_a_driver_that_does_not_beat_is_silent_and_one_that_left_has_ended(tmp_path):
    ledger = begun(str(tmp_path))
    start = b'{"started_at": "2026-11-26T01:00:00+00:00", "host": "h", "pid": 1, "machine": "another"}'
    objects.publish(f"{ledger.uri}/starts/0001.json", start)
    objects.publish(f"{ledger.uri}/starts/0001.alive", b"12")
    assert standing.of(str(tmp_path)).state == "silent"
    objects.publish(f"{ledger.uri}/starts/0001.alive", lease.ENDED)
    assert standing.of(str(tmp_path)).state == "ended"


@pytest.mark.parametrize("status", ["succeeded", "partial", "stopped"])
def test_one_that_is_committed_is_as_its_commit_says(tmp_path, status):
    ledger = begun(str(tmp_path))
    with Lease(ledger):
        pass
    objects.publish(f"{tmp_path}/_commits/one/0001.json", f'{{"number": 1, "status": "{status}"}}'.encode())
    assert standing.of(str(tmp_path)).state == status


def test_what_is_committed_counts_when_its_ledger_is_gone(tmp_path):
    counts = {"documents_total": 9, "documents_succeeded": 7, "documents_failed": 2, "tokens_read": 1_000}
    write_part(tmp_path, "jobs", "one", [job_row("1.50", **counts)])
    ledger = begun(str(tmp_path))
    with Lease(ledger):
        pass
    objects.delete(f"{ledger.uri}/manifests/0001.parquet")
    objects.publish(f"{tmp_path}/_commits/one/0001.json", b'{"number": 1, "status": "partial"}')
    found = standing.of(str(tmp_path))
    assert (found.documents, found.succeeded, found.failed, found.left) == (9, 7, 2, 0)
    assert (found.tokens_read, found.cost, found.state) == (1_000, Decimal("1.50"), "partial")


def test_the_newest_unless_it_is_named(tmp_path):
    begun(str(tmp_path), "one")
    begun(str(tmp_path), "two")
    assert standing.of(str(tmp_path)).run_id == "two"
    assert standing.of(str(tmp_path), "one").run_id == "one"
    with pytest.raises(ConfigError, match=r"there is no run 'three' in .*; the newest are two, one"):
        standing.of(str(tmp_path), "three")
    with pytest.raises(ConfigError, match="no run has begun"):
        standing.of(str(tmp_path / "empty"))
