"""Of two drivers of one run the second gives way, unless the first is gone."""

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from configs.errors import ConfigError, LedgerError, StorageError
from pipeline.ledger import lease
from pipeline.ledger.lease import Lease
from pipeline.ledger.run_folder import Ledger
from pipeline.storage import objects, s3
from tests.waiting import PATIENCE_SECONDS, wait_for

AS_SHIPPED = {name: getattr(lease, name) for name in ("BEAT_SECONDS", "GONE_SECONDS")}


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Renewed often; and long enough that nobody is taken for dead whose machine is busy."""
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(lease, "GONE_SECONDS", PATIENCE_SECONDS)


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(str(tmp_path), "r")


def started(ledger: Ledger, pid: int, machine: str | None, alive: bytes | None = b"1") -> None:
    """A driver that began and has said no more since."""
    about = {"started_at": "2026-11-22T01:00:00+00:00", "host": platform.node(), "pid": pid, "machine": machine}
    objects.publish(f"{ledger.uri}/starts/0001.json", json.dumps(about).encode())
    if alive is not None:
        objects.publish(f"{ledger.uri}/starts/0001.alive", alive)


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
def test_one_elsewhere_that_says_no_more_is_gone_after_a_while(ledger, machine, alive, monkeypatch):
    """Also in another container of the same name, where process ids are others."""
    monkeypatch.setattr(lease, "GONE_SECONDS", 1.0)
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
        assert time.monotonic() - before < lease.GONE_SECONDS / 2


def test_of_many_that_start_at_once_one_works(ledger):
    together, outcomes = threading.Barrier(4), []

    def start() -> None:
        together.wait()
        try:
            with Lease(ledger) as held:
                outcomes.append(held.number)
                wait_for(lambda: len(outcomes) == 4, "the others give way")
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
        objects.publish(f"{ledger.uri}/starts/0002.json", b"{}")
        wait_for(lambda: slow._is_lost, "it looks for a successor")
        with pytest.raises(LedgerError, match="taken the run over"):
            slow.check()
        objects.delete(f"{ledger.uri}/starts/0002.json")


class Clock:
    """That of the lease, moved by hand."""

    def __init__(self, monkeypatch) -> None:
        self.ahead, real = 0.0, lease._clock
        monkeypatch.setattr(lease, "_clock", lambda: real() + self.ahead)


@pytest.fixture
def frozen(ledger, monkeypatch) -> Iterator[tuple[Lease, Clock]]:
    """A driver that holds the lease and has renewed it once; then it stands still while the clock goes on."""
    clock = Clock(monkeypatch)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 60.0)
    held = Lease(ledger)
    with held:
        wait_for(lambda: objects.exists(f"{ledger.uri}/starts/0001.alive"))
        yield held, clock
        held._stopped.set()


def test_a_driver_that_wakes_up_asks_the_store_before_it_goes_on(ledger, frozen):
    held, clock = frozen
    objects.publish(f"{ledger.uri}/starts/0002.json", b"{}")
    held.check()  # it has just been heard of: nobody may have taken it for dead
    clock.ahead = lease.GONE_SECONDS
    with pytest.raises(LedgerError, match="taken the run over"):
        held.check()
    # From then on it needs no store.
    clock.ahead = 0
    with pytest.raises(LedgerError, match="taken the run over"):
        held.check()


def test_a_driver_that_wakes_up_and_has_no_successor_goes_on(frozen):
    held, clock = frozen
    clock.ahead = lease.GONE_SECONDS
    held.check()


def test_a_driver_that_wakes_up_without_a_store_does_not_go_on(frozen, monkeypatch):
    held, clock = frozen
    clock.ahead = lease.GONE_SECONDS

    def fail(uri: str) -> bool:
        raise StorageError("the store does not answer")

    monkeypatch.setattr(objects, "exists", fail)
    with pytest.raises(StorageError):
        held.check()


def test_right_before_the_marker_the_store_is_asked_however_fresh_the_lease(ledger, frozen):
    held, _ = frozen
    held.confirm()
    objects.publish(f"{ledger.uri}/starts/0002.json", b"{}")
    with pytest.raises(LedgerError, match="taken the run over"):
        held.confirm()


def test_time_in_which_the_store_does_not_answer_is_no_sign_of_death(ledger, monkeypatch):
    """The store stalls for the one that waits, and so for the one that is waited for, which then goes on."""
    started(ledger, dead(), "another")
    monkeypatch.setattr(lease, "GONE_SECONDS", 0.4)
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.4)
    read, reads = lease._read, []

    def stalling(uri: str) -> bytes | None:
        reads.append(uri)
        time.sleep(0.4)
        if len(reads) == 4:
            objects.publish(uri, b"2")
        return read(uri)

    monkeypatch.setattr(lease, "_read", stalling)
    with pytest.raises(ConfigError, match="is at work on this run"), Lease(ledger):
        raise AssertionError("both work")


@pytest.mark.parametrize("try_seconds", [0.01, 1, 10, 29, 45])
def test_the_lease_outlasts_whatever_renewing_it_may_take(try_seconds):
    """By the store's own policy: tries that fail after so long each, the last one when it has had all its time."""
    now, last_began, tried = 0.0, 0.0, 0
    with suppress(StorageError):
        while True:
            last_began, tried = now, tried + 1
            now += try_seconds
            now += s3._pause_seconds("s3://b/k", tried, now, TimeoutError())
    longest = last_began + s3._seconds_for("put_object", {"Body": b"1234567"})
    assert longest <= s3.LONGEST_SECONDS
    assert longest + AS_SHIPPED["BEAT_SECONDS"] < AS_SHIPPED["GONE_SECONDS"]
    # Nor is it so long that a run waits for a quarter of an hour for one that was killed elsewhere.
    assert AS_SHIPPED["GONE_SECONDS"] < 200


def test_a_store_that_fails_in_the_end_does_not_hide_how_a_run_ended(ledger, monkeypatch):
    def fail(uri: str, content: bytes) -> None:
        raise StorageError("the store does not answer")

    def interrupted() -> None:
        with Lease(ledger):
            monkeypatch.setattr(objects, "publish", fail)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
