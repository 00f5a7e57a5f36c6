"""What the driver knows of its actors survives a damaged file and a store that stumbles."""

from dataclasses import replace

import pytest
import structlog

from configs.errors import StorageError
from pipeline.driver.progress import Progress, Tally
from pipeline.driver.stopping import Stopping
from pipeline.ledger.heartbeats import Heartbeats
from pipeline.ledger.records import Heartbeat
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
