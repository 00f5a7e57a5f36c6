"""The tables are a function of the ledger: one row a document, costs that sum to the meters, repeatable."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from configs.errors import LedgerError
from pipeline import storage
from pipeline.commit import commit
from pipeline.documents import Document
from pipeline.ledger import Entry, Ledger, Reading
from pipeline.metering import Rate
from pipeline.tables import TABLES
from pipeline.warehouse import Warehouse

RATE = Rate.hourly("cpu", 2, Decimal("0.04"), "USD")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ABOUT = {
    "run_id": "r1",
    "started_at": NOON.isoformat(),
    "settings_sha256": "s",
    "model_revision": "m",
    "config": {"price": {"currency": "USD"}, "model": {"uri": "default"}, "input": {"sources": ["x"]}},
}


def reading(actor: str = "a1", total: int = 0, startup: int = 0, idle: int = 0) -> Reading:
    price = str(RATE.price_per_second)
    return Reading(actor, "node", "cpu", 2, price, "USD", 0, 1, total, startup, idle, 0, 0, 0, 1000)


def entry(name: str, microseconds: int, after: int = 0, failed: bool = False, etag: str = "v1", **meter: int) -> Entry:
    """An attempt that ended `after` seconds past noon."""
    actor = reading(**({"total": microseconds} | meter))
    spent = {"gpu_seconds": RATE.seconds(microseconds), "cost": RATE.cost(microseconds), "currency": "USD"}
    row = {"run_id": "r1", "document_id": name, "source_etag": etag, "settings_sha256": "s", **spent}
    cost = row | {"kind": "document", "actor_id": "a1", "tokens_read": 10, "tokens_decoded": 2}
    return {
        "document_id": name,
        "source_etag": etag,
        "settings_sha256": "s",
        "published_at": NOON + timedelta(seconds=after),
        "summaries": [] if failed else [row | {"summary": f"{name} {after}", "prompt_id": "summary"}],
        "failures": [row | {"error_class": "CorruptError", "error_message": f"at {after}"}] if failed else [],
        "costs": [cost | {"price_per_second": RATE.price_per_second}],
        "reading": actor.__dict__,
    }


def document(name: str, etag: str = "v1") -> Document:
    return Document(name, f"/{name}", etag, 5)


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened = Ledger(".", "r1")
    opened.begin(ABOUT)
    return opened


def test_each_document_has_one_row_and_all_attempts_have_costs(ledger):
    ledger.publish("a1", 1, [entry("one", 100, 1), entry("two", 50, 2, failed=True)])
    ledger.publish("a1", 2, [entry("two", 60, 3), entry("one", 30, 4), entry("three", 5, 5, failed=True)])
    ledger.publish_reading(reading(total=1000, startup=300, idle=200))
    job = commit(ledger, [document("one"), document("two"), document("three")])

    tables = Warehouse(ledger.output_uri)
    assert tables.rows("select document_id, summary, attempts from summaries order by 1") == [
        {"document_id": "one", "summary": "one 1", "attempts": 2},
        {"document_id": "two", "summary": "two 3", "attempts": 2},
    ]
    assert tables.rows("select document_id from failures") == [{"document_id": "three"}]
    assert tables.rows("select count(*) as n from costs where kind = 'document'") == [{"n": 5}]
    assert (job["status"], job["documents_succeeded"], job["documents_failed"]) == ("partial", 2, 1)


def test_costs_sum_exactly_to_the_meter_with_the_waste_named(ledger):
    ledger.publish("a1", 1, [entry("one", 333_333, 1), entry("two", 77, 2)])
    ledger.publish_reading(reading(total=1_000_001, startup=100_003, idle=7))
    ledger.publish_reading(reading("a2", total=999_999, startup=1))
    job = commit(ledger, [document("one"), document("two")])

    tables = Warehouse(ledger.output_uri)
    bill = RATE.cost(1_000_001) + RATE.cost(999_999)
    assert job["cost"] == bill
    assert tables.rows("select sum(cost) as cost from costs") == [{"cost": bill}]
    assert tables.rows("select cost from jobs") == [{"cost": bill}]
    wasted = tables.rows("select actor_id, gpu_seconds from costs where kind = 'wasted' order by 1")
    assert wasted == [
        {"actor_id": "a1", "gpu_seconds": RATE.seconds(1_000_001 - 333_333 - 77 - 100_003 - 7)},
        {"actor_id": "a2", "gpu_seconds": RATE.seconds(999_998)},
    ]


def test_an_entry_newer_than_the_last_heartbeat_still_balances(ledger):
    ledger.publish_reading(reading(total=10, startup=10))
    ledger.publish("a1", 1, [entry("one", 90, 1, total=100, startup=10)])
    assert commit(ledger, [document("one")])["cost"] == RATE.cost(100)


def test_changed_content_replaces_the_old_row(ledger):
    ledger.publish("a1", 1, [entry("one", 10, 1)])
    commit(ledger, [document("one")])
    ledger.reopen()
    ledger.publish("a1", 2, [entry("one", 10, 9, etag="v2", total=20)])
    commit(ledger, [document("one", "v2")])
    assert Warehouse(ledger.output_uri).rows("select summary, source_etag from summaries") == [
        {"summary": "one 9", "source_etag": "v2"}
    ]


def test_a_commit_can_be_repeated_and_leaves_no_stale_file(ledger, tmp_path):
    ledger.publish("a1", 1, [entry("one", 10, 1), entry("two", 5, 2, failed=True, total=15)])
    commit(ledger, [document("one"), document("two")])
    before = {table: Warehouse(str(tmp_path)).rows(f"select * exclude (dt) from {table}") for table in TABLES}
    commit(ledger, [document("one"), document("two")])
    after = {table: Warehouse(str(tmp_path)).rows(f"select * exclude (dt) from {table}") for table in TABLES}
    assert [row | {"finished_at": None} for row in before.pop("jobs")] == [
        row | {"finished_at": None} for row in after.pop("jobs")
    ]
    assert before == after

    ledger.publish("a1", 2, [entry("two", 5, 3, total=20)])
    commit(ledger, [document("one"), document("two")])
    assert Warehouse(str(tmp_path)).rows("select * from failures") == []
    assert not storage.list_files(str(tmp_path / "failures"))


def test_a_document_without_a_row_is_not_committed(ledger):
    ledger.publish("a1", 1, [entry("one", 10, 1)])
    with pytest.raises(LedgerError, match="two"):
        commit(ledger, [document("one"), document("two")])
    assert ledger.committed() is None


def test_a_meter_that_shows_less_than_was_published_is_refused(ledger):
    ledger.publish("a1", 1, [replace_reading(entry("one", 100, 1), total_us=50)])
    with pytest.raises(LedgerError, match="a1"):
        commit(ledger, [document("one")])


def replace_reading(one: Entry, **changes: int) -> Entry:
    return one | {"reading": replace(Reading(**one["reading"]), **changes).__dict__}
