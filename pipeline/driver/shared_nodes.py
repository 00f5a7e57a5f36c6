"""What the cluster's nodes without an actor cost: the head and readers' machines.

The driver meters them as actors meter themselves: one meter a node, written to the ledger at every heartbeat.
"""

import time
from collections.abc import Callable, Mapping
from threading import Event, Thread
from uuid import uuid4

import structlog

from pipeline.billing.metering import NODE, Rate, now_us
from pipeline.ledger.records import Heartbeat, MeterReading, prices_of
from pipeline.ledger.run_folder import Ledger

log = structlog.get_logger()

Nodes = Mapping[str, tuple[str, str]]
"""Host name and instance id (empty if unknown) of nodes, by Ray's ids."""


class SharedNodes(Thread):
    """A context that meters the nodes that `look` finds, from the first look at each to the last."""

    def __init__(
        self, ledger: Ledger, look: Callable[[], Nodes], rate: Rate, every_seconds: float, start: int = 0
    ) -> None:
        """`start` is the number of the run's start. Each start has its own meters, even of the same nodes."""
        super().__init__(name="nodes", daemon=True)
        self._ledger, self._look, self._rate, self._every_seconds = ledger, look, rate, every_seconds
        self._stopped = Event()
        self._start, self._suffix = start, uuid4().hex[:6]
        self._began_us: dict[str, int] = {}
        self._served_us: dict[str, int] = {}
        self._looked_at = time.monotonic_ns()
        self._there: Nodes = {}

    def __enter__(self) -> "SharedNodes":
        self.meter()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        """Meters every `every_seconds`, and once more when the context ends."""
        is_last = False
        while not is_last:
            is_last = self._stopped.wait(self._every_seconds)
            try:
                self.meter()
            except Exception:  # a run must not end because of one look, which the next one makes up for
                log.warning("nodes_unknown", run_id=self._ledger.run_id, exc_info=True)

    def meter(self) -> None:
        """Charge the time since the last look to the nodes that were there then and still are."""
        there, now = self._look(), time.monotonic_ns()
        elapsed_us = (now - self._looked_at) // 1000
        self._looked_at += elapsed_us * 1000
        for id in there:
            self._began_us.setdefault(id, now_us())
            self._served_us[id] = self._served_us.get(id, 0) + (elapsed_us if id in self._there else 0)
        self._there = there
        for id, (host, instance_id) in there.items():
            self._ledger.publish_heartbeat(Heartbeat(self._reading(id, host, instance_id)))

    def _reading(self, id: str, host: str, instance_id: str) -> MeterReading:
        served_us = self._served_us[id]
        return MeterReading(
            actor_id=f"node-{id[:12]}-{self._suffix}",
            node=host,
            device_type=NODE,
            devices=1,
            **prices_of(self._rate),
            currency=self._rate.currency,
            started_us=self._began_us[id],
            read_us=now_us(),
            total_us=served_us,
            node_us=served_us,
            start=self._start,
            instance_id=instance_id,
        )
