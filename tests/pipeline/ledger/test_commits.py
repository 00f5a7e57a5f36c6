"""A run's tables are those of one commit, whoever commits beside it and wherever a driver stops."""

import threading
from itertools import count

import pytest

from configs.errors import LedgerError
from pipeline.ledger import commits, history
from pipeline.ledger.commits import ORDER, Commit
from pipeline.ledger.run_folder import Ledger
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.tables import TABLES
from pipeline.storage import objects

DAY = "2026-03-01"
KEY = {"run_id": "r", "document_id": "a", "source_etag": "v1", "settings_sha256": "s"}


class PowerCut(Exception):  # noqa: N818  # no error of ours
    """The driver is gone."""


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(str(tmp_path), "r")


def rows_of(start: int) -> dict[str, list[dict]]:
    """A row of every table, which tells by whom it was written; the first start left more files than later ones."""
    tables = {name: [KEY | {"run_id": f"by {start}"}] for name in TABLES}
    return tables | {"summaries": tables["summaries"] * (3 if start == 1 else 1)}


def made(ledger: Ledger, start: int, status: str = "succeeded") -> Commit:
    new = Commit(ledger, start, DAY)
    new.write(rows_of(start))
    new.publish({"status": status})
    return new


def seen(ledger: Ledger) -> dict[str, set[str]]:
    """Who wrote the rows that a reader sees, by table."""
    files = commits.files(ledger.output_uri, TABLES)
    return {table: {name for file in files[table] for name in authors(file)} for table in TABLES}


def authors(file: str) -> list[str]:
    # The partition's own run id is no column here.
    return objects.read_table(file, ["run_id"])["run_id"].to_pylist()


def all_by(start: int | None) -> dict[str, set[str]]:
    return {table: set() if start is None else {f"by {start}"} for table in TABLES}


def lying_about(ledger: Ledger) -> list[str]:
    """Every file of the tables, counted or not: what a plain `read_parquet` sees."""
    return [file for table in TABLES for file in objects.list_files(f"{ledger.output_uri}/{table}")]


@pytest.fixture(autouse=True)
def small_files(monkeypatch):
    monkeypatch.setattr(commits, "ROWS_PER_FILE", 1)


@pytest.mark.parametrize("before", [None, 1], ids=["first commit", "second commit"])
def test_at_each_moment_of_a_commit_readers_see_one_whole_commit(ledger, monkeypatch, before):
    """And so they do when the driver is killed there; the next start's commit then leaves no stale file."""
    if before is not None:
        made(ledger, before)
    start = 1
    while True:
        start += 1
        with monkeypatch.context() as patch:
            kill_after(patch, start - 2)
            try:
                made(ledger, start)
                break
            except PowerCut:
                before = start if is_committed(ledger, start) else before
        assert seen(ledger) == all_by(before)
    assert start > len(ORDER) + 2
    assert seen(ledger) == all_by(start)
    assert len(lying_about(ledger)) == len(TABLES)
    markers = objects.list_files(f"{ledger.output_uri}/_commits")
    assert markers == [f"{ledger.output_uri}/_commits/r/{start:04d}.json"]


def is_committed(ledger: Ledger, start: int) -> bool:
    return objects.exists(f"{ledger.output_uri}/_commits/r/{start:04d}.json")


def kill_after(patch: pytest.MonkeyPatch, operations: int) -> None:
    """The driver dies when it has changed something in the store so many times."""
    done, thread = count(), threading.get_ident()

    def dying(operation):
        def call(*arguments):
            # An actor of an earlier test may still write its heartbeats.
            if threading.get_ident() == thread and next(done) == operations:
                raise PowerCut
            return operation(*arguments)

        return call

    for name in ("publish", "publish_table", "delete"):
        patch.setattr(objects, name, dying(getattr(objects, name)))


def test_what_a_plain_reader_sees_first_is_the_costs_and_last_the_summaries(ledger, monkeypatch):
    written = []
    publish = objects.publish_table
    monkeypatch.setattr(objects, "publish_table", lambda uri, table: (written.append(uri), publish(uri, table)))
    made(ledger, 2)
    tables = [uri.removeprefix(ledger.output_uri).split("/")[1] for uri in written]
    assert tables == ["costs", "jobs", "states", "failures", "summaries"]


STEPS = ("write", "confirm", "marker")


