"""The tables are a function of the ledger: one row a document, costs that sum to the meters, repeatable."""

import json
import tracemalloc
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pyarrow as pa
import pytest

from configs.errors import LedgerError, StorageError
from pipeline.billing.metering import NODE, Rate, Spent
from pipeline.ledger import commits
from pipeline.ledger.commit import commit
from pipeline.ledger.records import (
    ENTRY,
    Claim,
    Entry,
    Heartbeat,
    MeterReading,
    Outcome,
    Underway,
    batch_of,
    document_key,
)
from pipeline.ledger.run_folder import Ledger, runs
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.document import Document
from pipeline.schemas.tables import TABLES
from pipeline.storage import objects
from tests.worker import Worker

RATE = Rate("cpu", 2, Decimal("0.04"), "USD")
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ABOUT = {
    "run_id": "r1",
    "started_at": NOON.isoformat(),
    "settings_sha256": "s",
    "model_revision": "m",
    "config": {"price": {"currency": "USD"}, "model": {"uri": "default"}, "input": {"sources": ["x"]}},
}


def reading(actor: str = "a1", total: int = 0, startup: int = 0, idle: int = 0) -> MeterReading:
    price = str(RATE.price_per_second)
    return MeterReading(actor, "node", "cpu", 2, price, "USD", 0, 1, total, startup, 0, idle, 0, 0, 0, 0, 0, 1000)


def entry(
    name: str,
    microseconds: int,
    after: int = 0,
    outcome: Outcome = "finished",
    etag: str = "v1",
    attempt: int = 1,
    rows: int = 1,
    wasted: int = 0,
    **meter: int,
) -> Entry:
    """An attempt that ended `after` seconds past noon, with its claim."""
    actor = reading(**({"total": microseconds + wasted} | meter))
    row = {"run_id": "r1", "document_id": name, "source_etag": etag, "settings_sha256": "s"}
    summary = row | {"summary": f"{name} {after}", "truncated": outcome != "finished"}
    return {
        "document_id": name,
        "source_etag": etag,
        "batch": batch_of(1, [document_key(name, etag)]),
        "claim": attempt,
        "attempt": attempt,
        "actor_id": "a1",
        "outcome": outcome,
        "started_at": NOON,
        "published_at": NOON + timedelta(seconds=after),
        "tokens_resumed": 0,
        "tokens_read": 10,
        "tokens_decoded": 2,
        "spent": asdict(Spent(microseconds + wasted, saved=microseconds)),
        "summaries": [] if outcome == "failed" else [summary | {"prompt_id": f"p{index}"} for index in range(rows)],
        "failures": [row | {"error_class": "CorruptError", "error_message": f"at {after}"}]
        if outcome == "failed"
        else [],
        "states": [],
        "reading": asdict(actor),
    }


def publish(ledger: Ledger, *entries: Entry) -> None:
    for each in entries:
        assert begin(ledger, each["document_id"], each["attempt"], each["source_etag"])
    write(ledger, *entries)


def write(ledger: Ledger, *entries: Entry) -> None:
    number = len(ledger.segments("a1")) + 1
    ledger.publish_segment("a1", number, pa.Table.from_pylist(list(entries), ENTRY))


def begin(ledger: Ledger, name: str, attempt: int = 1, etag: str = "v1", actor: str = "a1", **known: object) -> bool:
    """Of a document that came alone."""
    claim = Claim(name, etag, attempt, actor, 5, **{"tokens_before": 0} | known)
    return ledger.begin_attempts(batch_of(1, [claim.key]), attempt, [claim])


def document(name: str, etag: str = "v1") -> Document:
    return Document(name, f"/{name}", etag, 5)


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened = Ledger(".", "r1")
    opened.begin(ABOUT)
    return opened


