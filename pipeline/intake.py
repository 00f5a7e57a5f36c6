"""What comes before the engine, in threads of its own, so that no pass waits for storage: an attempt is begun, a result
or a state of an earlier one is found, and what kills processes is kept apart."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import structlog

from configs.errors import DocumentError, ProcessKilledError, StateError
from pipeline import snapshot, states, storage
from pipeline.actor import now_us
from pipeline.assignment import Assignment, receipt
from pipeline.documents import Document
from pipeline.extract import Extractor
from pipeline.job import Job
from pipeline.ledger import Claim, Ledger, document_key

THREADS = 8
ALONE_ATTEMPTS = 2
"""The last ones of a document whose process keeps dying."""

log = structlog.get_logger()


class Intake:
    """Hands on jobs that are ready for the engine, in no particular order."""

    def __init__(self, assignment: Assignment, ledger: Ledger, actor_id: str, hand_on: Callable[[Job], None]) -> None:
        self._assignment, self._ledger, self._actor_id, self._hand_on = assignment, ledger, actor_id, hand_on
        self._log = log.bind(run_id=assignment.run_id, actor_id=actor_id)
        self._pool = ThreadPoolExecutor(THREADS, "intake")

    def take(self, job: Job) -> None:
        """The job's receipt is fulfilled here if there is nothing to do for it any more, or if storage fails."""
        self._pool.submit(self._prepare, job)

    def begin_alone(self, job: Job) -> bool:
        """A suspect goes into the engine: only from here on is a death held against it, not while it waits for its turn
        and others die. False where it is not to be read now: another actor has begun it, or storage fails."""
        try:
            if self._claim(job):
                return True
        except Exception as error:  # whatever it is, the call that waits must hear of it
            job.receipt.set_exception(error)
            return False
        self.take(replace(job, alone=False))
        return False

    def _prepare(self, job: Job) -> None:
        try:
            ready = self._begin(job)
        except Exception as error:  # whatever it is, the call that waits must hear of it
            job.receipt.set_exception(error)
            return
        if ready is not None:
            self._hand_on(ready)

    def _begin(self, job: Job) -> Job | None:
        """The job with its attempt and where it starts; None where another attempt has finished it."""
        key = document_key(job.document_id, job.row["source_etag"])
        saved_uri = self._ledger.snapshot_uri(key)
        if job.row["state_uri"] not in (None, saved_uri):
            job = self._from(job, job.row["state_uri"])
        if self._claim(job):
            return self._titled(job)
        if (entry := self._ledger.result(key)) is not None:
            job.receipt.set_result(receipt(job.row, "ok", entry["summaries"][0]["tokens_read"]))
            return None
        if storage.exists(saved_uri):
            job = self._from(job, saved_uri)
        while True:
            claims = self._ledger.claims(key)
            job = self._judged(replace(job, attempt=claims[-1].attempt + 1), claims)
            if job.alone or self._claim(job):
                return self._titled(job)

    def _claim(self, job: Job) -> bool:
        id, etag = job.document_id, job.row["source_etag"]
        return self._ledger.begin_attempt(
            Claim(id, etag, job.attempt, self._actor_id, now_us(), job.tokens_resumed, job.alone, job.parent_uri)
        )

    def _judged(self, job: Job, claims: list[Claim]) -> Job:
        """Alone, or failed, where the processes that worked on the document keep dying at the same place."""
        most, deaths = self._assignment.engine.max_attempts, self._deaths(job, claims)
        if deaths < most:
            return replace(job, alone=deaths >= max(1, most - ALONE_ATTEMPTS))
        self._log.warning("document_kills_processes", document_id=job.document_id, deaths=deaths)
        return job.failing(
            ProcessKilledError(
                f"{deaths} processes died at this document with {job.tokens_resumed:,} of its tokens read, the last "
                f"{min(ALONE_ATTEMPTS, most - 1)} while they read nothing else: it takes too much memory, or native "
                "code crashes on it."
            )
        )

    def _deaths(self, job: Job, claims: list[Claim]) -> int:
        """Attempts since the document last got further or came to an orderly end."""
        key, deaths = document_key(job.document_id, job.row["source_etag"]), 0
        for claim in reversed(claims):
            if claim.tokens_before < job.tokens_resumed or self._ledger.has_ended((key, claim.attempt)):
                break
            deaths += 1
        return deaths

    def _from(self, job: Job, uri: str) -> Job:
        """The job going on from a stored state, if that is of what the job would have read."""
        try:
            found = states.load(uri)
            snapshot.refuse(
                found, self._assignment.state_key, self._assignment.settings_sha256, bool(self._assignment.sections)
            )
            return job.starting(found, uri)
        except StateError as error:
            self._log.warning("state_refused", document_id=job.document_id, state_uri=uri, reason=str(error))
            return job

    def _titled(self, job: Job) -> Job:
        """With the title that the reader did not look for, since there was a state to go on from."""
        if any(job.row[name] is not None for name in ("title", "tokens", "error_class")):
            return job
        if job.start is not None:
            return replace(job, row=job.row | {"title": job.start.title})
        assert self._assignment.input is not None, "documents that travel as handles need Assignment.input"
        try:
            extracted = Extractor(self._assignment.input).read(Document.from_row(job.row))
            extracted.close()
        except DocumentError as error:
            return job.failing(error)
        return replace(job, row=job.row | {"title": extracted.title})
