"""The driver's figures for Prometheus, through Ray: the agent of its node exports what it has told Ray.

Actors tell the driver, and the driver alone tells Ray, so that a pass costs nothing more, a restarted actor resets no
counter, and a figure has no actor, node or document among its labels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from ray.util.metrics import Counter, Gauge

from pipeline.telemetry.events import DocumentReceived, Event, Measured
from pipeline.telemetry.observer import Observer

PREFIX = "longhaul_"
"""Ray puts `ray_` before it."""


@dataclass(frozen=True)
class Metric:
    """A family of figures, in base units."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    label: str | None = None


METRICS = (
    Metric("tokens_read_total", "counter", "Tokens of documents that were read, those read twice included."),
    Metric("tokens_generated_total", "counter", "Tokens of answers that were generated."),
    Metric(
        "documents_total", "counter", "Receipts of documents: `ok`, `failed`, or `stopped` with the run.", "outcome"
    ),
    Metric("failures_total", "counter", "Documents that failed, by the class of the error.", "error_class"),
    Metric("device_seconds_total", "counter", "Device time by kind, as in the table `costs`.", "kind"),
    Metric("cost_total", "counter", "What this start of the run has cost.", "currency"),
    Metric("passes_total", "counter", "Passes through the models."),
    Metric("snapshots_total", "counter", "States stored of documents under way: `stored` or `failed`.", "outcome"),
    Metric("snapshot_bytes_total", "counter", "Bytes of the states that were stored."),
    Metric("preemptions_total", "counter", "Actors that saved everything since their node went away."),
    Metric("runs_ended_total", "counter", "Starts of runs that ended in good order, which a lost driver never tells."),
    Metric("run_active", "gauge", "1 while the driver is at work, 0 at the end."),
    Metric("documents_left", "gauge", "Documents of this start of the run of which no receipt has come."),
    Metric("documents_waiting", "gauge", "Documents that wait at an actor for a slot."),
    Metric("queue_age_seconds", "gauge", "How long the oldest of these has waited."),
    Metric("actors", "gauge", "Actors at work."),
    Metric("slots", "gauge", "Documents that the actors can be at, at a time."),
    Metric("slots_in_use", "gauge", "Documents that the actors are at."),
    Metric("budget_spent_ratio", "gauge", "Cost of this start over run.budget_usd; absent without a budget."),
    Metric("heartbeat_timestamp_seconds", "gauge", "When the driver last looked at its actors."),
    Metric("progress_timestamp_seconds", "gauge", "When a document or a token was last done."),
)


class RayMetrics:
    """A sink for the driver while it is in a cluster. Where nobody scrapes the cluster, the figures go nowhere."""

    def __init__(self) -> None:
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        for each in METRICS:
            described = PREFIX + each.name, each.help, (each.label,) if each.label else ()
            if each.kind == "counter":
                self._counters[each.name] = Counter(*described)
            else:
                self._gauges[each.name] = Gauge(*described)
        self._labels = {each.name: each.label for each in METRICS}
        self._told: dict[tuple[str, str], float] = {}

    def take(self, event: Event) -> None:
        """Tell Ray of it, which keeps the figure in this process and sends it every ten seconds."""
        match event:
            case Measured():
                self._count_measured(event)
                self._set_measured(event)
            case DocumentReceived():
                self._count("documents_total", 1, event.status)
                if event.status == "failed":
                    self._count("failures_total", 1, event.error_class or "unknown")

    def close(self) -> None:
        """Ray sends what it has when the driver leaves the cluster."""

    def end(self) -> None:
        """The run ends in good order."""
        self._gauges["run_active"].set(0)
        # A scrape may miss the gauge, which Ray soon drops; counters stay.
        self._count("runs_ended_total", 1, "")

    def _count_measured(self, now: Measured) -> None:
        totals: dict[tuple[str, str], float] = {
            ("tokens_read_total", ""): now.tokens_read,
            ("tokens_generated_total", ""): now.tokens_decoded,
            ("cost_total", now.currency): float(now.cost),
            ("passes_total", ""): now.passes,
            ("snapshots_total", "stored"): now.snapshots,
            ("snapshots_total", "failed"): now.snapshots_failed,
            ("snapshot_bytes_total", ""): now.snapshot_bytes,
            ("preemptions_total", ""): now.preemptions,
            **{("device_seconds_total", kind): seconds for kind, seconds in now.device_seconds.items()},
        }
        for (name, label), total in totals.items():
            self._count(name, total - self._told.get((name, label), 0), label)
            self._told[name, label] = max(total, self._told.get((name, label), 0))

    def _set_measured(self, now: Measured) -> None:
        values = {
            "run_active": 1,
            **{name: getattr(now, name) for name in ("documents_left", "actors", "slots", "slots_in_use")},
            "documents_waiting": now.waiting,
            "queue_age_seconds": now.waiting_seconds,
            "heartbeat_timestamp_seconds": now.at.timestamp(),
            "progress_timestamp_seconds": now.progressed_at.timestamp(),
        }
        if now.budget:
            values["budget_spent_ratio"] = float(now.cost / now.budget)
        for name, value in values.items():
            self._gauges[name].set(value)

    def _count(self, name: str, by: float, label: str) -> None:
        key = self._labels[name]
        # Ray takes no step of 0; a sum may shrink where an actor's last heartbeat is damaged.
        if by > 0:
            self._counters[name].inc(by, {key: label} if key else {})


@contextmanager
def exported(observer: Observer) -> Iterator[None]:
    """While the context is open, what the observer is told goes to Ray too; close it before leaving the cluster."""
    sink = RayMetrics()
    observer.add(sink)
    try:
        yield
        sink.end()
    finally:
        observer.remove(sink)
