"""Traces in OpenTelemetry: a span for a start of a run, one below it for each attempt at a document, and its stages.

Driver and actors send their own, and nothing is passed between them: the ids of the trace and of the run's span follow
from the run and the number of its start. No text of documents is in them.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from threading import Thread

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags

from configs.credentials import masked
from configs.settings import EXTRACTS
from pipeline.telemetry.events import AttemptEnded, Event, Run, RunCommitted, RunFailed

log = structlog.get_logger()

EVERY_MILLISECONDS = 250
"""Spans are sent this often: an actor may end soon after its last document."""
CLOSE_SECONDS = 5.0
"""To send in what is left."""

Value = str | int | float | bool | Sequence[str]


class Traces:
    """A sink, of a driver or of an actor."""

    def __init__(self) -> None:
        # It logs each of its tries; `_Watched` tells once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._ids = _Ids()
        self._provider = TracerProvider(id_generator=self._ids, resource=_resource(), shutdown_on_exit=False)
        self._exporter = _Watched(OTLPSpanExporter())
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, schedule_delay_millis=EVERY_MILLISECONDS))
        self._tracer = self._provider.get_tracer("longhaul")

    def take(self, event: Event) -> None:
        """Spans are made when what they are of has ended."""
        match event:
            case RunCommitted():
                self._run(event, _of_commit(event))
            case RunFailed():
                self._run(event, {"error.type": event.error_class}, failed_for=event.error_class)
            case AttemptEnded():
                self._attempt(event)

    def close(self) -> None:
        """Send what is left. A collector that does not answer is waited for no longer than CLOSE_SECONDS."""
        closing = Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
        if closing.is_alive():
            self._exporter.tell()

    def _run(
        self, event: RunCommitted | RunFailed, attributes: dict[str, Value], failed_for: str | None = None
    ) -> None:
        with self._ids.chosen(_place(event.run)):
            self._span("run", None, event.started_at, event.ended_at, _of_run(event.run) | attributes, failed_for)

    def _attempt(self, event: AttemptEnded) -> None:
        attributes, failed_for = _of_attempt(event), event.error_class
        made = self._span("document", _place(event.run), event.started_at, event.ended_at, attributes, failed_for)
        stages = [("queue", event.started_at), ("read", event.admitted_at), ("answer", event.read_at)]
        begun = [(name, at) for name, at in stages if at is not None]
        for (name, at), (_, until) in zip(begun, [*begun[1:], ("", event.ended_at)], strict=True):
            self._span(name, made, at, until, {})

    def _span(
        self,
        name: str,
        parent: SpanContext | None,
        started_at: datetime,
        ended_at: datetime,
        attributes: dict[str, Value],
        failed_for: str | None = None,
    ) -> SpanContext:
        above = trace.set_span_in_context(NonRecordingSpan(parent) if parent else trace.INVALID_SPAN)
        span = self._tracer.start_span(name, above, attributes=attributes, start_time=_nanoseconds(started_at))
        if failed_for is not None:
            span.set_status(Status(StatusCode.ERROR, failed_for))
        span.end(_nanoseconds(ended_at))
        return span.get_span_context()


class _Ids(RandomIdGenerator):
    """Random ids, but for the span of a run. Of those there is one at a time, in the driver."""

    def __init__(self) -> None:
        self._chosen: SpanContext | None = None

    @contextmanager
    def chosen(self, place: SpanContext) -> Iterator[None]:
        """The next span is this one."""
        self._chosen = place
        yield
        self._chosen = None

    def generate_trace_id(self) -> int:
        """As OpenTelemetry asks for it."""
        return self._chosen.trace_id if self._chosen else super().generate_trace_id()

    def generate_span_id(self) -> int:
        """As OpenTelemetry asks for it."""
        return self._chosen.span_id if self._chosen else super().generate_span_id()


class _Watched(SpanExporter):
    """An exporter whose first failure is logged."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._has_failed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them, or drop them."""
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self.tell()
        return result

    def tell(self) -> None:
        """Once."""
        if not self._has_failed:
            self._has_failed = True
            log.warning("traces_not_delivered", remedy="see OTEL_EXPORTER_OTLP_ENDPOINT; the run goes on without")

    def shutdown(self) -> None:
        """Give up what is being sent."""
        self._exporter.shutdown()


def _place(run: Run) -> SpanContext:
    """Of the run's span."""
    digest = sha256(f"{run.output_uri}\n{run.run_id}\n{run.start}".encode()).digest()
    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int.from_bytes(digest[:16]), int.from_bytes(digest[16:24]), is_remote=True, trace_flags=flags)


def _of_run(run: Run) -> dict[str, Value]:
    return {
        "longhaul.run.id": run.run_id,
        "longhaul.run.start": run.start,
        "longhaul.output": masked(run.output_uri),
        **_of_model(run),
    }


def _of_model(run: Run) -> dict[str, Value]:
    return {} if run.model == EXTRACTS else {"gen_ai.request.model": masked(run.model)}


def _of_commit(event: RunCommitted) -> dict[str, Value]:
    counts = {name: getattr(event, name) for name in ("succeeded", "failed", "left")}
    return {
        "longhaul.run.status": event.status,
        **({"longhaul.run.stopped_by": event.stopped_by} if event.stopped_by else {}),
        **{f"longhaul.documents.{name}": count for name, count in counts.items()},
        # Of all starts of the run, so that they are no usage of this span's.
        "longhaul.tokens.read": event.tokens_read,
        "longhaul.tokens.decoded": event.tokens_decoded,
        "longhaul.cost": float(event.cost),
        "longhaul.currency": event.currency,
    }


def _of_generation(event: AttemptEnded) -> dict[str, Value]:
    return {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.usage.input_tokens": event.tokens_read,
        "gen_ai.usage.output_tokens": event.tokens_decoded,
        **_of_model(event.run),
        **({"gen_ai.response.finish_reasons": event.finish_reasons} if event.finish_reasons else {}),
    }


def _of_attempt(event: AttemptEnded) -> dict[str, Value]:
    return {
        **({} if event.run.model == EXTRACTS else _of_generation(event)),
        **({"error.type": event.error_class} if event.error_class else {}),
        "longhaul.run.id": event.run.run_id,
        "longhaul.actor.id": event.actor_id,
        "longhaul.document.id": masked(event.document_id),
        "longhaul.document.attempt": event.attempt,
        "longhaul.document.outcome": event.outcome,
        "longhaul.tokens.resumed": event.tokens_resumed,
        "longhaul.device_seconds": float(event.device_seconds),
        "longhaul.cost": float(event.cost),
        "longhaul.currency": event.currency,
    }


def _resource() -> Resource:
    """As the environment describes this service."""
    is_named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({} if is_named else {"service.name": "longhaul"})


def _nanoseconds(moment: datetime) -> int:
    """Since 1970."""
    return round(moment.timestamp() * 1e6) * 1000