def test_each_document_has_one_row_and_all_attempts_have_costs(ledger):
    publish(ledger, entry("one", 100, 1), entry("two", 50, 2, outcome="failed"))
    publish(ledger, entry("two", 60, 3, attempt=2), entry("three", 5, 5, outcome="failed"))
    ledger.publish_heartbeat(Heartbeat(reading(total=1000, startup=300, idle=200)))
    job = commit(ledger, [document("one"), document("two"), document("three")])

    tables = Warehouse(ledger.output_uri)
    assert tables.rows("select document_id, summary, attempts from summaries order by 1") == [
        {"document_id": "one", "summary": "one 1", "attempts": 1},
        {"document_id": "two", "summary": "two 3", "attempts": 2},
    ]
    assert tables.rows("select document_id from failures") == [{"document_id": "three"}]
    assert tables.rows("select count(*) as n from costs where kind = 'document'") == [{"n": 4}]
    assert (job["status"], job["documents_succeeded"], job["documents_failed"]) == ("partial", 2, 1)


def test_costs_sum_exactly_to_the_meter_with_the_waste_named(ledger):
    publish(ledger, entry("one", 333_333, 1), entry("two", 77, 2))
    ledger.publish_heartbeat(Heartbeat(reading(total=1_000_001, startup=100_003, idle=7)))
    ledger.publish_heartbeat(Heartbeat(reading("a2", total=999_999, startup=1)))
    job = commit(ledger, [document("one"), document("two")])

    tables = Warehouse(ledger.output_uri)
    bill = RATE.cost(1_000_001) + RATE.cost(999_999)
    assert job["cost"] == bill
    assert tables.rows("select sum(cost) as cost from costs") == [{"cost": bill}]
    assert tables.rows("select cost from jobs") == [{"cost": bill}]
    wasted = tables.rows("select actor_id, device_seconds from costs where kind = 'wasted' order by 1")
    assert wasted == [
        {"actor_id": "a1", "device_seconds": RATE.seconds(1_000_001 - 333_333 - 77 - 100_003 - 7)},
        {"actor_id": "a2", "device_seconds": RATE.seconds(999_998)},
    ]


def test_rows_share_all_that_a_run_cost_with_its_other_nodes(ledger):
    publish(ledger, entry("one", 333_333, 1, rows=2), entry("two", 77, 2, outcome="failed", total=400_000))
    head = replace(reading("node-1", total=3_000_001), device_type=NODE, devices=1, node_us=3_000_001)
    ledger.publish_heartbeat(Heartbeat(head))
    job = commit(ledger, [document("one"), document("two")])

    tables = Warehouse(ledger.output_uri)
    nodes = tables.rows("select device_type, device_seconds, cost from costs where kind = 'node'")
    of_node = Decimal("3.000001") * RATE.price_per_second
    assert nodes == [{"device_type": "node", "device_seconds": Decimal("3.000001"), "cost": of_node}]
    assert job["cost"] == RATE.cost(400_000) + of_node
    # Nodes are no devices.
    assert (job["device_seconds"], job["actors"], job["device_type"]) == (RATE.seconds(400_000), 1, "cpu")
    rows = tables.rows("select cost, full_cost from summaries union all select cost, full_cost from failures")
    assert sum(row["full_cost"] for row in rows) == job["cost"]
    for row in rows:
        assert row["full_cost"] / job["cost"] == pytest.approx(row["cost"] / RATE.cost(333_410), rel=Decimal("1e-9"))


def test_each_cost_is_of_the_start_that_its_actor_belongs_to(ledger):
    nights = [NOON, NOON + timedelta(days=1)]
    for number, night in enumerate(nights):
        about = {"started_at": night.isoformat()}
        objects.publish(f"{ledger.uri}/starts/{number + 1:04d}.json", json.dumps(about).encode())
    one, two = entry("one", 100, 1), entry("two", 70, 2) | {"actor_id": "a2"}
    two["reading"] = two["reading"] | {"actor_id": "a2", "start": 2}
    publish(ledger, replace_reading(one, start=1), two)
    ledger.publish_heartbeat(Heartbeat(replace(reading("a2", total=900, startup=100), start=2)))
    commit(ledger, [document("one"), document("two")])
    found = Warehouse(ledger.output_uri).rows("select actor_id, kind, run_started_at from costs order by 1, 2")
    assert [(row["actor_id"], row["kind"], row["run_started_at"]) for row in found] == [
        ("a1", "document", nights[0]),
        ("a2", "document", nights[1]),
        ("a2", "startup", nights[1]),
        ("a2", "wasted", nights[1]),
    ]


