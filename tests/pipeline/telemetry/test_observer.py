"""Each event reaches every sink, and a sink that fails harms nobody."""

from datetime import UTC, datetime
from decimal import Decimal

from structlog.testing import capture_logs

from pipeline.telemetry.event_log import EventLog
from pipeline.telemetry.events import ActorLeft, AttemptEnded, Event, PassDone, Run, RunStopping
from pipeline.telemetry.observer import Observer

NOW = datetime(2026, 11, 26, tzinfo=UTC)
RUN = Run("night", 2, "/out", ("s3://in/",), "key-sentences")


class Kept:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_closed = False

    def take(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.is_closed = True


class Broken(Kept):
    def take(self, event: Event) -> None:
        raise OSError("no collector answers")

    def close(self) -> None:
        raise OSError("nor at the end")


def attempt(outcome: str) -> AttemptEnded:
    return AttemptEnded(
        RUN, "actor-1", "a.txt", 1, outcome, "text", 10, 90, 5, NOW, NOW, Decimal(1), Decimal("0.1"), "USD", ("stop",)
    )


def test_every_sink_is_told():
    first, second = Kept(), Kept()
    observer = Observer(first)
    observer.tell(RunStopping("night", "budget"))
    observer.add(second)
    observer.tell(ActorLeft("night", "actor-1", 3))
    observer.close()
    assert first.events == [RunStopping("night", "budget"), *second.events]
    assert second.events == [ActorLeft("night", "actor-1", 3)]
    assert first.is_closed and second.is_closed


def test_a_sink_that_fails_is_told_of_once_and_the_others_hear_all():
    kept = Kept()
    observer = Observer(Broken(), kept)
    with capture_logs() as logs:
        for tokens in (1, 2, 3):
            observer.tell(PassDone("prefill", tokens, 0))
        observer.close()
    assert [(each["event"], each["sink"]) for each in logs] == [("sink_failed", "Broken")] * 2
    assert len(kept.events) == 3 and kept.is_closed


def test_the_log_shows_what_a_person_wants_to_read_of():
    log = EventLog()
    with capture_logs() as logs:
        for event in (
            PassDone("decode", 0, 4),
            attempt("finished"),
            attempt("stopped"),
            RunStopping("night", "budget"),
        ):
            log.take(event)
    assert logs == [
        {
            "event": "document_finished",
            "log_level": "info",
            "run_id": "night",
            "actor_id": "actor-1",
            "document_id": "a.txt",
            "tokens": 100,
            "tokens_resumed": 10,
            "finish_reasons": ["stop"],
        },
        {"event": "stopping", "log_level": "info", "run_id": "night", "reason": "budget"},
    ]
