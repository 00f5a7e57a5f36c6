"""What became of documents, handed to the ledger: they finished, failed, or were stopped to be resumed."""

from concurrent.futures import Future

import structlog

from configs.errors import unexpected
from models.engine.request import Finished
from pipeline.actor.assignment import receipt
from pipeline.actor.entries import Entries
from pipeline.actor.job import Job
from pipeline.actor.keeping import Keeping
from pipeline.actor.ledger_writer import LedgerWriter
from pipeline.schemas.tables import Row

log = structlog.get_logger()


class Outcomes:
    """Belongs to the engine's thread."""

    def __init__(self, entries: Entries, keeping: Keeping, writer: LedgerWriter) -> None:
        self._entries, self._keeping, self._writer = entries, keeping, writer
        self._log = log.bind(run_id=entries.assignment.run_id, actor_id=entries.actor.id)

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
        self._log.info(
            "document_finished",
            document_id=job.document_id,
            tokens=finished.tokens_read,
            tokens_resumed=job.tokens_resumed,
            finish_reasons=[answer.finish_reason for answer in finished.answers],
        )

    def failed(self, job: Job, tokens_read: int) -> None:
        """A document with a reason for its failure."""
        self._entries.actor.ended += 1
        entry = self._entries.failed(job, tokens_read)
        self._writer.publish(entry, receipt(job.row, "failed", tokens_read), job.receipt)

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
