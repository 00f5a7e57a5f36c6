"""What actors tell one by one, as figures of the run."""

from dataclasses import replace
from decimal import Decimal

from pipeline.actor.counts import Counts
from pipeline.billing.metering import NODE
from pipeline.driver.fleet import Fleet
from pipeline.driver.progress import Tally
from pipeline.ledger.records import Figures, Heartbeat
from pipeline.telemetry.events import ActorWindingDown, PassDone, SnapshotFailed, SnapshotStored
from tests.pipeline.driver.test_progress import RATE, reading


def test_sums_and_the_oldest_that_waits():
    node = replace(reading("node", 0, 0, startup=0), device_type=NODE, total_us=4_000_000, node_us=4_000_000)
    heartbeats = [
        Heartbeat(replace(reading("a", 100, 10, idle=3), devices=2), figures=Figures(4, 3, 2, 5_000_000, passes=7)),
        Heartbeat(reading("b", 50, 5), figures=Figures(4, 4, 0, 0, snapshots=1, snapshot_bytes=9, preempted=1)),
        Heartbeat(reading("c", 1, 1), is_stopped=True, figures=Figures(4, 0, 0, 0, preempted=1)),
        Heartbeat(node),
    ]
    now = Fleet("run", Tally(10, 1), "USD", Decimal(1)).measured(heartbeats)
    assert (now.actors, now.slots, now.slots_in_use, now.waiting, now.waiting_seconds) == (2, 8, 7, 2, 5.0)
    assert (now.tokens_read, now.passes, now.snapshots, now.snapshot_bytes, now.preemptions) == (151, 7, 1, 9, 2)
    assert now.device_seconds["document"] == 2 * 10 + 5 + 1
    assert (now.device_seconds["startup"], now.device_seconds["idle"], now.device_seconds["node"]) == (4 + 2 + 2, 6, 4)
    assert now.cost == RATE.cost(round(1e6 * (2 * 15 + 7 + 3 + 4)))
    assert now.documents_left == 10


def test_progress_is_when_more_was_done_than_before():
    tally = Tally(10, 1)
    fleet = Fleet("run", tally, "USD", None)
    first = fleet.measured([Heartbeat(reading("a", 100, 10))])
    idle = fleet.measured([Heartbeat(reading("a", 100, 10, idle=60))])
    assert idle.progressed_at == first.progressed_at < idle.at
    assert fleet.measured([Heartbeat(reading("a", 101, 10))]).progressed_at > first.progressed_at
    tally.add("failed", 0, 0)
    assert fleet.measured([Heartbeat(reading("a", 101, 10))]).progressed_at > idle.at


def test_an_actor_counts_its_own_events():
    counts = Counts()
    counts.take(PassDone("prefill", 5, 0))
    counts.take(PassDone("decode", 0, 2))
    counts.take(SnapshotStored("run", "a", "d", 70))
    counts.take(SnapshotStored("run", "a", "d", 30))
    counts.take(SnapshotFailed("run", "a", "d", OSError()))
    assert Figures(**counts.totals()) == Figures(passes=2, snapshots=2, snapshot_bytes=100, snapshots_failed=1)
    counts.take(ActorWindingDown("run", "a", "deadline", 3))
    assert Figures(**counts.totals()).preempted == 0
    counts.take(ActorWindingDown("run", "a", "preempted", 3))
    assert Figures(**counts.totals()).preempted == 1
