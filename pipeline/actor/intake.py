"""What comes before the engine, in threads of its own, so that no pass waits for storage: an attempt is begun, and a
result or a state of an earlier one is found."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import structlog

from configs.errors import DocumentError, LonghaulError, StateError, unexpected
from pipeline.actor.assignment import Assignment, receipt
from pipeline.actor.job import Job
from pipeline.actor.quarantine import Quarantine
from pipeline.billing.metering import now_us
from pipeline.documents import extract
from pipeline.ledger.records import Claim
from pipeline.ledger.run_folder import Ledger
from pipeline.states import kept, snapshot
from pipeline.storage import objects

THREADS = 8

log = structlog.get_logger()


class Intake:
    """Hands on jobs that are ready for the engine, in no particular order."""

    def __init__(
        self,
        assignment: Assignment,
        ledger: Ledger,
        quarantine: Quarantine,
        actor_id: str,
        node_id: str,
        hand_on: Callable[[Job], None],
    ) -> None:
        self._assignment, self._ledger, self._quarantine = assignment, ledger, quarantine
        self._actor_id, self._node_id, self._hand_on = actor_id, node_id, hand_on
        self._log = log.bind(run_id=assignment.run_id, actor_id=actor_id)
        self._pool = ThreadPoolExecutor(THREADS, "intake")

    def take(self, job: Job) -> None:
        """The job's receipt is fulfilled here if there is nothing to do for it any more, or if storage fails."""
        self._pool.submit(self._prepare, job)

    def begin_quarantined(self, job: Job) -> bool:
        """What is quarantined goes into the engine: only from here on is a death held against it, not while it waits
        for its turn and others die. False where it is not to be read now: another actor has begun it, or storage fails.
        """
        try:
            if self._claim(job):
                return True
        except Exception as error:  # whatever it is, the call that waits must hear of it
            job.receipt.set_exception(error)
            return False
        self.take(replace(job, quarantined=False))
        return False

    def _prepare(self, job: Job) -> None:
        try:
            ready = self._begin_or_fail(job)
        except Exception as error:  # whatever it is, the call that waits must hear of it
            job.receipt.set_exception(error)
            return
        if ready is not None:
            self._hand_on(ready)

    def _begin_or_fail(self, job: Job) -> Job | None:
        """Raises what is wrong with the run; whatever else is raised is this document's."""
        try:
            return self._begin(job)
        except DocumentError as error:
            return self._claimed(job.failing(error))
        except LonghaulError:
            raise
        except Exception as error:  # a state or a claim that nobody can make sense of
            return self._claimed(job.failing(unexpected(error)))

    def _begin(self, job: Job) -> Job | None:
        """The job with its attempt and where it starts; None where another attempt has finished it."""
        key = job.key
        saved_uri = self._ledger.snapshot_uri(key)
        if job.row["state_uri"] not in (None, saved_uri):
            job = self._from(job, job.row["state_uri"])
        if self._claim(job):
            return job
        if (entry := self._ledger.result(key)) is not None:
            job.receipt.set_result(receipt(job.row, "ok", entry["summaries"][0]["tokens_read"]))
            return None
        if objects.exists(saved_uri):
            job = self._from(job, saved_uri)
        while True:
            claims = self._ledger.claims(key)
            job = self._quarantine.judged(replace(job, attempt=claims[-1].attempt + 1), claims)
            if job.quarantined or self._claim(job):
                return job

    def _claimed(self, job: Job) -> Job:
        """With the first attempt that nobody else has."""
        while not self._claim(job):
            job = replace(job, attempt=job.attempt + 1)
        return job

    def _claim(self, job: Job) -> bool:
        return self._ledger.begin_attempt(
            Claim(
                job.document_id,
                job.row["source_etag"],
                job.attempt,
                self._actor_id,
                began_us=now_us(),
                tokens_before=job.tokens_resumed,
                quarantined=job.quarantined,
                state_uri=job.parent_uri,
                node_id=self._node_id,
            )
        )

    def _from(self, job: Job, uri: str) -> Job:
        """The job going on from a stored state, if that is of what the job would have read."""
        try:
            found = kept.load(uri)
            told = self._assignment
            makers = extract.makers(told.input.text_field if told.input else "").values()
            snapshot.refuse(found, told.state_key, makers, told.settings_sha256, bool(told.sections))
            return job.starting(found, uri)
        except StateError as error:
            self._log.warning("state_refused", document_id=job.document_id, state_uri=uri, reason=str(error))
            return job
