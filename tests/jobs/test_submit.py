"""`ray job submit` against a real head node, from an environment with nothing in it: logs, exit code and rows."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from jobs import exits
from pipeline.reports.warehouse import Warehouse
from tests.chaos.cluster import kill_session
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NAMES = [name for name in topics if name.startswith("as")]


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    """What a fresh login has, with the virtual environment on the PATH."""
    return {
        "PATH": f"{BIN}:/usr/bin:/bin",
        "HOME": str(tmp_path_factory.mktemp("home")),
        "LANG": "C.UTF-8",
        "RAY_AUTH_MODE": "disabled",
    }


@pytest.fixture(scope="module")
def head(environment, tmp_path_factory) -> Iterator[str]:
    """The dashboard address of a head node that is this test's own, stopped by its process id."""
    port, dashboard, client, agent = free_ports(4)
    # Sockets below it have long names, and their length is limited.
    folder = Path("/tmp") / f"longhaul-ray-{os.getpid()}"
    command = [
        *(str(BIN / "ray"), "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}"),
        *("--num-cpus=3", "--num-gpus=0", f"--temp-dir={folder}", "--disable-usage-stats"),
        *(f"--ray-client-server-port={client}", "--include-dashboard=true", f"--dashboard-agent-listen-port={agent}"),
    ]
    log = tmp_path_factory.mktemp("ray") / "head.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, cwd="/", start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{dashboard}"
        wait_until_it_answers(address, process, log)
        yield address
    finally:
        # Its orderly end takes half a minute, and nobody wants what it holds.
        kill_session(process)
        shutil.rmtree(folder, ignore_errors=True)


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


def wait_until_it_answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{address}/api/version", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Ray did not start; its log:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.5)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
