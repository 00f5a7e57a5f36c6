"""Events as lines of the log."""

import structlog

from pipeline.telemetry import events
from pipeline.telemetry.events import Event

log = structlog.get_logger()


class EventLog:
    """Logs what a person wants to read of. Passes and stored snapshots are too many, documents that finish are told of
    by their actors."""

    def take(self, event: Event) -> None:
        """Log it, or pass over it."""
        match event:
            case events.RunStarted():
                log.info(
                    "run_started",
                    run_id=event.run.run_id,
                    documents=event.documents,
                    done_before=event.done_before,
                    bytes=event.bytes,
                    deadline=event.deadline and event.deadline.isoformat(timespec="seconds"),
                )
            case events.RunStopping():
                log.info("stopping", run_id=event.run_id, reason=event.reason)
            case events.RunCommitted():
                log.info("run_committed", run_id=event.run.run_id, status=event.status, documents=event.documents)
            case events.RunFailed():
                log.error("run_failed", run_id=event.run.run_id, error_class=event.error_class)
            case events.DocumentReceived(status="failed"):
                log.warning(
                    "document_failed",
                    run_id=event.run_id,
                    document_id=event.document_id,
                    error_class=event.error_class,
                    error_message=event.error_message,
                )
            case events.BudgetShareSpent():
                log.warning(**about_share(event))
            case events.AttemptEnded(outcome="finished"):
                log.info(
                    "document_finished",
                    run_id=event.run.run_id,
                    actor_id=event.actor_id,
                    document_id=event.document_id,
                    tokens=event.tokens_resumed + event.tokens_read,
                    tokens_resumed=event.tokens_resumed,
                    finish_reasons=list(event.finish_reasons),
                )
            case _:
                self._of_actor(event)

    def _of_actor(self, event: Event) -> None:
        match event:
            case events.ActorReady():
                log.info(
                    "actor_ready",
                    run_id=event.run_id,
                    actor_id=event.actor_id,
                    state_bytes=event.state_bytes,
                    kernels=event.kernels,
                )
            case events.SnapshotFailed():
                log.warning("snapshot_not_written", document_id=event.document_id, exc_info=event.error)
            case events.ActorWindingDown():
                log.info(
                    "winding_down",
                    run_id=event.run_id,
                    actor_id=event.actor_id,
                    reason=event.reason,
                    documents=event.documents,
                )
            case events.ActorLeft():
                log.info("actor_left", run_id=event.run_id, actor_id=event.actor_id, tokens_read=event.tokens_read)

    def close(self) -> None:
        """Lines are written as they come."""


def about_share(event: events.BudgetShareSpent) -> dict[str, object]:
    """As the log and the webhook tell of it."""
    return {
        "event": "budget_share_spent",
        "run_id": event.run_id,
        "share_percent": event.share_percent,
        "cost": f"{event.cost:f}",
        "budget": f"{event.budget:f}",
        "currency": event.currency,
    }
