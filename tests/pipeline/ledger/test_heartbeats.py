"""What the driver knows of its actors survives a damaged file and a store that stumbles."""

import json
from dataclasses import replace

import pytest
import structlog

from configs.errors import StorageError
from pipeline.driver.progress import Progress, Tally
from pipeline.driver.stopping import Stopping
from pipeline.ledger.heartbeats import TOLD, Heartbeats
from pipeline.ledger.records import Figures, Heartbeat
from pipeline.ledger.run_folder import Ledger
from pipeline.storage import objects
from tests.pipeline.driver.test_progress import RATE, reading


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    ledger = Ledger(str(tmp_path), "r")
    for name in ("a", "b"):
        ledger.publish_heartbeat(Heartbeat(reading(name, 10, 1)))
    return ledger


def uri_of(ledger: Ledger, actor: str) -> str:
    return f"{ledger.uri}/actors/{actor}.json"


def tokens(heartbeats: list[Heartbeat]) -> dict[str, int]:
    return {heartbeat.reading.actor_id: heartbeat.reading.tokens_read for heartbeat in heartbeats}


@pytest.mark.parametrize("damage", [b"", b"{", b"{}", b"[1]", b'{"reading": {"actor": 1}, "underway": []}'])
def test_a_damaged_heartbeat_keeps_the_last_reading_and_is_told_of_once(ledger, damage):
    heartbeats = Heartbeats(ledger)
    assert tokens(heartbeats()) == {"a": 10, "b": 10}
    objects.publish(uri_of(ledger, "a"), damage)
    ledger.publish_heartbeat(Heartbeat(reading("b", 20, 2)))
    with structlog.testing.capture_logs() as logged:
        assert tokens(heartbeats()) == tokens(heartbeats()) == {"a": 10, "b": 20}
    assert [(entry["event"], entry["uri"]) for entry in logged] == [("heartbeat_unreadable", uri_of(ledger, "a"))]
    ledger.publish_heartbeat(Heartbeat(reading("a", 30, 3)))
    assert tokens(heartbeats()) == {"a": 30, "b": 20}
    # Nor does it stop a commit for ever.
    objects.publish(uri_of(ledger, "a"), damage)
    assert tokens(ledger.heartbeats()) == {"b": 20}


def test_a_store_that_stumbles_leaves_what_was_known(ledger, monkeypatch):
    heartbeats = Heartbeats(ledger)
    before = heartbeats()

    def fail(*_: object) -> bytes:
        raise StorageError("the store does not answer")

    for operation in ("read_bytes", "list_files"):
        with monkeypatch.context() as patch:
            patch.setattr(objects, operation, fail)
            assert heartbeats() == before


def test_an_unreadable_heartbeat_does_not_switch_off_a_budget(ledger):
    """The other actor goes on spending."""
    stopping = Stopping(ledger, RATE.cost(100_000_000))
    stopping.begin(1)
    progress = Progress(Tally(1, 1), "USD", Heartbeats(ledger), "r", stopping.spent)
    progress._on_cost(progress._look().cost)
    objects.publish(uri_of(ledger, "a"), b"")
    progress._on_cost(progress._look().cost)
    assert stopping.reason is None
    ledger.publish_heartbeat(Heartbeat(replace(reading("b", 20, 2), total_us=100_000_000)))
    progress._on_cost(progress._look().cost)
    assert stopping.reason == "budget"


def test_what_is_unforeseen_is_warned_of_once():
    progress = Progress(Tally(1, 1), "USD", lambda: 1 / 0, "r")
    with structlog.testing.capture_logs() as logged:
        assert progress._look() is None and progress._look() is None
    assert [(entry["event"], entry["log_level"]) for entry in logged] == [("progress_unknown", "warning")]


class Messages:
    """A mailbox in this process."""

    def __init__(self) -> None:
        self.messages: dict[str, bytes] = {}
        self.is_broken = False

    def tell(self, heartbeat: Heartbeat) -> None:
        self.messages[f"{TOLD}{heartbeat.reading.actor_id}"] = heartbeat.to_bytes()

    def all(self, prefix: str) -> list[bytes]:
        if self.is_broken:
            raise OSError("the head does not answer")
        return [message for name, message in self.messages.items() if name.startswith(prefix)]


def told(name: str, tokens: int, read_us: int) -> Heartbeat:
    return Heartbeat(replace(reading(name, tokens, read_us), read_us=read_us))


def test_what_actors_tell_goes_before_what_they_wrote_earlier(ledger):
    mailbox = Messages()
    heartbeats = Heartbeats(ledger, mailbox, every_seconds=1000)
    assert tokens(heartbeats()) == {"a": 10, "b": 10}
    mailbox.tell(told("a", 30, 3))
    mailbox.tell(told("c", 5, 2))
    ledger.publish_heartbeat(told("b", 20, 2))
    # The ledger is not read again so soon, and what it has is older.
    assert tokens(heartbeats()) == {"a": 30, "b": 10, "c": 5}
    heartbeats._look_due = 0.0
    assert tokens(heartbeats()) == {"a": 30, "b": 20, "c": 5}


def test_without_the_mailbox_the_ledger_is_read_each_time(ledger):
    mailbox = Messages()
    heartbeats = Heartbeats(ledger, mailbox, every_seconds=1000)
    mailbox.tell(told("a", 30, 3))
    heartbeats()
    mailbox.is_broken = True
    ledger.publish_heartbeat(told("b", 20, 2))
    with structlog.testing.capture_logs() as logged:
        assert tokens(heartbeats()) == tokens(heartbeats()) == {"a": 30, "b": 20}
    assert [entry["event"] for entry in logged] == ["mailbox_unreadable"]


def test_the_time_of_an_actor_that_was_killed_gets_into_the_ledger(ledger):
    mailbox = Messages()
    mailbox.tell(told("a", 30, 3))
    ledger.publish_heartbeat(told("b", 40, 4))
    mailbox.tell(told("b", 20, 2))
    Heartbeats(ledger, mailbox, every_seconds=1000).write()
    # Of b the ledger has heard later than the driver.
    assert tokens(ledger.heartbeats()) == {"a": 30, "b": 40}


def test_a_heartbeat_of_before_there_were_figures_is_read():
    beat = Heartbeat(reading("a", 10, 1), figures=Figures(slots=4, slots_in_use=2))
    assert Heartbeat.from_bytes(beat.to_bytes()) == beat
    about = json.loads(beat.to_bytes())
    del about["figures"]
    assert Heartbeat.from_bytes(json.dumps(about).encode()) == replace(beat, figures=Figures())