@pytest.mark.parametrize("woken", range(4))
def test_a_driver_that_was_frozen_in_its_commit_changes_nothing_of_its_successors(ledger, woken):
    """Frozen after so many steps, it wakes when its successor has committed and swept."""
    made(ledger, 1)
    older = Commit(ledger, 2, DAY)
    steps = [lambda: older.write(rows_of(2)), lambda: None, lambda: older.publish({"status": "succeeded"})]
    for step in steps[:woken]:
        step()
    made(ledger, 3)
    before = lying_about(ledger)
    assert seen(ledger) == all_by(3) and len(before) == len(TABLES)
    if woken < 3:
        for step in steps[woken:2]:
            step()
        # As though the lease had not told it, which it does: `commit` asks between the files and the marker.
        with pytest.raises(LedgerError, match="a later start"):
            steps[2]()
    assert lying_about(ledger) == before
    assert seen(ledger) == all_by(3)
    marker = commits.newest(ledger)
    assert marker is not None and marker["number"] == 3


def test_whoever_sweeps_late_removes_nothing_newer(ledger):
    older = Commit(ledger, 2, DAY)
    older.write(rows_of(2))
    made(ledger, 3)
    older._sweep()
    assert seen(ledger) == all_by(3)


def test_readers_that_list_while_a_run_is_committed_look_again(ledger, monkeypatch):
    """At whichever listing the commit comes in between."""
    made(ledger, 1)
    listed = objects.list_files
    for at in range(1 + len(TABLES) + 1):
        calls, start = [0], 2 + at

        def with_a_commit(uri, suffix="", calls=calls, start=start, at=at):
            calls[0] += 1
            if calls[0] == at + 1:
                made(ledger, start)
            return listed(uri, suffix)

        monkeypatch.setattr(objects, "list_files", with_a_commit)
        files = commits.files(ledger.output_uri, TABLES)
        monkeypatch.setattr(objects, "list_files", listed)
        by = {name for found in files.values() for file in found for name in authors(file)}
        assert by == {f"by {start}"}


def test_a_query_whose_files_a_commit_sweeps_away_is_asked_again(ledger):
    made(ledger, 1)
    tables = Warehouse(ledger.output_uri)
    made(ledger, 2)
    assert tables.rows("select count(*) as n from summaries") == [{"n": 1}]
    assert tables.rows("select count(*) as n from costs") == [{"n": 1}]


def test_what_no_marker_names_is_not_there(ledger):
    """For questions, for the next run's list of what is done, and for kept states."""
    new = Commit(ledger, 1, DAY)
    new.write(rows_of(1))
    assert Warehouse(ledger.output_uri).rows("select * from summaries") == []
    assert history.done_in_other_runs(ledger.output_uri, "s", "other") == set()
    new.publish({"status": "succeeded"})
    assert history.done_in_other_runs(ledger.output_uri, "s", "other") == {("a", "v1")}


def test_what_failed_for_its_content_is_known_to_other_runs(ledger):
    common = {"run_id": ledger.run_id, "source_etag": "v1", "settings_sha256": "s"}
    classes = {"empty": "EmptyDocumentError", "damaged": "CorruptError", "gone": "UnreadableError", "?": "NoSuchError"}
    rows = [common | {"document_id": name, "error_class": error} for name, error in classes.items()]
    failed = Commit(ledger, 1, DAY)
    failed.write({name: iter(rows if name == "failures" else []) for name in rows_of(1)})
    failed.publish({"status": "partial"})
    found = history.failed_in_other_runs(ledger.output_uri, "s", "other")
    assert found == {("empty", "v1"), ("damaged", "v1")}
    assert not history.failed_in_other_runs(ledger.output_uri, "other settings", "other")
    assert not history.failed_in_other_runs(ledger.output_uri, "s", ledger.run_id)


def test_old_partitions_may_be_deleted(ledger):
    made(ledger, 1)
    for file in objects.list_files(f"{ledger.output_uri}/summaries"):
        objects.delete(file)
    assert Warehouse(ledger.output_uri).rows("select * from summaries") == []
    assert len(Warehouse(ledger.output_uri).rows("select * from costs")) == 1


def test_runs_do_not_count_for_one_another(ledger):
    made(ledger, 2)
    other = Ledger(ledger.output_uri, "other")
    made(other, 1)
    made(other, 3)
    assert seen(ledger)["jobs"] == {"by 2", "by 3"}
    assert {name: commits.newest(each)["number"] for name, each in (("r", ledger), ("other", other))} == {
        "r": 2,
        "other": 3,
    }


def test_a_run_is_complete_when_what_was_begun_last_is_committed(ledger):
    assert not commits.is_complete(ledger)
    ledger.write_manifest([], 1)
    assert not commits.is_complete(ledger)
    made(ledger, 1, "stopped")
    assert not commits.is_complete(ledger)
    # A start that finds all done by its predecessor, which died before its commit, has no manifest.
    made(ledger, 2)
    assert commits.is_complete(ledger)
    # A crash after more work was begun, and before it was committed.
    ledger.write_manifest([], 3)
    assert not commits.is_complete(ledger)
    made(ledger, 4)
    assert commits.is_complete(ledger)
