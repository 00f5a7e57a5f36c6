"""What goes by age and by size is what no run needs: tables, runs under way and what is young stay."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from configs.errors import ConfigError
from pipeline.driver.prepare import refuse_other_settings
from pipeline.ledger import lease
from pipeline.ledger.lease import Lease
from pipeline.ledger.run_folder import Ledger
from pipeline.states import retention
from pipeline.states.retention import prunable, prune
from pipeline.storage import objects
from tests.kept_states import Keeper
from tests.outputs import cost_row, write_part

DAY = timedelta(days=1)
KIB = 1024


class Output:
    """Runs that began and ended some days ago, with a kibibyte in each part of their ledgers."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def run(self, name: str, days_ago: float, status: str | None = "succeeded") -> Ledger:
        ledger, at = Ledger(self.uri, name), datetime.now(UTC) - timedelta(days=days_ago)
        ledger.begin({"started_at": at.isoformat(), "config": {"price": {"currency": "USD"}}, "settings_sha256": "s"})
        start = f'{{"started_at": "{at.isoformat()}", "host": "h", "pid": 1, "machine": null}}'
        self.put(ledger, "starts/0001.json", start.encode())
        self.put(ledger, "starts/0001.alive", lease.ENDED)
        for part in ("manifests/0001.parquet", "segments/a/000001.parquet", "snapshots/d.safetensors"):
            self.put(ledger, part, bytes(KIB))
        if status:
            marker = f'{{"status": "{status}", "number": 1, "committed_at": "{at.isoformat()}"}}'
            objects.publish(f"{self.uri}/_commits/{name}/0001.json", marker.encode())
        return ledger

    @staticmethod
    def put(ledger: Ledger, name: str, data: bytes) -> None:
        objects.publish(objects.join(ledger.uri, name), data)

    def going(self, days: float, max_bytes: int | None = None) -> list[tuple[str, str, int]]:
        found = prunable(self.uri, timedelta(days=days), max_bytes)
        return [(each.kind, each.name, len(each.uris)) for each in found]


@pytest.fixture
def output(tmp_path) -> Output:
    return Output(str(tmp_path))


def test_by_age_ledgers_of_whole_runs_and_snapshots_of_those_left_behind(output):
    output.run("old", 40)
    output.run("left", 35, "stopped")
    output.run("never", 33, status=None)
    output.run("new", 3)
    assert output.going(30) == [("ledger", "old", 3), ("snapshots", "left", 1), ("snapshots", "never", 1)]
    assert output.going(2)[-1] == ("ledger", "new", 3)
    assert output.going(100) == []


def test_by_size_the_oldest_first_but_none_of_today(output):
    output.run("older", 3)
    output.run("newer", 2)
    output.run("today", 0.5)
    assert output.going(30, 6 * KIB) == [("ledger", "older", 3)]
    assert output.going(30, 5 * KIB) == [("ledger", "older", 3), ("ledger", "newer", 3)]
    assert output.going(30, 0) == [("ledger", "older", 3), ("ledger", "newer", 3)]


def test_nothing_of_a_run_that_is_at_work(output, monkeypatch):
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    ledger = output.run("long", 40, "stopped")
    with Lease(ledger):
        for path in Path(ledger.uri, "starts").glob("0002.json"):
            path.write_text(path.read_text().replace(f'"started_at": "{datetime.now(UTC):%Y}', '"started_at": "2020'))
        assert output.going(30) == []
    assert output.going(30) == [("snapshots", "long", 1)]


def test_what_is_gone_is_the_ledger_and_the_run_is_not_resumed(output):
    table = write_part(Path(output.uri), "costs", "old", [cost_row("idle", "1")])
    ledger = output.run("old", 40)
    prune(output.uri, prunable(output.uri, 30 * DAY))
    left = {Path(each.uri).relative_to(ledger.uri).as_posix() for each in objects.walk(ledger.uri)}
    assert left == {"run.json", "pruned.json", "starts/0001.json", "starts/0001.alive"}
    assert table.exists()
    assert output.going(30) == []
    with pytest.raises(ConfigError, match=r"^run\.id = 'old': jobs.runs prune has removed"):
        refuse_other_settings(ledger, "s", "USD")


def test_a_prune_that_died_half_way_leaves_no_run_that_can_be_resumed(output, monkeypatch):
    ledger = output.run("old", 40)

    def fail(uri: str) -> None:
        raise OSError(uri)

    monkeypatch.setattr(retention.objects, "delete", fail)
    with pytest.raises(OSError, match="old"):
        prune(output.uri, prunable(output.uri, 30 * DAY))
    assert ledger.is_pruned()


def test_states_go_when_they_have_expired_and_the_oldest_where_there_are_too_many(tmp_path):
    keeper = Keeper(str(tmp_path))
    keeper.keep(
        keeper.row("a.txt", "aa", days_old=9, days_left=-1),
        keeper.row("b.txt", "bb", days_old=8, days_left=5),
        keeper.row("c.txt", "cc", days_old=7, days_left=5),
        keeper.row("d.txt", "dd", days_old=0.5, days_left=5),
    )
    output = Output(str(tmp_path))
    assert output.going(30) == [("states", "", 1)]
    assert output.going(30, 20) == [("states", "", 1), ("states", "b.txt", 1)]
    assert output.going(30, 0) == [("states", "", 1), ("states", "b.txt", 1), ("states", "c.txt", 1)]
    prune(output.uri, prunable(output.uri, 30 * DAY, 20))
    assert keeper.ends() == ["cc", "dd"]
