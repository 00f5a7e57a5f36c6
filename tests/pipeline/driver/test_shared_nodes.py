"""The head and readers' machines are metered while they are there."""

import time
from decimal import Decimal
from threading import Event

from pipeline.billing.metering import Rate
from pipeline.driver.shared_nodes import SharedNodes
from pipeline.ledger.records import Heartbeat
from pipeline.ledger.run_folder import Ledger
from tests.waiting import PATIENCE_SECONDS, wait_for

RATE = Rate("node", 1, Decimal("0.36"), "USD")


def test_a_node_costs_from_when_it_is_seen_until_it_is_gone(tmp_path):
    ledger, there = Ledger(str(tmp_path), "r"), {"head": ("host", "i-0aa1")}
    started = time.monotonic()
    with SharedNodes(ledger, lambda: dict(there), RATE, every_seconds=0.02):
        wait_for(lambda: served(ledger).get("host"))
        there["reader"] = ("other", "")
        wait_for(lambda: served(ledger).get("other"))
        del there["reader"]
        counted = served(ledger)
        # A look may have been under way; what comes after the next one is the head's alone.
        wait_for(lambda: served(ledger)["host"] > 2 * counted["host"] + 100_000)
    most = (time.monotonic() - started) * 1e6
    readings = {heartbeat.reading.node: heartbeat.reading for heartbeat in ledger.heartbeats()}
    assert readings.keys() == {"host", "other"}
    head, reader = readings["host"], readings["other"]
    assert 0 < reader.total_us < head.total_us <= most
    assert (head.instance_id, reader.instance_id) == ("i-0aa1", "")
    assert not head.is_of_actor and head.overheads["node"] == head.total_us


def test_what_one_publish_loses_the_next_makes_up_for(tmp_path, monkeypatch):
    ledger, original, failures = Ledger(str(tmp_path), "r"), Ledger.publish_heartbeat, iter(range(100))
    is_over = Event()

    def publish(self: Ledger, heartbeat: Heartbeat) -> None:
        if heartbeat.reading.node == "one" and (number := next(failures)) > 0:
            is_over.set() if number == 10 else None
            if number < 10:
                raise OSError("the store does not answer")
        original(self, heartbeat)

    monkeypatch.setattr(Ledger, "publish_heartbeat", publish)
    nodes = {"1": ("one", ""), "2": ("two", ""), "3": ("three", "")}
    with SharedNodes(ledger, lambda: nodes, RATE, every_seconds=0.02):
        assert is_over.wait(PATIENCE_SECONDS)
    found = served(ledger)
    # A look charges all of them with the same time.
    assert len(found) == 3 and len(set(found.values())) == 1 and found["one"] > 9 * 20_000


def test_each_start_of_a_run_has_meters_of_its_own_and_no_look_ends_it(tmp_path):
    ledger = Ledger(str(tmp_path), "r")
    looks: list[float] = []

    def look() -> dict[str, tuple[str, str]]:
        looks.append(time.monotonic())
        if len(looks) % 2 == 0:
            raise OSError("the head does not answer")
        return {"head": ("host", "")}

    for _ in range(2):
        with SharedNodes(ledger, look, RATE, every_seconds=0.02):
            wait_for(lambda: len(looks) > 8)
        looks.clear()
    readings = [heartbeat.reading for heartbeat in ledger.heartbeats()]
    assert len({reading.actor_id for reading in readings}) == 2
    # The first look is no time, and every other one fails; what has passed is charged all the same.
    assert all(reading.total_us > 6 * 20_000 for reading in readings)


def served(ledger: Ledger) -> dict[str, int]:
    """Microseconds by the names of nodes."""
    return {str(heartbeat.reading.node): heartbeat.reading.total_us for heartbeat in ledger.heartbeats()}
