"""The head and readers' machines are metered while they are there."""

import time
from decimal import Decimal

from pipeline.ledger import Beat, Ledger
from pipeline.metering import Rate
from pipeline.shared_nodes import SharedNodes

RATE = Rate.hourly("node", 1, Decimal("0.36"), "USD")


def test_a_node_costs_from_when_it_is_seen_until_it_is_gone(tmp_path):
    ledger, there = Ledger(str(tmp_path), "r"), {"head": ("host", "i-0aa1")}
    started = time.monotonic()
    with SharedNodes(ledger, lambda: dict(there), RATE, every_seconds=0.05):
        time.sleep(0.3)
        there["reader"] = ("other", "")
        time.sleep(0.3)
        del there["reader"]
        time.sleep(0.3)
    most = (time.monotonic() - started) * 1e6
    readings = {beat.reading.node: beat.reading for beat in ledger.beats()}
    assert readings.keys() == {"host", "other"}
    head, reader = readings["host"], readings["other"]
    assert 0 < reader.total_us < head.total_us <= most
    assert head.total_us > 0.6e6
    assert (head.instance_id, reader.instance_id) == ("i-0aa1", "")
    assert not head.is_of_actor and head.overheads["node"] == head.total_us


def test_what_one_publish_loses_the_next_makes_up_for(tmp_path, monkeypatch):
    ledger, original, failures = Ledger(str(tmp_path), "r"), Ledger.publish_beat, iter(range(100))

    def publish(self: Ledger, beat: Beat) -> None:
        if beat.reading.node == "one" and 3 < next(failures) < 10:
            raise OSError("the store does not answer")
        original(self, beat)

    monkeypatch.setattr(Ledger, "publish_beat", publish)
    nodes = {"1": ("one", ""), "2": ("two", ""), "3": ("three", "")}
    with SharedNodes(ledger, lambda: nodes, RATE, every_seconds=0.02):
        time.sleep(0.6)
    served = [beat.reading.total_us for beat in ledger.beats()]
    assert len(served) == 3 and max(served) - min(served) < 0.02 * min(served)


def test_each_start_of_a_run_has_meters_of_its_own_and_no_look_ends_it(tmp_path):
    ledger = Ledger(str(tmp_path), "r")
    looks = 0

    def look() -> dict[str, tuple[str, str]]:
        nonlocal looks
        looks += 1
        if looks % 2 == 0:
            raise OSError("the head does not answer")
        return {"head": ("host", "")}

    for _ in range(2):
        with SharedNodes(ledger, look, RATE, every_seconds=0.02):
            time.sleep(0.2)
        looks = 0
    readings = [beat.reading for beat in ledger.beats()]
    assert len({reading.actor_id for reading in readings}) == 2
    assert all(reading.total_us > 0.1e6 for reading in readings)
