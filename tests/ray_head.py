"""A Ray head with a token, on this machine and a test's own."""

import json
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.cluster import free_ports, kill_session
from tests.waiting import PATIENCE_SECONDS

BIN = Path(sys.executable).parent
TOKEN = secrets.token_hex(32)
AUTHENTICATION = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}


@dataclass(frozen=True)
class Head:
    address: str
    """Of its dashboard."""
    session: Path
    """Where Ray keeps its logs."""

    def ask(self, path: str, body: Mapping[str, Any] | None = None, timeout: float = PATIENCE_SECONDS) -> bytes:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"{self.address}{path}", None if body is None else json.dumps(body).encode(), headers
        )
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return response.read()

    def job(self, submission_id: str) -> dict[str, Any]:
        """What Ray tells of a submitted job."""
        return json.loads(self.ask(f"/api/jobs/{submission_id}"))


@contextmanager
def head(environment: Mapping[str, str], session: Path, num_cpus: int) -> Iterator[Head]:
    """With AUTHENTICATION in its environment; stopped by its process id. Sockets below `session` have long names, and
    their length is limited."""
    port, dashboard, client, agent = free_ports(4)
    command = [
        *(str(BIN / "ray"), "start", "--head", "--block", f"--port={port}", f"--dashboard-port={dashboard}"),
        *(f"--num-cpus={num_cpus}", "--num-gpus=0", f"--temp-dir={session}", "--disable-usage-stats"),
        *(f"--ray-client-server-port={client}", "--include-dashboard=true", f"--dashboard-agent-listen-port={agent}"),
    ]
    session.mkdir(parents=True)
    log = session / "head.log"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=dict(environment), stdout=output, stderr=subprocess.STDOUT, cwd="/", start_new_session=True
            )
        try:
            started = Head(f"http://127.0.0.1:{dashboard}", session)
            _wait_until_it_answers(started, process, log)
            yield started
        finally:
            # Its orderly end takes half a minute, and nobody wants what it holds.
            kill_session(process)
    finally:
        shutil.rmtree(session, ignore_errors=True)


def _wait_until_it_answers(started: Head, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            started.ask("/api/version", timeout=2)
            return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"Ray did not start; its log:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.5)
