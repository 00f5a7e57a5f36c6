"""Where the events of a process go: to the log, and to whatever else watches runs."""

from typing import Protocol

import structlog

from pipeline.telemetry import exporters
from pipeline.telemetry.alerts import Webhook
from pipeline.telemetry.event_log import EventLog
from pipeline.telemetry.events import Event

log = structlog.get_logger()


class Sink(Protocol):
    """Takes events, from several threads at once. It must not block: the engine's thread tells of passes."""

    def take(self, event: Event) -> None:
        """Do with it what there is to do. Most sinks pass over most kinds of events."""

    def close(self) -> None:
        """Send what is still held, within seconds; no event comes after this. An actor's process may end without."""


class Observer:
    """Hands each event to every sink. What a sink raises is logged once, and never harms the run."""

    def __init__(self, *sinks: Sink) -> None:
        self._sinks = list(sinks)
        self._failed: set[Sink] = set()

    def add(self, sink: Sink) -> None:
        """From now on this one too is told."""
        self._sinks.append(sink)

    def remove(self, sink: Sink) -> None:
        """From now on it is told nothing more. It is not closed."""
        self._sinks.remove(sink)

    def tell(self, event: Event) -> None:
        """Hand an event to every sink."""
        for sink in list(self._sinks):
            try:
                sink.take(event)
            except Exception:  # whatever it is, the run goes on
                if sink not in self._failed:
                    self._failed.add(sink)
                    log.warning("sink_failed", sink=type(sink).__name__, exc_info=True)

    def close(self) -> None:
        """No event comes any more."""
        for sink in self._sinks:
            try:
                sink.close()
            except Exception:  # as above
                log.warning("sink_failed", sink=type(sink).__name__, exc_info=True)


def of_driver() -> Observer:
    """That of a run's driver: the log, the webhook for alerts, and what the environment names. Raises ConfigError."""
    return Observer(EventLog(), Webhook(), *exporters.of_driver())


def of_actor(*others: Sink) -> Observer:
    """That of an actor: the log, what the environment of its node names, and others."""
    return Observer(EventLog(), *exporters.of_actor(), *others)
