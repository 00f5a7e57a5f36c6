"""Key sentences of a novel and of a log of a million tokens: found where they say, whatever happens to the run."""

import json
import random
import signal
import subprocess
from pathlib import Path

import pytest

from jobs import exits
from pipeline.ledger.run_folder import Ledger
from pipeline.reports.warehouse import Warehouse
from tests.jobs.conftest import ROOT
from tests.jobs.test_summarize import assert_costs_add_up, tokens_underway
from tests.waiting import wait_for

NOVEL = ROOT.parent / "shared/data/stress/war-and-peace.txt"
ASKED = ("prompts=[{name: key_points, kind: extract, max_words: 120}]", "price.cpu_hour=3.6")
SLOW = ("run.id=stopped", "engine.step_tokens=64", "run.heartbeat_seconds=1")
"""So slowly that both are far from their end when they are stopped."""
EVENTS = (
    "The scheduler moved the job to node {}, since the one before had no memory left for it.",
    "Request {} was answered with an error of the storage service and is tried again.",
    "User {} has signed in from a new address and was asked for a second factor.",
    "The nightly backup of volume {} was finished and its checksum was found to be right.",
)
LOG_TOKENS = 1_000_000


def log_lines(num_lines: int) -> str:
    chance = random.Random(7)
    lines = (
        f"2026-11-{1 + number // 2400:02d}T{number // 100 % 24:02d}:{number % 60:02d}:00Z INFO "
        f"{chance.choice(EVENTS).format(chance.randrange(10_000))}"
        for number in range(num_lines)
    )
    return "\n".join(lines) + "\n"


@pytest.fixture
def documents(tmp_path) -> Path:
    if not NOVEL.exists():
        pytest.skip("../shared is absent")
    folder = tmp_path / "long"
    folder.mkdir()
    (folder / "novel.txt").symlink_to(NOVEL)
    (folder / "log.txt").write_text(log_lines(33_000))
    return folder


@pytest.mark.slow
def test_stopped_inside_both_and_resumed_they_are_the_same_and_every_byte_is_where_it_says(
    summarize, documents, warm, tmp_path
):
    command = summarize.command([str(documents)], *ASKED, *SLOW)
    ledger = Ledger(summarize.output, "stopped")
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as job:
        wait_for(lambda: len(tokens_underway(ledger)) == 2 and min(tokens_underway(ledger).values()) > 50_000)
        job.send_signal(signal.SIGINT)
        _, told = job.communicate()
        assert job.returncode == exits.INTERRUPTED, told
    finished = summarize([str(documents)], *ASKED, "run.id=stopped")
    assert finished.returncode == exits.SUCCESS, finished.stderr
    rows = rows_of(summarize.output)
    assert all(50_000 < row["tokens_resumed"] < row["tokens_read"] for row in rows.values())
    assert rows[str(documents / "log.txt")]["tokens_read"] >= LOG_TOKENS
    assert_costs_add_up(summarize.output)

    summarize.output = str(tmp_path / "whole")
    whole = summarize([str(documents)], *ASKED)
    assert whole.returncode == exits.SUCCESS, whole.stderr
    undisturbed = rows_of(summarize.output)
    assert {row["tokens_resumed"] for row in undisturbed.values()} == {0}
    for name, row in undisturbed.items():
        assert {column: rows[name][column] for column in ("summary", "sentences", "tokens_read")} == {
            column: row[column] for column in ("summary", "sentences", "tokens_read")
        }

    shown = warm("jobs.extract", [str(documents), "--json"]).stdout.splitlines()
    texts = {line["document_id"]: line["text"].encode() for line in map(json.loads, shown)}
    for name, row in rows.items():
        assert 80 <= sum(len(sentence["text"].split()) for sentence in row["sentences"]) <= 120
        for sentence in row["sentences"]:
            between = texts[name][sentence["start"] : sentence["end"]].decode()
            assert " ".join(between.split()) == sentence["text"]


def rows_of(output: str) -> dict[str, dict[str, object]]:
    return {row["document_id"]: row for row in Warehouse(output).rows("select * from summaries")}
