"""`python -m benchmarks.observing [passes=100] [slots=128] [documents=60] [actors=16]`: what it costs to be watched.

A minute of a run is told to the sinks, as one of its actors and its driver do: passes a second, a heartbeat of full
slots every two seconds, documents that end, and the driver's looks at all actors every second, in a Ray of its own.
Prints JSON: CPU-seconds of all threads of this process for that minute with the sinks and without any, and the share of
one CPU that the difference is, of an actor and of the driver.
"""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import ray
import structlog

from benchmarks import measure
from pipeline.actor.counts import Counts
from pipeline.actor.gauge import ActorGauge
from pipeline.billing.metering import Rate, Spent
from pipeline.cluster.mailbox import Mailbox
from pipeline.driver.fleet import Fleet
from pipeline.driver.metrics import RayMetrics
from pipeline.driver.progress import Tally
from pipeline.ledger.heartbeats import SECONDS_BETWEEN_TELLING, TOLD, Heartbeats
from pipeline.ledger.records import Figures, Heartbeat, Underway
from pipeline.ledger.run_folder import Ledger
from pipeline.telemetry.event_log import EventLog
from pipeline.telemetry.events import AttemptEnded, DocumentReceived, PassDone, Run
from pipeline.telemetry.observer import Observer

SECONDS = 60
RUN = Run("run", 1, "s3://bucket/summaries", ("s3://bucket/filings/",), "models/default")
RATE = Rate("NVIDIA H100", 1, Decimal("2.50"), "USD")


def heartbeat_of(gauge: ActorGauge, counts: Counts, slots: int) -> Heartbeat:
    underway = tuple(
        Underway(f"filings/document-{index}.txt", "e" * 32, 1, 0, Spent(10**6, 0, 0), 10_000, 0, "b" * 32)
        for index in range(slots)
    )
    return Heartbeat(gauge.reading(), underway, 0, False, Figures(slots, slots, 3, 10**6, **counts.totals()))


def attempt_of(index: int) -> AttemptEnded:
    now = datetime.now(UTC)
    money = {"device_seconds": Decimal("1.5"), "cost": RATE.cost(1_500_000), "currency": "USD"}
    return AttemptEnded(
        RUN,
        "actor",
        f"document-{index}",
        1,
        "finished",
        "text",
        0,
        9_000,
        64,
        now,
        now,
        **money,
        finish_reasons=("stop",),
    )


def actor_minute(observer: Observer, mailbox: Mailbox | None, passes: int, slots: int, documents: int) -> None:
    gauge, counts = ActorGauge(RATE), Counts()
    if mailbox is not None:
        observer.add(counts)
    for second in range(SECONDS):
        for _ in range(passes):
            observer.tell(PassDone("decode", 0, slots))
        for index in range(documents * second // SECONDS, documents * (second + 1) // SECONDS):
            observer.tell(attempt_of(index))
        if mailbox is not None and second % SECONDS_BETWEEN_TELLING == 0:
            mailbox.put(f"{TOLD}{gauge.id}", heartbeat_of(gauge, counts, slots).to_bytes())
            mailbox.get("stops/0001")


def driver_minute(observer: Observer, heartbeats: Heartbeats | None, actors: int, documents: int) -> None:
    tally = Tally(documents * actors, 10**9)
    fleet = Fleet("run", tally, "USD", Decimal(100))
    for second in range(SECONDS):
        for index in range(actors * documents * second // SECONDS, actors * documents * (second + 1) // SECONDS):
            observer.tell(DocumentReceived("run", f"document-{index}", "ok", 9_000, 36_000, None, None))
        if heartbeats is not None:
            if second % SECONDS_BETWEEN_TELLING == 0:
                # As if all had told anew.
                heartbeats._messages.clear()
            observer.tell(fleet.measured(heartbeats()))


def main(passes: str, slots: str, documents: str, actors: str) -> None:
    # What is logged is written as it would be, to nowhere.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(open("/dev/null", "w", encoding="utf-8")))  # noqa: SIM115, PTH123
    ray.init("local", num_cpus=1, include_dashboard=False, logging_level="ERROR")
    mailbox = Mailbox("benchmark")
    one = heartbeat_of(ActorGauge(RATE), Counts(), int(slots))
    for index in range(int(actors)):
        beat = replace(one, reading=replace(one.reading, actor_id=f"actor-{index}"))
        mailbox.put(f"{TOLD}{beat.reading.actor_id}", beat.to_bytes())
    heartbeats = Heartbeats(Ledger("/nonexistent", "run"), mailbox, every_seconds=10**6)
    metrics = RayMetrics()
    load = (int(passes), int(slots), int(documents))
    timings = measure.least_cpu_seconds(
        {
            ("actor", "with"): lambda: actor_minute(Observer(EventLog()), mailbox, *load),
            ("actor", "without"): lambda: actor_minute(Observer(), None, *load),
            ("driver", "with"): lambda: driver_minute(
                Observer(EventLog(), metrics), heartbeats, int(actors), int(documents)
            ),
            ("driver", "without"): lambda: driver_minute(Observer(), None, int(actors), int(documents)),
        }
    )
    mailbox.clear()
    ray.shutdown()
    measure.publish(
        "observing",
        seconds=SECONDS,
        passes_per_second=int(passes),
        slots=int(slots),
        documents_per_actor=int(documents),
        actors=int(actors),
        cpu_seconds={f"{who} {how} sinks": round(timings[who, how], 4) for who, how in timings},
        share_of_one_cpu={
            who: round((timings[who, "with"] - timings[who, "without"]) / SECONDS, 6) for who in ("actor", "driver")
        },
    )


if __name__ == "__main__":
    main(**measure.arguments(passes="100", slots="128", documents="60", actors="16"))
