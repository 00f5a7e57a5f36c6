"""What comes before the engine, in threads of its own, so that no pass waits for storage: attempts at the documents of
a batch are begun, and results and states of earlier ones are found."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property

import structlog

from configs.errors import DocumentError, LonghaulError, StateError, unexpected
from pipeline.actor.assignment import Assignment, receipt
from pipeline.actor.job import Job
from pipeline.actor.quarantine import Quarantine
from pipeline.billing.metering import now_us
from pipeline.formats import registry
from pipeline.ledger.ended import EndedAttempts
from pipeline.ledger.records import Claim, Entry, Place, batch_of
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.attempt import Begun
from pipeline.states import snapshot, stored
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
        self._ended = EndedAttempts(ledger)
        self._log = log.bind(run_id=assignment.run_id, actor_id=actor_id)
        self._pool = ThreadPoolExecutor(THREADS, "intake")

    def take(self, jobs: Sequence[Job]) -> None:
        """A batch. The receipt of a job is fulfilled here if there is nothing to do for it any more, or if storage
        fails."""
        batch = batch_of(self._assignment.start, [job.key for job in jobs])
        self._pool.submit(self._prepare, [replace(job, batch=batch) for job in jobs], self._begin)

    def begin_quarantined(self, job: Job) -> bool:
        """What is quarantined goes into the engine: only from here on is a death held against it, not while it waits
        for its turn and others die. False where it is not to be read now: another actor has begun it, or storage fails.
        """
        try:
            if self._claim(job.batch, job.claim, [job]):
                return True
        except Exception as error:  # whatever it is, the call that waits must hear of it
            job.receipt.set_exception(error)
            return False
        self._pool.submit(self._prepare, [replace(job, quarantined=False)], self._begin_again)
        return False

    def _prepare(self, jobs: Sequence[Job], begin: Callable[[Sequence[Job]], list[Job]]) -> None:
        try:
            ready = begin(jobs)
        except Exception as error:  # whatever it is, the calls that wait must hear of it
            for job in jobs:
                if not job.receipt.done():
                    job.receipt.set_exception(error)
            return
        for job in ready:
            self._hand_on(job)

    def _begin(self, jobs: Sequence[Job]) -> list[Job]:
        """Claim a batch that nobody has begun. Returns its jobs with attempt numbers and starting states."""
        batch = jobs[0].batch
        ready = [self._ready(job, job.row["state_uri"], job.earlier) for job in jobs]
        begun = [job for job in ready if not job.quarantined]
        if self._claim(batch, 1, begun) if begun else not self._ledger.claims(batch):
            return ready
        return self._begin_again(jobs)

    def _begin_again(self, jobs: Sequence[Job]) -> list[Job]:
        """Claim a batch that another actor had begun. Returns the jobs that it did not finish."""
        batch = jobs[0].batch
        while True:
            claims = self._ledger.claims(batch)
            begun = [claim for each in claims.values() for claim in each]
            ended = self._ended.of({claim.actor_id for claim in begun})
            jobs = [job for job in jobs if not self._is_finished(job, ended)]
            number = max(claims, default=0) + 1
            ready = [self._begun_before(replace(job, claim=number), begun, ended) for job in jobs]
            # One that waits in quarantine is begun when it goes in.
            claimed = [job for job in ready if not job.quarantined]
            if not claimed or self._claim(batch, number, claimed):
                return ready

    def _is_finished(self, job: Job, ended: dict[Place, Entry]) -> bool:
        for (key, *_), entry in ended.items():
            if key == job.key and entry["outcome"] == "finished":
                job.receipt.set_result(receipt(job.row, "ok", entry["tokens_resumed"] + entry["tokens_read"]))
                return True
        return False

    def _begun_before(self, job: Job, begun: Sequence[Claim], ended: dict[Place, Entry]) -> Job:
        earlier = [_begun(claim, claim.place in ended) for claim in begun if claim.key == job.key]
        saved_uri = self._ledger.snapshot_uri(job.key)
        return self._ready(
            job, saved_uri if objects.exists(saved_uri) else job.row["state_uri"], [*job.earlier, *earlier]
        )

    def _ready(self, job: Job, state_uri: str | None, earlier: Sequence[Begun]) -> Job:
        """The job with its starting state, or failing. Errors that are not the run's are this document's."""
        attempt = max((each.attempt for each in earlier), default=0) + 1
        job = replace(job, attempt=attempt, start=None, parent_uri=None, quarantined=False)
        try:
            if state_uri is not None:
                job = self._from(job, state_uri)
            return self._quarantine.judged(job, earlier)
        except DocumentError as error:
            return job.failing(error)
        except LonghaulError:
            raise
        except Exception as error:  # a state that nobody can make sense of
            return job.failing(unexpected(error))

    def _claim(self, batch: str, number: int, jobs: Sequence[Job]) -> bool:
        claims = [
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
            for job in jobs
        ]
        return self._ledger.begin_attempts(batch, number, claims)

    @cached_property
    def _makers(self) -> frozenset[str]:
        """Looked up once: it imports every parser."""
        return registry.makers(self._assignment.config.input)

    def _from(self, job: Job, uri: str) -> Job:
        """The job resuming from a stored state, if the state is of the same text, model and settings."""
        try:
            found = stored.load(uri)
            told = self._assignment
            snapshot.refuse(found, told.state_key, self._makers, told.settings_sha256, bool(told.config.sections))
            return job.starting(found, uri)
        except StateError as error:
            self._log.warning("state_refused", document_id=job.document_id, state_uri=uri, reason=str(error))
            return job


def _begun(claim: Claim, has_ended: bool) -> Begun:
    return Begun(claim.attempt, claim.actor_id, claim.node_id, claim.tokens_before, has_ended)
