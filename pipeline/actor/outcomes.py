"""What became of documents, handed to the ledger: they finished, failed, or were stopped to be resumed."""

from concurrent.futures import Future
from datetime import UTC, datetime

from configs.errors import unexpected
from models.engine.request import Finished
from pipeline.actor.assignment import receipt
from pipeline.actor.entries import Entries
from pipeline.actor.job import Job
from pipeline.actor.keeping import Keeping
from pipeline.actor.ledger_writer import LedgerWriter
from pipeline.ledger.records import Entry
from pipeline.schemas.tables import Row
from pipeline.telemetry.events import AttemptEnded
from pipeline.telemetry.observer import Observer


class Outcomes:
    """Belongs to the engine's thread."""

    def __init__(self, entries: Entries, keeping: Keeping, writer: LedgerWriter, observer: Observer) -> None:
        self._entries, self._keeping, self._writer, self._observer = entries, keeping, writer, observer
        self._run = entries.assignment.run

    def finished(self, job: Job, finished: Finished, was_saved: bool) -> None:
        """A document was read to its end and its prompts are answered. `was_saved`: it may have a snapshot, which goes.

        Whatever is raised by what it gave is its failure.
        """
        try:
            keep = self._keeping.storing(job, finished)
            entry = self._entries.finished(job, finished)
        except Exception as error:  # whatever it is, it is this document's
            self.failed(job.failing(unexpected(error)), finished.tokens_read)
            return
        self._entries.actor.ended += 1
        has_snapshot = was_saved or job.start is not None
        done = receipt(job.row, "ok", finished.tokens_read)
        self._writer.publish(entry, done, job.receipt, keep, has_snapshot, job.row.get("passages"))
        self._tell(job, entry, finished)

    def failed(self, job: Job, tokens_read: int) -> None:
        """A document with a reason for its failure."""
        self._entries.actor.ended += 1
        entry = self._entries.failed(job, tokens_read)
        self._writer.publish(entry, receipt(job.row, "failed", tokens_read), job.receipt)
        self._tell(job, entry)

    def stopped(self, job: Job, tokens_read: int, so_far: Finished | None = None, is_awaited: bool = True) -> None:
        """An attempt ends here and is resumed elsewhere or by a later start. `so_far` are answers about what was read,
        and whatever they raise is the document's failure; unless it `is_awaited`, nobody gets a receipt."""
        try:
            entry = self._entries.stopped(job, tokens_read, so_far)
        except Exception as error:  # of answers about a part of it
            if so_far is None:
                raise
            self.failed(job.failing(unexpected(error)), so_far.tokens_read)
            return
        waiting: Future[Row] = job.receipt if is_awaited else Future()
        self._writer.publish(entry, receipt(job.row, "stopped", tokens_read), waiting)
        self._tell(job, entry, so_far)

    def _tell(self, job: Job, entry: Entry, read: Finished | None = None) -> None:
        actor = self._entries.actor
        told = ("document_id", "attempt", "outcome", "tokens_resumed", "tokens_read", "tokens_decoded", "started_at")
        event = AttemptEnded(
            run=self._run,
            actor_id=actor.id,
            **{name: entry[name] for name in told},
            format=job.reading["format"],
            ended_at=entry["published_at"],
            device_seconds=actor.rate.seconds(entry["spent"]["microseconds"]),
            cost=actor.rate.cost(entry["spent"]["microseconds"]),
            currency=actor.rate.currency,
            finish_reasons=tuple(answer.finish_reason for answer in read.answers) if read else (),
            admitted_at=job.admitted_at,
            read_at=datetime.fromtimestamp(read.read_at, UTC) if read and read.read_at else None,
            error_class=job.row["error_class"] if entry["failures"] else None,
            error_message=job.row["error_message"] if entry["failures"] else None,
        )
        self._observer.tell(event)