def test_an_entry_newer_than_the_last_heartbeat_still_balances(ledger):
    ledger.publish_heartbeat(Heartbeat(reading(total=10, startup=10)))
    publish(ledger, entry("one", 90, 1, total=100, startup=10))
    assert commit(ledger, [document("one")])["cost"] == RATE.cost(100)


def test_changed_content_replaces_the_old_row(ledger):
    publish(ledger, entry("one", 10, 1))
    commit(ledger, [document("one")])
    publish(ledger, entry("one", 10, 9, etag="v2", total=20))
    commit(ledger, [document("one", "v2")], start=2)
    assert Warehouse(ledger.output_uri).rows("select summary, source_etag from summaries") == [
        {"summary": "one 9", "source_etag": "v2"}
    ]


def test_a_commit_can_be_repeated_and_leaves_no_stale_file(ledger, tmp_path):
    publish(ledger, entry("one", 10, 1), entry("two", 5, 2, outcome="failed", total=15))
    commit(ledger, [document("one"), document("two")])
    before = {table: Warehouse(str(tmp_path)).rows(f"select * exclude (dt) from {table}") for table in TABLES}
    commit(ledger, [document("one"), document("two")])
    after = {table: Warehouse(str(tmp_path)).rows(f"select * exclude (dt) from {table}") for table in TABLES}
    assert [row | {"finished_at": None} for row in before.pop("jobs")] == [
        row | {"finished_at": None} for row in after.pop("jobs")
    ]
    assert before == after

    publish(ledger, entry("two", 5, 3, attempt=2, total=20))
    commit(ledger, [document("one"), document("two")])
    assert Warehouse(str(tmp_path)).rows("select * from failures") == []
    assert not objects.list_files(str(tmp_path / "failures"))


def test_a_document_without_a_row_is_not_committed(ledger):
    publish(ledger, entry("one", 10, 1))
    with pytest.raises(LedgerError, match="two"):
        commit(ledger, [document("one"), document("two")])
    assert commits.newest(ledger) is None


def test_a_meter_that_shows_less_than_was_published_is_refused(ledger):
    publish(ledger, replace_reading(entry("one", 100, 1), total_us=50))
    with pytest.raises(LedgerError, match="a1"):
        commit(ledger, [document("one")])


def replace_reading(one: Entry, **changes: object) -> Entry:
    return one | {"reading": asdict(replace(MeterReading(**one["reading"]), **changes))}


def underway(name: str, microseconds: int, saved: int, attempt: int = 1) -> Underway:
    return Underway(
        name, "v1", attempt, 7, Spent(microseconds, saved=saved), 100, 40, batch_of(1, [document_key(name, "v1")])
    )


def test_a_document_is_finished_once_and_who_comes_second_has_worked_in_vain(ledger):
    publish(ledger, entry("one", 100, 1))
    assert not begin(ledger, "one", 1, actor="a2")
    publish(ledger, entry("one", 70, 2, attempt=2, total=170))
    commit(ledger, [document("one")])
    tables = Warehouse(ledger.output_uri)
    assert tables.rows("select summary, attempts from summaries") == [{"summary": "one 1", "attempts": 2}]
    costs = tables.rows("select kind, outcome, device_seconds from costs where device_seconds > 0 order by 1")
    assert [(row["kind"], row["outcome"], row["device_seconds"]) for row in costs] == [
        ("document", "finished", RATE.seconds(100)),
        ("wasted", "fenced", RATE.seconds(70)),
    ]


