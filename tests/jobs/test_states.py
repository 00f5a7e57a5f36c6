"""`python -m jobs.states` as a person runs it, over what a run has kept of documents that are gone."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, NamedTuple

import pytest

from jobs import command, exits
from jobs import states as job
from pipeline.reports.warehouse import Warehouse
from pipeline.storage import objects
from pipeline.telemetry import logs
from tests.jobs.conftest import ROOT, Summarize
from tests.jobs.warm import Warm
from tests.kept_states import Keeper

QUESTION = "Which words come up?"
LONG = sorted((text for text in topics.values() if 9000 < len(text) < 16_000), key=len)[:2]
NAMES = ("first topic.txt", "second topic.txt")


class Ended(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def states(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """The command line, in this process."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["states", *arguments])
        # Of this process there is more to log than of the job.
        monkeypatch.setattr(logs, "configure", lambda: None)
        with pytest.raises(SystemExit) as ended:
            command.run_several(job.COMMANDS, job.ABOUT)
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def read(small_model: str, warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """An output with states of two documents and none of a short one; what a full reading answers to QUESTION."""
    root = tmp_path_factory.mktemp("states")
    folder = root / "documents"
    folder.mkdir()
    for name, text in zip(NAMES, LONG, strict=True):
        (folder / name).write_text(text)
    (folder / "short.txt").write_text("Too short to be kept.")
    kept, whole = (Summarize(small_model, str(root / name), warm) for name in ("kept", "whole"))
    prompt = f"prompts=[{{name: words, instruction: '{QUESTION}', max_tokens: 20}}]"
    for done in (kept([str(folder)], "incremental=true", "states.storage_gib_month=0"), whole([str(folder)], prompt)):
        assert done.returncode == exits.SUCCESS, done.stderr
    shutil.rmtree(folder)
    rows = Warehouse(whole.output).rows("select document_id, summary from summaries")
    return kept.output, {Path(row["document_id"]).name: row["summary"] for row in rows}


@pytest.fixture
def output(read: tuple[str, dict[str, str]], tmp_path: Path) -> str:
    """A copy of its own."""
    return shutil.copytree(read[0], tmp_path / "output").as_posix()


@pytest.fixture
def listed(states) -> Callable[..., list[dict[str, Any]]]:
    return lambda *arguments: json.loads(states("list", *arguments, "--json").stdout)


def test_the_list_says_what_is_kept_and_how_long(output, states, listed):
    shown = states("list", output)
    assert shown.returncode == exits.SUCCESS, shown.stderr
    found = listed(output)
    assert {Path(each["document_id"]).name for each in found} == set(NAMES)
    total = sum(each["size_bytes"] for each in found)
    for each in found:
        assert 0 < each["tokens"] < each["tokens_total"] and each["lineage"] == []
        assert each["state_uri"].removesuffix(".safetensors")[-12:] in shown.stdout
    assert re.search(r" (29d 23h|30d) ", shown.stdout) and "2 states, " in shown.stdout and total > 1000
    assert [Path(each["document_id"]).name for each in listed(output, "--document", "first")] == [NAMES[0]]
    assert listed(output, "--model", "no such model") == []


@pytest.mark.parametrize("name", NAMES)
def test_a_document_that_is_gone_answers_as_a_full_reading_did(read, name, states, listed, warm):
    output, answers = read
    asked = states("ask", output, name, QUESTION, "--max-tokens", "20", "--json")
    assert asked.returncode in (exits.SUCCESS, exits.PARTIAL), asked.stderr
    reply = json.loads(asked.stdout)
    assert reply["answer"] == answers[name]
    assert answers[NAMES[0]] != answers[NAMES[1]]
    (row,) = listed(output, "--document", name)
    tail = row["tokens_total"] - row["tokens"]
    assert tail < reply["tokens_read"] < tail + 200 and tail < row["tokens"]
    assert 0 < reply["tokens"] <= 20 and reply["seconds"] > 0
    (summary,) = Warehouse(output).rows(
        "select summary from summaries where document_id = $id", id=reply["document_id"]
    )
    again = warm("jobs.states", ["ask", output, reply["state_uri"], "Summarize.", "--max-tokens", "12"])
    # Without what could steer a terminal.
    assert again.stdout.removesuffix("\n") == job._printable(summary["summary"])


def test_an_answer_that_does_not_fit_its_schema_has_an_exit_code_of_its_own(read, tmp_path, states):
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object", "required": ["words"]}')
    asked = states("ask", read[0], NAMES[0], QUESTION, "--max-tokens", "8", "--json-schema", str(schema), "--json")
    assert asked.returncode == exits.PARTIAL
    assert json.loads(asked.stdout)["finish_reason"] in ("schema", "copied", "empty", "loop")
    assert "the answer is unusable" in asked.stderr


def test_all_that_is_known_of_a_state_is_shown(read, states, listed):
    shown = states("show", read[0], "second")
    assert shown.returncode == exits.SUCCESS, shown.stderr
    for expected in ("state_key", "settings_sha256", "position", "checksum", "expires_at", "from the document's start"):
        assert expected in shown.stdout
    (row,) = listed(read[0], "--document", "second")
    assert row["state_key"] in "".join(shown.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["ask", "{output}", "topic", "What?"], "2 states are meant"),
        (["show", "{output}", "third"], "no document and no state of that name"),
        (["ask", "{output}", NAMES[0], " "], "says nothing"),
        (["ask", "{output}", NAMES[0], "What?", "--max-tokens", "0"], "max_tokens: "),
        (["ask", "{output}", NAMES[0], "What?", "--json-schema", "gone.json"], "the file cannot be read"),
        (["ask", "{output}", NAMES[0], "What?", "--model", "default"], "made by other weights"),
        (["ask", "{output}", NAMES[0], "What?", "--tokenizer", "default"], "another tokenizer"),
        (["expire", "{output}", "--document", "third"], "no state of such a document"),
        (["expire", "{output}", "--document", "first"], "first topic.txt"),
        (["expire", "{output}", "--all"], "--yes"),
        (["list", "{output}/nowhere"], "no run has written there"),
        (["forget", "{output}"], "No such command"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(read, arguments, reason, states):
    refused = states(*(each.format(output=read[0]) for each in arguments))
    assert refused.returncode == exits.REFUSED
    assert reason in refused.stderr and "Traceback" not in refused.stderr


def test_states_are_removed_and_their_rows_stay(output, states, listed):
    assert "removed 0 objects, 0 B" in states("expire", output).stdout
    tried = states("expire", output, "--all", "--dry-run").stdout
    assert "would remove 2 objects" in tried and all(name in tried for name in NAMES)
    assert len(listed(output)) == 2
    (first,) = (each["document_id"] for each in listed(output) if each["document_id"].endswith(NAMES[0]))
    assert "removed 1 object, " in states("expire", output, "--document", first).stdout
    assert [each["status"] for each in listed(output)] == ["kept"]
    shown = states("list", output, "--all").stdout
    assert "removed" in shown and "newest" in shown and "1 state, 1 removed" in shown
    refused = states("ask", output, NAMES[0], "What?")
    assert refused.returncode == exits.REFUSED and "was removed" in refused.stderr
    assert "removed" in states("show", output, NAMES[0]).stdout


class Terminal(io.StringIO):
    """Where a person types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """An output with three states of two documents, one of which has expired."""
    keeper = Keeper(str(tmp_path / "kept"))
    keeper.keep(keeper.row("a", "a1"), keeper.row("a", "a2", days_left=-1), keeper.row("ab", "b1"))
    return keeper


def test_only_the_document_of_exactly_that_id_loses_its_states(keeper, states):
    refused = states("expire", keeper.output, "--document", "b", "--yes")
    assert refused.returncode == exits.REFUSED and "ab" in refused.stderr
    assert states("expire", keeper.output, "--document", "a", "--yes").returncode == exits.SUCCESS
    assert keeper.ends() == ["b1"]


def test_without_a_terminal_more_than_one_state_goes_only_with_yes(keeper, states, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    refused = states("expire", keeper.output, "--all")
    assert refused.returncode == exits.REFUSED and keeper.ends() == ["a1", "a2", "b1"]
    assert "3 objects, 30 B" in refused.stderr and "--yes" in refused.stderr
    # One whose time is over needs no asking.
    assert states("expire", keeper.output).returncode == exits.SUCCESS and keeper.ends() == ["a1", "b1"]
    assert "removed 2 objects, 20 B" in states("expire", keeper.output, "--all", "--yes").stdout
    assert keeper.ends() == []


@pytest.mark.parametrize(("typed", "left"), [("y\n", []), ("n\n", ["a1", "a2", "b1"]), ("\n", ["a1", "a2", "b1"])])
def test_on_a_terminal_a_person_is_asked(keeper, states, monkeypatch, typed, left):
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    ended = states("expire", keeper.output, "--all")
    assert ended.returncode == exits.SUCCESS and keeper.ends() == left
    assert "remove 3 objects, 30 B: 3 of documents, 0 of no row?" in ended.stderr


def test_a_bucket_does_as_well(read, bucket, states, listed):
    output, answers = read
    for file in objects.list_files(output):
        objects.publish(objects.join(bucket, os.path.relpath(file, output)), objects.read_bytes(file))
    asked = states("ask", bucket, NAMES[1], QUESTION, "--max-tokens", "20", "--json")
    reply = json.loads(asked.stdout)
    assert reply["answer"] == answers[NAMES[1]] and reply["state_uri"].startswith(bucket)
    assert states("show", bucket, NAMES[1]).returncode == exits.SUCCESS
    assert "removed 2 objects" in states("expire", bucket, "--all", "--yes").stdout
    assert listed(bucket) == [] and len(listed(bucket, "--all")) == 2


def test_nobody_waits_for_ray():
    check = "import sys, jobs.states; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_help_tells_of_each_command(states):
    shown = states("--help").stdout
    assert all(name in shown for name in ("list", "show", "ask", "expire"))
    assert "--json-schema" in states("ask", "--help").stdout
