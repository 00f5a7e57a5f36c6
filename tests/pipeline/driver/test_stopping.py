"""A stop is asked of one start until somebody hears it, and ends when all actors have ended what they had."""

import threading
import time

import pytest

from configs.errors import StorageError
from pipeline.billing.metering import NODE
from pipeline.driver import stopping
from pipeline.driver.stopping import Drain, Stopping
from pipeline.ledger.heartbeats import Heartbeats
from pipeline.ledger.records import Heartbeat
from pipeline.ledger.run_folder import Ledger
from pipeline.ledger.stop import stop_requested
from tests.pipeline.driver.test_progress import reading

PATIENCE_SECONDS = 60


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(str(tmp_path), "r")


def heartbeat(actor: str, is_stopped: bool, tokens: int = 1, start: int = 2, device_type: str = "cpu") -> Heartbeat:
    about = reading(actor, tokens, tokens).__dict__
    return Heartbeat(
        type(reading("", 0, 0))(**about | {"start": start, "device_type": device_type}), is_stopped=is_stopped
    )


def test_a_stop_is_asked_for_until_the_store_takes_it(ledger, monkeypatch):
    monkeypatch.setattr(stopping, "AGAIN_SECONDS", 0.01)
    publish, failures, done = ledger.stop, [StorageError("down"), OSError("unforeseen"), StorageError("down")], []

    def stop(reason: str, start: int) -> None:
        if failures:
            raise failures.pop()
        publish(reason, start)
        done.append(threading.current_thread())

    monkeypatch.setattr(ledger, "stop", stop)
    asked = Stopping(ledger)
    asked.begin(2)
    asked.ask("budget")
    for thread in [thread for thread in threading.enumerate() if thread.name == "stop"]:
        thread.join(PATIENCE_SECONDS)
    assert done and ledger.stop_reason(2) == "budget"


def test_nobody_is_asked_once_the_run_has_ended(ledger, monkeypatch):
    def down(reason: str, start: int) -> None:
        raise StorageError("down")

    monkeypatch.setattr(ledger, "stop", down)
    asked = Stopping(ledger)
    asked.begin(1)
    asked.ask("interrupt")
    asked.end()
    for thread in [thread for thread in threading.enumerate() if thread.name == "stop"]:
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def test_a_stop_of_one_start_is_none_of_the_next(ledger):
    """Also one that an older driver, which was thought dead, writes late."""
    ledger.stop("budget", 1)
    assert stop_requested(ledger.output_uri, "r", 1, None)
    assert not stop_requested(ledger.output_uri, "r", 2, None)


def test_a_run_may_end_when_all_its_actors_have_stopped(ledger):
    drain = Drain(Stopping(ledger), Heartbeats(ledger), start=2)
    assert drain.look(), "nobody works"
    for told in (heartbeat("a", False), heartbeat("b", True)):
        ledger.publish_heartbeat(told)
    assert not drain.look()
    others = heartbeat("old", False, start=1), heartbeat("head", False, device_type=NODE)
    for told in (heartbeat("a", True), *others):
        ledger.publish_heartbeat(told)
    assert drain.look()


def test_an_actor_that_has_died_is_not_waited_for(ledger, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    heartbeats = Heartbeats(ledger)
    drain = Drain(Stopping(ledger), heartbeats, start=2)
    ledger.publish_heartbeat(heartbeat("dead", False))
    for second in range(100, 1000, 100):
        # The driver reads all of them, long before a stop, for its progress line.
        heartbeats()
        now[0] = second
        ledger.publish_heartbeat(heartbeat("alive", False, tokens=second))
        assert not drain.look()
    ledger.publish_heartbeat(heartbeat("alive", True))
    assert drain.look()


def test_nothing_ends_before_a_stop_is_asked_for(ledger, monkeypatch):
    monkeypatch.setattr(stopping, "LOOK_SECONDS", 0.01)
    asked, looked = Stopping(ledger), threading.Event()
    asked.begin(2)
    with Drain(asked, Heartbeats(ledger), start=2) as drain:
        look = drain.look
        monkeypatch.setattr(drain, "look", lambda: looked.set() or look())
        assert not looked.wait(0.1) and not drain.is_over
        asked.ask("deadline")
        assert looked.wait(PATIENCE_SECONDS)
        drain.join(PATIENCE_SECONDS)
        assert drain.is_over