def test_a_document_costs_what_its_attempts_come_to_but_for_what_was_lost(ledger):
    """One attempt was lost with its actor, one was stopped; the third finished, with three rows."""
    assert begin(ledger, "one", 1, actor="a0")
    dead = replace(reading("a0", total=1000, startup=100), node="spot")
    ledger.publish_heartbeat(Heartbeat(dead, (underway("one", 700, saved=600),)))
    publish(ledger, entry("one", 50, 1, "stopped", attempt=2, wasted=7))
    publish(ledger, entry("one", 101, 2, attempt=3, rows=3, total=50 + 7 + 101))
    job = commit(ledger, [document("one")])
    tables = Warehouse(ledger.output_uri)
    summaries = tables.rows("select prompt_id, attempts, device_seconds, cost from summaries order by 1")
    assert [row["attempts"] for row in summaries] == [3, 3, 3]
    assert sum(row["device_seconds"] for row in summaries) == RATE.seconds(600 + 50 + 101)
    assert sum(row["cost"] for row in summaries) == RATE.cost(600 + 50 + 101)
    wasted = tables.rows(
        "select outcome, document_id, attempt, device_seconds from costs where kind = 'wasted' order by 3"
    )
    assert [(row["outcome"], row["attempt"], row["device_seconds"]) for row in wasted if row["device_seconds"]] == [
        ("lost", 1, RATE.seconds(100)),
        ("stopped", 2, RATE.seconds(7)),
        (None, None, RATE.seconds(1000 - 100 - 700)),
    ]
    (lost,) = tables.rows("select * from costs where outcome = 'lost' and kind = 'document'")
    assert (lost["node"], lost["tokens_read"], lost["tokens_resumed"]) == ("spot", 100, 40)
    assert job["cost"] == RATE.cost(1000 + 50 + 7 + 101)


def test_where_the_next_attempt_starts_tells_more_of_a_lost_one_than_its_last_heartbeat(ledger):
    """192 tokens had been read and saved since."""
    uri = ledger.snapshot_uri(document_key("one", "v1"))
    assert begin(ledger, "one", 1, actor="a0")
    known = replace(underway("one", 700, saved=300), tokens_read=100, tokens_resumed=0)
    ledger.publish_heartbeat(Heartbeat(reading("a0", total=1000, startup=100), (known,)))
    assert begin(ledger, "one", 2, tokens_before=292, state_uri=uri)
    write(ledger, with_tokens(entry("one", 50, 1, attempt=2), read=108, resumed=292) | {"state_uri": uri})
    job = commit(ledger, [document("one")])
    costs = Warehouse(ledger.output_uri).rows("select * from costs where attempt is not null order by attempt, kind")
    assert [tokens(row) for row in costs] == [("lost", 292, 0, 0), ("finished", 108, 292, 0)]
    # All the time that the actor told of went into what was saved.
    assert [row["device_seconds"] for row in costs] == [RATE.seconds(700), RATE.seconds(50)]
    assert (job["tokens_read"], job["cost"]) == (400, RATE.cost(1000 + 50))


def test_time_is_saved_as_far_as_the_next_attempt_starts(ledger):
    uri = ledger.snapshot_uri(document_key("one", "v1"))
    assert begin(ledger, "one", 1, actor="a0")
    known = replace(underway("one", 1000, saved=100), tokens_read=400, tokens_resumed=0)
    ledger.publish_heartbeat(Heartbeat(reading("a0", total=1000), (known,)))
    assert begin(ledger, "one", 2, tokens_before=300, state_uri=uri)
    write(ledger, with_tokens(entry("one", 50, 1, attempt=2), read=200, resumed=300) | {"state_uri": uri})
    commit(ledger, [document("one")])
    costs = Warehouse(ledger.output_uri).rows("select * from costs where attempt is not null order by attempt, kind")
    assert [tokens(row) for row in costs] == [
        ("lost", 400, 0, 100),
        ("lost", None, None, None),
        ("finished", 200, 300, 0),
    ]
    assert [row["device_seconds"] for row in costs] == [RATE.seconds(750), RATE.seconds(250), RATE.seconds(50)]


def test_of_an_unfinished_document_the_snapshot_itself_tells_how_far_a_lost_attempt_came(ledger, tmp_path):
    worker = Worker(ledger, Random(0))
    worker.take([Document("one", "/one", "v1", 500)])
    worker.advance(["one"], 300)
    worker.heartbeat()
    worker.advance(["one"], 300)
    worker.save("one")
    saved = worker.read["one"]
    job = commit(ledger, [document("one")], stopped=True)
    (lost,) = Warehouse(ledger.output_uri).rows("select * from costs where kind = 'document'")
    assert tokens(lost) == ("lost", saved, 0, None)
    assert job["tokens_read"] == saved


