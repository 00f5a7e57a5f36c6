"""`jobs.submit` and `ray job submit` against a real head node with a token, from an environment with nothing in it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import yaml

from jobs import exits
from pipeline.ledger.run_folder import Ledger
from pipeline.reports.warehouse import Warehouse
from pipeline.storage import objects
from tests import ray_head
from tests.jobs.test_summarize import tokens_underway
from tests.ray_head import AUTHENTICATION, BIN, TOKEN, Head
from tests.waiting import PATIENCE_SECONDS, wait_for

ROOT = Path(__file__).parents[2]
NAMES = [name for name in topics if name.startswith("as")]


@pytest.fixture(scope="module")
def environment(s3, tmp_path_factory) -> dict[str, str]:
    """What a fresh login has, with the virtual environment on the PATH, Ray's token and the keys of a store."""
    return {
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HOME": str(tmp_path_factory.mktemp("home")),
        "LANG": "C.UTF-8",
        **AUTHENTICATION,
        **{name: value for name, value in os.environ.items() if name.startswith("AWS_")},
    }


@pytest.fixture(scope="module")
def running(environment) -> Iterator[Head]:
    with ray_head.head(environment, Path("/tmp") / f"longhaul-ray-{os.getpid()}", num_cpus=3) as started:
        yield started


@pytest.fixture(scope="module")
def head(running) -> str:
    """The address of its dashboard."""
    return running.address


def submit(head: str, environment: dict[str, str], *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(str(BIN / "ray"), "job", "submit", "--address", head, "--working-dir", ".", "--"),
        *("python", "-m", "jobs.summarize", "configs/demo.yaml", *overrides),
    ]
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        finished = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        # The head answers before the agent that starts jobs does.
        if "No available agent" not in finished.stdout + finished.stderr or time.monotonic() > deadline:
            return finished
        time.sleep(2)


def test_a_submitted_job_leaves_logs_an_exit_code_and_rows(head, environment, small_model, tmp_path):
    (tmp_path / "empty.txt").touch()
    output = tmp_path / "output"
    sources = json.dumps(["sample://python-reference/as*.txt", str(tmp_path / "empty.txt")])
    finished = submit(head, environment, f"input.sources={sources}", f"output.uri={output}", f"model.uri={small_model}")
    log = finished.stdout + finished.stderr
    assert f"exit code {exits.PARTIAL}" in log or f"code {exits.PARTIAL}" in log, log
    assert finished.returncode != 0
    assert "run_started" in log
    assert "document_failed" in log
    assert "EmptyDocumentError" in log
    tables = Warehouse(str(output))
    summarized = tables.rows("""
        select kind, count(*) as n, bool_and(tokens_read = tokens_total) as whole from summaries group by 1 order by 1
    """)
    assert summarized == [{"kind": kind, "n": len(NAMES), "whole": True} for kind in ("answer", "extract")]
    assert tables.rows("select documents_failed as failed from jobs") == [{"failed": 1}]


def test_an_output_that_would_go_with_the_job_is_refused(head, environment):
    refused = submit(head, environment, "output.uri=output")
    assert "refused: output.uri = 'output'" in refused.stdout + refused.stderr
    assert refused.returncode != 0


@dataclass
class Night:
    """What came of a run that was submitted, stopped and submitted again."""

    output: str
    stopped: str
    resumed: str
    """What both commands printed."""
    begun: str
    """What a start beside the first one printed."""
    codes: tuple[int, int, int]
    states: list[str]
    """That the first left."""


def command(head: str, folder: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "jobs.submit", str(folder / "my.yaml"), *overrides, "--address", head]


