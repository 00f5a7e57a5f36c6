"""Of two drivers of one run the second gives way, unless the first is gone."""

import json
import os
import platform
import subprocess
import sys
import threading
import time

import pytest

from configs.errors import ConfigError, LedgerError, StorageError
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


def started(ledger: Ledger, pid: int, machine: str | None, alive: bytes | None = b"1") -> None:
    """A driver that began and has said no more since."""
    about = {"started_at": "2026-11-22T01:00:00+00:00", "host": platform.node(), "pid": pid, "machine": machine}
    storage.publish(f"{ledger.uri}/starts/0001.json", json.dumps(about).encode())
    if alive is not None:
        storage.publish(f"{ledger.uri}/starts/0001.alive", alive)


def dead() -> int:
    """The id of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


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
@pytest.mark.parametrize("machine", ["another", None])
def test_one_elsewhere_that_says_no_more_is_gone_after_a_while(ledger, machine, alive):
    """Also in another container of the same name, where process ids are others."""
    started(ledger, dead(), machine, alive)
    assert lease.newest_over(ledger) == -1
    before = time.monotonic()
    with Lease(ledger):
        assert time.monotonic() - before >= 1.0


@pytest.mark.parametrize("ended", [True, False])
def test_one_that_ended_or_died_here_is_not_waited_for(ledger, ended):
    if ended:
        started(ledger, os.getpid(), "another", lease.ENDED)
    else:
        started(ledger, dead(), lease._machine())
    assert lease.newest_over(ledger) == 1
    before = time.monotonic()
    with Lease(ledger) as held:
        assert held.number == 2
        assert time.monotonic() - before < 0.9


def test_of_many_that_start_at_once_one_works(ledger):
    together, outcomes = threading.Barrier(4), []

    def start() -> None:
        together.wait()
        try:
            with Lease(ledger) as held:
                outcomes.append(held.number)
                time.sleep(3)
        except ConfigError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [1]
    assert sum("is at work on this run" in str(outcome) for outcome in outcomes) == 3


def test_one_that_was_taken_for_dead_notices(ledger):
    with Lease(ledger) as slow:
        slow.check()
        storage.publish(f"{ledger.uri}/starts/0002.json", b"{}")
        time.sleep(0.5)
        with pytest.raises(LedgerError, match="taken the run over"):
            slow.check()
        storage.delete(f"{ledger.uri}/starts/0002.json")


def test_a_store_that_fails_in_the_end_does_not_hide_how_a_run_ended(ledger, monkeypatch):
    def fail(uri: str, content: bytes) -> None:
        raise StorageError("the store does not answer")

    def interrupted() -> None:
        with Lease(ledger):
            monkeypatch.setattr(storage, "publish", fail)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