def test_a_state_that_another_run_kept_says_nothing_of_this_ones_attempts(ledger):
    """Both attempts start from it; what the first read beyond it is lost."""
    for attempt, actor in ((1, "a0"), (2, "a1")):
        assert begin(ledger, "one", attempt, actor=actor, tokens_before=100, state_uri="elsewhere")
    known = replace(underway("one", 70, saved=0), tokens_read=30, tokens_resumed=100)
    ledger.publish_heartbeat(Heartbeat(reading("a0", total=70), (known,)))
    write(ledger, with_tokens(entry("one", 50, 1, attempt=2), read=200, resumed=100) | {"state_uri": "elsewhere"})
    commit(ledger, [document("one")])
    costs = Warehouse(ledger.output_uri).rows("select * from costs where kind = 'document' order by attempt")
    assert [tokens(row) for row in costs] == [("lost", 30, 100, 30), ("finished", 200, 100, 0)]


def with_tokens(one: Entry, read: int, resumed: int) -> Entry:
    return one | {"tokens_read": read, "tokens_resumed": resumed}


def tokens(row: dict) -> tuple:
    return row["outcome"], row["tokens_read"], row["tokens_resumed"], row["tokens_wasted"]


@pytest.mark.parametrize("currencies", [("USD", "EUR"), ("EUR", "USD")])
def test_costs_in_two_currencies_are_not_summed(ledger, currencies):
    for name, actor, currency in zip(("one", "two"), ("a1", "a2"), currencies, strict=True):
        made = replace_reading(entry(name, 10, 1), currency=currency, actor_id=actor) | {"actor_id": actor}
        assert begin(ledger, name, actor=actor)
        ledger.publish_segment(actor, 1, pa.Table.from_pylist([made], ENTRY))
    with pytest.raises(LedgerError, match="EUR and USD"):
        commit(ledger, [document("one"), document("two")])
    assert commits.newest(ledger) is None


def test_a_failure_of_what_is_no_longer_there_is_none(ledger):
    publish(ledger, entry("gone", 10, 1, "failed"), entry("changed", 5, 2, "failed", total=15))
    documents = [document("changed", "v2"), document("new")]
    job = commit(ledger, documents, stopped=True)
    assert counts_of(job) == ("stopped", 2, 0, 0, 2)
    publish(ledger, entry("changed", 5, 3, etag="v2", total=20), entry("new", 5, 4, total=25))
    assert counts_of(commit(ledger, documents)) == ("succeeded", 2, 2, 0, 0)
    assert not objects.list_files(objects.join(ledger.output_uri, "failures"))


def counts_of(job: dict) -> tuple:
    return job["status"], *(job[f"documents_{name}"] for name in ("total", "succeeded", "failed", "left"))


def test_a_run_that_goes_on_is_described_by_its_last_start(ledger):
    publish(ledger, entry("one", 10, 1))
    asked = ABOUT["config"] | {"run": {"deadline": "07:00"}}
    ledger.begin(ABOUT | {"started_at": (NOON + timedelta(days=1)).isoformat(), "config": asked})
    job = commit(ledger, [document("one")])
    assert (json.loads(job["config"]), job["started_at"]) == (asked, NOON)


def test_an_attempt_of_which_nothing_is_known_is_still_a_row(ledger):
    begin(ledger, "one", 1, actor="gone")
    publish(ledger, entry("one", 10, 1, attempt=2))
    commit(ledger, [document("one")])
    (lost,) = Warehouse(ledger.output_uri).rows("select * from costs where outcome = 'lost'")
    assert (lost["attempt"], lost["actor_id"], lost["device_seconds"], lost["cost"]) == (1, "gone", 0, 0)


