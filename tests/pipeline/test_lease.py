"""Of two drivers of one run the second gives way, unless the first is gone."""

import json
import os
import platform
import subprocess
import sys
import time

import pytest

from configs.errors import ConfigError
from pipeline import lease, storage
from pipeline.lease import Lease
from pipeline.ledger import Ledger


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lease, "GONE_SECONDS", 1.0)


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(str(tmp_path), "r")


def started(ledger: Ledger, host: str, pid: int, alive: bytes | None = b"1") -> None:
    """A driver that began and has said no more since."""
    about = {"started_at": "2026-11-22T01:00:00+00:00", "host": host, "pid": pid}
    storage.publish(f"{ledger.uri}/starts/0001.json", json.dumps(about).encode())
    if alive is not None:
        storage.publish(f"{ledger.uri}/starts/0001.alive", alive)


def test_a_driver_that_lives_is_not_interfered_with(ledger):
    with (
        Lease(ledger),
        pytest.raises(ConfigError, match=rf"'r': the driver on {platform.node()} \(process"),
        Lease(ledger),
    ):
        raise AssertionError("both work")
    with Lease(ledger):
        assert len(lease.starts(ledger)) == 2


@pytest.mark.parametrize("alive", [b"17", None])
def test_one_elsewhere_that_says_no_more_is_gone(ledger, alive):
    started(ledger, "another-host", 1, alive)
    before = time.monotonic()
    with Lease(ledger):
        assert time.monotonic() - before >= 1.0


def test_one_that_ended_or_died_here_is_not_waited_for(ledger):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    for host, pid, alive in ((platform.node(), child.pid, b"17"), ("another-host", os.getpid(), lease.ENDED)):
        storage.delete(f"{ledger.uri}/starts/0002.json")
        started(ledger, host, pid, alive)
        before = time.monotonic()
        with Lease(ledger):
            assert time.monotonic() - before < 0.9


def test_of_two_that_start_at_once_one_loses(ledger, monkeypatch):
    monkeypatch.setattr(storage, "create", lambda uri, content: False)
    with pytest.raises(ConfigError, match="another one is at work"), Lease(ledger):
        raise AssertionError("both work")
