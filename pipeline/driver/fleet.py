"""What all actors of one start of a run come to together."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from pipeline.driver.progress import Tally
from pipeline.ledger.records import Heartbeat
from pipeline.telemetry.events import Measured


class Fleet:
    """Sums what actors tell, and knows when that last was more than before."""

    def __init__(self, run_id: str, tally: Tally, currency: str, budget: Decimal | None) -> None:
        self._run_id, self._tally, self._currency, self._budget = run_id, tally, currency, budget
        self._done: tuple[int, ...] = ()
        self._progressed_at = datetime.now(UTC)

    def measured(self, heartbeats: Sequence[Heartbeat]) -> Measured:
        """The sums, of the last heartbeats of this start's actors and nodes."""
        readings = [heartbeat.reading for heartbeat in heartbeats]
        figures = [heartbeat.figures for heartbeat in heartbeats if not heartbeat.is_stopped]
        every = [heartbeat.figures for heartbeat in heartbeats]
        read, decoded = sum(each.tokens_read for each in readings), sum(each.tokens_decoded for each in readings)
        device_seconds: dict[str, float] = defaultdict(float)
        for reading in readings:
            device_seconds["document"] += reading.devices * (reading.total_us - sum(reading.overheads.values())) / 1e6
            for overhead, microseconds in reading.overheads.items():
                device_seconds[overhead] += reading.devices * microseconds / 1e6
        done = (self._tally.received, read, decoded)
        if done != self._done:
            self._done, self._progressed_at = done, datetime.now(UTC)
        return Measured(
            run_id=self._run_id,
            at=datetime.now(UTC),
            progressed_at=self._progressed_at,
            documents_left=self._tally.documents_total - self._tally.received,
            actors=sum(heartbeat.reading.is_of_actor and not heartbeat.is_stopped for heartbeat in heartbeats),
            slots=sum(each.slots for each in figures),
            slots_in_use=sum(each.slots_in_use for each in figures),
            waiting=sum(each.waiting for each in figures),
            waiting_seconds=max((each.waiting_us for each in figures), default=0) / 1e6,
            tokens_read=read,
            tokens_decoded=decoded,
            passes=sum(each.passes for each in every),
            snapshots=sum(each.snapshots for each in every),
            snapshots_failed=sum(each.snapshots_failed for each in every),
            snapshot_bytes=sum(each.snapshot_bytes for each in every),
            preemptions=sum(each.preempted for each in every),
            device_seconds=device_seconds,
            cost=sum((reading.rate.cost(reading.total_us) for reading in readings), Decimal(0)),
            currency=self._currency,
            budget=self._budget,
        )
