"""A run that stops at its budget goes on inside the same documents; of one that has grown, what is new is read."""

import json
import re
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pydoc_data.topics import topics

from jobs import exits
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.ledger.run_folder import Ledger
from pipeline.reports.warehouse import Warehouse
from pipeline.storage import objects
from tests.jobs.conftest import ROOT
from tests.jobs.test_summarize import assert_costs_add_up, tokens_underway
from tests.waiting import wait_for

BOOK = "\n\n".join(topics.values())
DEAR = ("price.cpu_hour=3.6", "incremental=true", "states.storage_gib_month=0")
SLOW = (*DEAR, "run.id=stopped", "engine.step_tokens=32", "run.summary_so_far=true")
"""So slowly that long documents are far from their end whenever it is stopped, on whatever machine."""


def test_stopped_twice_finished_by_the_next_start_and_grown_at_the_price_of_what_is_new(
    summarize, tmp_path, small_model
):
    folder = tmp_path / "docs"
    folder.mkdir()
    paths = [folder / f"{name}.txt" for name in ("inline", "streamed", "short")]
    texts = [BOOK[:160_000], BOOK[:180_000], BOOK[:900]]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    handles = "input.inline_bytes=170000"
    lengths = {str(path): num_tokens(text, small_model) for path, text in zip(paths, texts, strict=True)}

    stopped = summarize([str(folder)], *SLOW, handles, "run.budget_usd=0.004")
    assert stopped.returncode == exits.STOPPED, stopped.stderr
    assert "this start has spent run.budget_usd = 0.004; " in stopped.stderr
    assert_stopped(summarize.output, lengths)
    assert Warehouse(summarize.output).rows("select cost >= 0.004 as spent from jobs") == [{"spent": True}]

    # How far a budget takes it depends on the machine; this is stopped when it has read some.
    command = summarize.command([str(folder)], *SLOW, handles)
    ledger = Ledger(summarize.output, "stopped")
    before = {heartbeat.reading.actor_id for heartbeat in ledger.heartbeats()}
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as job:
        wait_for(lambda: sum(tokens_underway(ledger, before).values()) > 2000)
        job.send_signal(signal.SIGINT)
        _, told = job.communicate()
        assert job.returncode == exits.INTERRUPTED, told
    so_far = assert_stopped(summarize.output, lengths)
    assert len(so_far) > 0

    finished = summarize([str(folder)], *DEAR, "run.id=stopped", handles, "run.budget_usd=9")
    assert finished.returncode == exits.SUCCESS, finished.stderr
    tables = Warehouse(summarize.output)
    (job,) = tables.rows("select * from jobs")
    assert (job["status"], job["documents_left"], job["tokens_read"]) == ("succeeded", 0, sum(lengths.values()))
    rows = {row["document_id"]: row for row in tables.rows("select * from summaries")}
    assert {name: row["tokens_read"] for name, row in rows.items()} == lengths
    assert not any(row["truncated"] for row in rows.values())
    assert {name: rows[name]["tokens_resumed"] for name in so_far} == {
        name: row["tokens_read"] for name, row in so_far.items()
    }
    assert tables.rows("select * from costs where kind = 'wasted' and cost > 0") == []
    document_costs = tables.rows("select sum(cost) as cost from costs where kind = 'document'")
    assert tables.rows("select sum(cost) as cost from summaries") == document_costs
    assert_costs_add_up(summarize.output)
    assert not objects.list_files(f"{summarize.output}/_runs", ".safetensors")

    paths[0].write_text(texts[0] + BOOK[160_000:164_000])
    paths[1].write_text("Another beginning. " + texts[1])
    grown = summarize([str(folder)], *DEAR, handles)
    assert grown.returncode == exits.SUCCESS, grown.stderr
    costs = {
        row["document_id"]: row
        for row in Warehouse(summarize.output).rows(
            "select * from costs where kind = 'document' and run_id = (select max_by(run_id, started_at) from jobs)"
        )
    }
    assert set(costs) == {str(path) for path in paths[:2]}
    appended, changed = (costs[str(path)] for path in paths[:2])
    total = num_tokens(paths[0].read_text(), small_model)
    assert appended["tokens_read"] + appended["tokens_resumed"] == total
    assert appended["tokens_read"] < 0.07 * total
    assert (changed["tokens_resumed"], changed["tokens_read"]) == (0, num_tokens(paths[1].read_text(), small_model))
    whole = summarize([str(paths[0])], *DEAR, f"output.uri={tmp_path / 'whole'}")
    assert whole.returncode == exits.SUCCESS, whole.stderr
    (anew,) = Warehouse(str(tmp_path / "whole")).rows("select summary from summaries")
    (summary,) = Warehouse(summarize.output).rows(
        f"select max_by(summary, started_at) as summary from summaries where document_id = '{paths[0]}'"
    )
    assert summary == anew


def assert_stopped(output: str, lengths: dict[str, int]) -> dict[str, dict]:
    """Both long documents are left, and the state of whatever was begun is kept; summaries of what was read so far."""
    tables = Warehouse(output)
    (job,) = tables.rows("select * from jobs")
    assert job["status"] == "stopped" and job["documents_left"] >= 2
    assert job["documents_left"] + job["documents_succeeded"] == 3
    assert_costs_add_up(output)
    so_far = {row["document_id"]: row for row in tables.rows("select * from summaries where truncated")}
    assert all(0 < row["tokens_read"] < lengths[name] for name, row in so_far.items())
    assert len(objects.list_files(f"{output}/_runs", ".safetensors")) >= len(so_far)
    return so_far


def num_tokens(text: str, model: str) -> int:
    return len(tokenize.tokens([text], Tokenizer.load(Path(model))))


def test_a_deadline_that_has_passed_is_refused(summarize, tmp_path):
    (tmp_path / "one.txt").write_text("text")
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="seconds")
    refused = summarize([str(tmp_path / "one.txt")], f"run.deadline='{yesterday}'")
    assert refused.returncode == exits.REFUSED
    assert "run.deadline" in refused.stderr and "has passed" in refused.stderr


def test_a_wrong_text_field_stops_the_run_and_nobody_reads_the_rest(summarize, tmp_path):
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(json.dumps({"id": number, "text": "A line."}) + "\n" for number in range(2000)))
    stopped = summarize([str(lines)], "input.text_field=body", "run.max_failed_after=40")
    assert stopped.returncode == exits.TOO_MANY_FAILED, stopped.stderr
    (job,) = Warehouse(summarize.output).rows("select * from jobs")
    assert job["status"] == "stopped" and job["documents_failed"] >= 40 and job["documents_left"] > 0
    assert job["documents_failed"] + job["documents_left"] == 2000
    assert "documents failed, " in stopped.stderr and "'body'" in stopped.stderr.splitlines()[-1]
    assert "run.max_failed_share = 0.5" in stopped.stderr
    # What no actor had begun went through neither stage.
    (rest,) = [line for line in stopped.stderr.splitlines() if "rest_not_begun" in line]
    assert 0 < int(re.search(r"documents=(\d+)", rest)[1]) <= job["documents_left"]
