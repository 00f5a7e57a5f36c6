"""`jobs.runs` and `jobs.status` on outputs that no run wrote."""

import json
from datetime import date
from io import StringIO
from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.loader import load
from configs.settings import SummarizeConfig
from jobs import runs, status
from pipeline.reports.warehouse import Warehouse
from tests import documented
from tests.nights import write_nights
from tests.pipeline.reports.test_standing import begun, ended
from tests.pipeline.states.test_retention import Output

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def output(tmp_path) -> Output:
    made = Output(str(tmp_path / "output"))
    made.run("old", 40)
    made.run("new", 2, "stopped")
    return made


def test_a_dry_run_removes_nothing_and_without_a_terminal_it_takes_a_yes(output, capsys, monkeypatch):
    runs.prune(output.uri, older_than=30, dry_run=True)
    assert (
        "ledger of old, last used 40d ago: 3 objects, 3 KiB\nwould remove 3 objects, 3 KiB" in capsys.readouterr().out
    )
    monkeypatch.setattr("sys.stdin", StringIO())
    with pytest.raises(ConfigError, match="--yes"):
        runs.prune(output.uri, older_than=30)
    assert output.going(30)
    runs.prune(output.uri, older_than=30, yes=True)
    assert "removed 3 objects, 3 KiB" in capsys.readouterr().out
    assert output.going(30) == []


def test_the_list_names_each_run_with_its_status(output, capsys):
    runs.prune(output.uri, older_than=30, yes=True)
    capsys.readouterr()
    runs.list_runs(output.uri)
    new, old = capsys.readouterr().out.splitlines()[-2:]
    assert "new" in new and "stopped" in new
    assert "old" in old and "pruned" in old


def test_the_settings_that_are_shown_can_be_run_again(tmp_path, capsys):
    config = load(SummarizeConfig, Path("configs/demo.yaml"), ["run.budget_usd=0.5", "engine.actors=3"])
    ledger = Output(str(tmp_path)).run("one", 1)
    ledger.begin({"started_at": "2026-11-26T01:00:00+00:00", "config": config.model_dump(mode="json")})
    runs.show(str(tmp_path), "one")
    shown = capsys.readouterr().out
    assert "# start 1: " in shown and "# snapshots: 1 KiB" in shown
    (tmp_path / "again.yaml").write_text(shown)
    assert load(SummarizeConfig, tmp_path / "again.yaml") == config
    with pytest.raises(ConfigError, match="there is no run 'two'"):
        runs.show(str(tmp_path), "two")


def test_a_run_that_ended_says_how_to_go_on(tmp_path, capsys):
    ended(begun(str(tmp_path), "one"), ("a", "finished"), ("b", "failed"))
    status.status(str(tmp_path), as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["run_id"], found["state"], found["cost"], found["underway"]) == ("one", "ended", "0", [])
    assert (found["succeeded"], found["failed"], found["left"]) == (1, 1, 2)
    status.status(str(tmp_path), "one")
    shown = capsys.readouterr().out
    assert "one: ended before it was committed; the same command resumes it" in shown
    assert "1 of 4 done, 1 failed, 2 left" in shown


def test_what_the_runbook_deletes_is_gone_and_the_rest_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_nights(tmp_path / "output", date(2026, 3, 7))
    tables = Warehouse("output")
    (gone,) = tables.rows("select max(document_id) as name, count(*) as n from summaries")
    (code,) = (block for block in documented.blocks(OPERATIONS.read_text(), "python") if "write_table" in block)
    exec(code.replace("report.txt", gone["name"]), {})
    left = Warehouse("output").rows(
        "select count(*) as n, count_if(document_id = $name) as of_it from summaries", name=gone["name"]
    )
    assert left[0]["of_it"] == 0
    assert 0 < left[0]["n"] < gone["n"]