def test_a_run_that_stops_commits_what_there_is_and_a_summary_so_far_is_replaced_later(ledger):
    publish(ledger, entry("one", 10, 1), entry("two", 20, 2, "stopped", total=30))
    documents = [document("one"), document("two"), document("three")]
    with pytest.raises(LedgerError, match="two"):
        commit(ledger, documents)
    job = commit(ledger, documents, stopped=True)
    assert (job["status"], job["documents_left"], job["documents_succeeded"]) == ("stopped", 2, 1)
    assert not commits.is_complete(ledger)
    rows = "select document_id, summary, truncated, cost from summaries order by 1"
    assert [row["truncated"] for row in Warehouse(ledger.output_uri).rows(rows)] == [False, True]

    publish(ledger, entry("two", 5, 3, attempt=2, total=35), entry("three", 5, 4, total=40))
    assert commit(ledger, documents, start=2)["status"] == "succeeded" and commits.is_complete(ledger)
    after = Warehouse(ledger.output_uri).rows(rows)
    assert [(row["summary"], row["truncated"]) for row in after] == [
        ("one 1", False),
        ("three 4", False),
        ("two 3", False),
    ]
    assert after[2]["cost"] == RATE.cost(25)


def test_snapshots_of_finished_documents_are_swept(ledger):
    publish(ledger, entry("one", 10, 1))
    keys = {name: document_key(name, "v1") for name in ("one", "two")}
    for key in keys.values():
        objects.publish(ledger.snapshot_uri(key), b"state")
        objects.publish(objects.join(ledger.snapshot_uri(key).removesuffix(".safetensors"), "0-9"), b"segment")
    left_behind = objects.join(ledger.uri, "snapshots", document_key("one", "v0"), "0-9")
    objects.publish(left_behind, b"of a content that nobody finished")
    commit(ledger, [document("one"), document("two")], stopped=True)
    assert list(ledger.snapshots()) == [keys["two"]]
    left = objects.list_files(objects.join(ledger.uri, "snapshots"))
    assert len(left) == 3 and left_behind in left and not any(keys["one"] in uri for uri in left)


@pytest.mark.parametrize("error", [LedgerError, StorageError])
def test_a_driver_whose_run_was_taken_over_takes_its_files_back(ledger, error):
    """It asks when all of them are there, right before they would count."""
    publish(ledger, entry("one", 10, 1))
    commit(ledger, [document("one")])
    before = commits.files(ledger.output_uri, TABLES)

    def lost() -> None:
        assert len(objects.list_files(objects.join(ledger.output_uri, "summaries"))) == 2
        raise error("another driver, or a store that does not answer")

    with pytest.raises(error, match="another driver"):
        commit(ledger, [document("one")], start=2, confirm=lost)
    assert commits.files(ledger.output_uri, TABLES) == before
    for table in TABLES:
        assert objects.list_files(objects.join(ledger.output_uri, table)) == before[table]


def test_runs_are_found_without_listing_what_is_in_them(ledger, monkeypatch):
    Ledger(ledger.output_uri, "later").begin(ABOUT | {"started_at": (NOON + timedelta(days=1)).isoformat()})
    objects.publish(objects.join(ledger.output_uri, "_runs", "refused", "starts", "0001.json"), b"{}")
    monkeypatch.setattr(objects, "walk", lambda *_: pytest.fail("a listing of everything"))
    assert [run.run_id for run in runs(ledger.output_uri)] == ["later", "r1"]


def test_a_commit_holds_rows_of_few_documents_at_a_time(ledger, monkeypatch):
    """A thousand more documents, each with 20 KB of summary, take no memory for their texts."""
    monkeypatch.setattr(commits, "ROWS_PER_FILE", 100)
    monkeypatch.setattr(commits, "ROWS_AT_ONCE", 10)
    peaks = []
    for count in (100, 1100):
        names = [f"document {number}" for number in range(len(ledger.segments()) * 100, count)]
        for start in range(0, len(names), 100):
            made = [entry(name, 1, 1, total=10_000) for name in names[start : start + 100]]
            for each in made:
                each["summaries"][0]["summary"] = each["document_id"] * 2000
                assert begin(ledger, each["document_id"])
            write(ledger, *made)
        listed = [document(f"document {number}") for number in range(count)]
        tracemalloc.start()
        commit(ledger, listed, start=count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert Warehouse(ledger.output_uri).rows("select count(*) as n from summaries") == [{"n": 1100}]
    per_document = (peaks[1] - peaks[0]) / 1000
    assert per_document < 3_000