@pytest.fixture(scope="module")
def night(head, environment, s3, small_model, tmp_path_factory) -> Night:
    """From a folder that has nothing but settings, with a catalog beside them."""
    folder = tmp_path_factory.mktemp("elsewhere")
    bucket = s3.new_bucket()
    objects.publish(f"{bucket}/documents/long.txt", "\n\n".join(topics.values())[:400_000].encode())
    (folder / "prices.yaml").write_text("prices: []\n")
    output = f"{bucket}/output"
    settings = {
        "input": {"sources": [f"{bucket}/documents/"]},
        "output": {"uri": output},
        "model": {"uri": small_model},
        "prompts": [{"name": "summary", "instruction": "Summarize.", "max_tokens": 12}],
        "price": {"catalog": "prices.yaml", "cpu_hour": "3.6"},
        "run": {"id": "night", "heartbeat_seconds": 0.2},
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(settings))
    # RAY_ADDRESS does not lead away from what is named.
    given = {"env": environment | {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": "http://127.0.0.1:9"}, "cwd": folder}
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    first = subprocess.Popen([*command(head, folder, "engine.step_tokens=32"), "--wait"], **given, **piped)
    ledger = Ledger(output, "night")
    submitted = first.stdout.readline()
    beside = subprocess.run(command(head, folder), **given, **piped, check=False)
    wait_for(lambda: sum(tokens_underway(ledger).values()) > 1000 or first.poll() is not None, "it reads")
    first.send_signal(signal.SIGINT)
    stopped = submitted + first.communicate()[0]
    states = objects.list_files(ledger.uri, ".safetensors")
    again = subprocess.run([*command(head, folder), "--wait"], **given, **piped, check=False)
    codes = first.returncode, beside.returncode, again.returncode
    return Night(output, stopped, again.stdout, beside.stdout, codes, states)


def test_a_job_is_stopped_in_good_order_and_resumed_inside_its_document(night):
    assert night.codes[0] == exits.INTERRUPTED, night.stopped
    assert "documents in progress are being saved" in night.stopped
    assert "run_committed" in night.stopped
    assert len(night.states) == 1
    assert night.codes[2] == exits.SUCCESS, night.resumed
    (summary,) = Warehouse(night.output).rows("select tokens_read, tokens_total, tokens_resumed from summaries")
    assert summary["tokens_read"] == summary["tokens_total"] > summary["tokens_resumed"] > 1000


def test_its_log_is_shown_once(night):
    for log in (night.stopped, night.resumed):
        assert log.count("run_started") == log.count("run_committed") == 1, log


def test_a_run_that_is_under_way_is_not_started_again(night):
    first, beside, again = (log.splitlines()[0] for log in (night.stopped, night.begun, night.resumed))
    assert night.codes[1] == exits.SUCCESS
    assert first.startswith("submitted: longhaul-night-") and first.endswith("-1")
    assert beside == first.replace("submitted", "already under way")
    assert again == f"{first.removesuffix('1')}2"


@pytest.mark.parametrize(
    ("auth", "reason"),
    [({"RAY_AUTH_TOKEN": "0" * 64}, "Invalid authentication token"), ({"RAY_AUTH_MODE": "disabled"}, "Missing")],
    ids=["wrong token", "no token"],
)
def test_a_wrong_token_is_refused_in_a_sentence(head, environment, tmp_path, auth, reason):
    (tmp_path / "my.yaml").write_text(f"input: {{sources: [{tmp_path}]}}\noutput: {{uri: {tmp_path}}}")
    given = environment | {"PYTHONPATH": str(ROOT)} | auth
    done = subprocess.run(command(head, tmp_path), env=given, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == exits.REFUSED
    assert done.stderr.startswith(f"refused: --address: {head} asks for its token (")
    assert reason in done.stderr and "RAY_AUTH_TOKEN_PATH" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_secret_is_in_logs_tables_or_what_ray_tells_of_a_job(night, running):
    jobs = running.ask("/api/jobs/")
    told = [jobs, *(running.ask(f"/api/jobs/{each['submission_id']}/logs") for each in json.loads(jobs))]
    assert b"longhaul-night-" in jobs
    # In which both were used: nodes read and wrote with the key, and asked each other with the token.
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    written = [path.read_bytes() for path in files(running.session)]
    written += [content(uri) for uri in objects.list_files(night.output)]
    assert any(b"run_committed" in each for each in told) and any(b"run_committed" in each for each in written)
    for each in (*written, *told, night.stopped.encode(), night.resumed.encode()):
        assert secret not in each
        assert TOKEN.encode() not in each


def content(uri: str) -> bytes:
    """Of a table its values: as it lies there it is compressed."""
    if uri.endswith(".parquet"):
        return repr(objects.read_table(uri).to_pylist()).encode()
    return objects.read_bytes(uri)


def files(folder: Path) -> list[Path]:
    """Without sockets, and without Ray's packages of our own code."""
    return [path for path in folder.rglob("*") if path.is_file() and "runtime_resources" not in path.parts]
