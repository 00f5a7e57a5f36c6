"""The thread that drives an actor's engine: takes documents, runs passes, charges their time, hands results on."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from threading import Thread

import structlog

from configs.errors import DocumentError, LonghaulError, StateError, unexpected
from models.backends import heap
from models.engine.request import Failed, Finished, Request
from pipeline.actor import startup
from pipeline.actor.assignment import Assignment, receipt
from pipeline.actor.counts import Counts
from pipeline.actor.entries import Entries
from pipeline.actor.gauge import ActorGauge
from pipeline.actor.inbox import Inbox
from pipeline.actor.intake import Intake
from pipeline.actor.job import Job, JobQueue
from pipeline.actor.keeping import Keeping
from pipeline.actor.ledger_writer import LedgerWriter
from pipeline.actor.outcomes import Outcomes
from pipeline.actor.quarantine import Quarantine
from pipeline.actor.snapshot_policy import Snapshots
from pipeline.billing.rates import Labels
from pipeline.cluster import mailbox
from pipeline.documents.tokenize import TOKENS_PER_BYTE
from pipeline.ledger import stop
from pipeline.ledger.device_failures import DeviceFailures
from pipeline.ledger.records import Figures, Heartbeat
from pipeline.ledger.run_folder import Ledger
from pipeline.prompts.bound import BoundPrompts
from pipeline.schemas.tables import Row
from pipeline.telemetry import observer
from pipeline.telemetry.events import ActorLeft, ActorReady, ActorWindingDown, PassDone

log = structlog.get_logger()

LEAVE_SECONDS = 20.0
"""To leave a node in of which nobody says when it goes; a cloud gives 30 at the least."""
LEAVE_SHARE = 0.8
"""Of the time until a node goes, what is used."""
STOP_SECONDS = 60.0
"""To wind down in when the run is stopped: what takes longer is resumed by the next start."""
ANSWERING_SHARE = 0.3
"""Of the time to wind down in, how much answers under way may take: what is read of a document is worth more."""


class EngineDriver(Thread):
    """Only this thread touches the engine and closes the meter's intervals."""

    def __init__(
        self,
        assignment: Assignment,
        leave: Callable[[], None] = lambda: None,
        node_labels: Labels | None = None,
        node_id: str = "",
        is_alive: Callable[[str], bool] = lambda node_id: True,
    ) -> None:
        """`leave` ends this process when its node goes away or its device fails, and everything is saved; called in
        this thread. `node_labels` tell what the node costs; `is_alive` whether a node, by its id, is still there."""
        super().__init__(name="engine", daemon=True)
        if assignment.device == "cpu":
            heap.keep_freed_memory()
        self._actor = ActorGauge(start=assignment.start)
        self._assignment, self._end_process, self._node_labels = assignment, leave, node_labels or {}
        self._named = (assignment.run_id, self._actor.id)
        self._log = log.bind(run_id=assignment.run_id, actor_id=self._actor.id)
        ledger = Ledger(assignment.output_uri, assignment.run_id)
        self._counts = Counts()
        self._observer = observer.of_actor(self._counts)
        found = mailbox.of_run(ledger.uri)
        self._beat_seconds = assignment.heartbeat_seconds if found is None else assignment.telling_seconds
        self._writer = LedgerWriter(
            ledger,
            self._actor.id,
            assignment.start,
            assignment.telling_seconds,
            self._observer,
            found,
            assignment.heartbeat_seconds,
        )
        self._failures = DeviceFailures(ledger)
        quarantine = Quarantine(ledger, assignment.config.engine.max_attempts, is_alive)
        self._inbox = Inbox()
        self._intake = Intake(assignment, ledger, quarantine, self._actor.id, node_id, self._inbox.put)
        self._queue = JobQueue()
        self._jobs: dict[str, Job] = {}
        """Those in the engine."""
        self._heartbeat_due = self._quarantine_due = 0.0
        """On the monotonic clock; what is quarantined is saved with each heartbeat from then on."""
        self._broken: Exception | None = None
        self._stop_reason: str | None = None
        """Why this actor takes no more documents."""
        self._owed: set[Future[Row]] = set()
        """Receipts that somebody waits for."""
        self._leave_by: float | None = None
        """On the monotonic clock: when the node goes away."""

    def submit(self, rows: Sequence[Row]) -> "list[Future[Row]]":
        """Queue a batch of documents (`READ_ROW`); each future holds its receipt once its rows are in the ledger.

        They raise what stopped the engine: ModelError where the model does not load or is not the one that the driver
        of the run fingerprinted, ConfigError where no price of the device is known, StorageError where the ledger
        cannot be written, DeviceError where actor after actor has lost its device.
        """
        jobs = [Job(row, datetime.now(UTC), Future()) for row in rows]
        for job in jobs:
            # From here on nobody can cancel it, so that it can be fulfilled without asking.
            job.receipt.set_running_or_notify_cancel()
        receipts = [job.receipt for job in jobs]
        if self._leave_by is not None:
            return receipts  # which nobody waits for: Ray gives the documents to another actor
        for waiting in receipts:
            self._owed.add(waiting)
            waiting.add_done_callback(self._owed.discard)
        if self._stop_reason is not None:
            for job in jobs:
                job.receipt.set_result(receipt(job.row, "stopped"))
        elif self._broken is not None:
            for job in jobs:
                job.refuse(self._broken)
        elif jobs:
            self._intake.take(jobs)
        return receipts

    def close(self) -> None:
        """No documents come any more: what is still to be told of the last ones is sent."""
        self._observer.close()

    def preempt(self, seconds_left: float | None) -> None:
        """The node goes away: save everything and leave it. The documents are resumed elsewhere."""
        left = LEAVE_SECONDS if seconds_left is None else seconds_left * LEAVE_SHARE
        self._leave_by = time.monotonic() + left
        self._inbox.news.set()

    def run(self) -> None:
        """Drive the engine until the node goes away, or something stops the run."""
        try:
            self._drive()
        except Exception as error:  # every caller must hear of it, or Ray would wait for ever
            self._log.exception("engine_stopped")
            self._broken = error
            self._refuse_all(error)

    def _drive(self) -> None:
        try:
            self._load()
            while self._leave_by is None:
                self._work()
            self._evacuate()
        except LonghaulError:
            raise
        except Exception as error:  # of a document we would know; whatever else a model raises, its device is broken
            self._lose_device(error)

    def _load(self) -> None:
        """In this thread, not in the constructor's: glibc gives each thread memory of its own, and what the warm-up
        takes must be there for the passes."""
        self._actor.rate = startup.rate_of(self._assignment, self._node_labels)
        self._actor.meter.spend("startup")
        self._engine, self._tokenizer = startup.engine_of(self._assignment)
        self._actor.kernels = self._engine.kernels
        self._prompts = BoundPrompts(self._assignment.config.prompts, self._assignment.config.sections, self._tokenizer)
        self._snapshots = Snapshots(self._assignment, self._actor.meter, self._engine, self._writer)
        self._keeping = Keeping(self._assignment, self._actor, self._engine.state_bytes)
        entries = Entries(self._assignment, self._actor, self._tokenizer)
        self._outcomes = Outcomes(entries, self._keeping, self._writer, self._observer)
        self._actor.meter.spend("load")
        # Else an actor that dies at its first document has never told of its time.
        self._writer.heartbeat(self._heartbeat())
        kernels = self._engine.kernels
        ready = ActorReady(*self._named, state_bytes=self._engine.state_bytes, kernels=kernels and kernels.name)
        self._observer.tell(ready)

    def _work(self) -> None:
        """One pass, or where there is nothing to do a wait for news; and a heartbeat when it is due."""
        # Before looking, so that what comes from here on is news again.
        self._inbox.news.clear()
        for job in self._inbox.take():
            self._queue.put(job)
        self._stop_if_it_is_time()
        admitted = self._queue.admit(self._engine.busy)
        for job in admitted:
            self._admit(job)
        has_worked = self._engine.busy and self._pass()
        if has_worked:
            self._snapshots.take_due(self._jobs)
        self._heartbeat_when_due()
        # None waits for a slot: the next documents may come with the receipts of these.
        self._writer.await_receipts(len(self._jobs) == len(self._engine.in_slots))
        if not (admitted or has_worked):
            self._inbox.news.wait(max(0.0, self._heartbeat_due - time.monotonic()))
            self._actor.meter.spend("idle")

    def _heartbeat_when_due(self) -> None:
        if time.monotonic() >= self._heartbeat_due:
            if self._queue.is_reserved and time.monotonic() >= self._quarantine_due:
                # Whatever kills this process next, what is quarantined has got further, and is not blamed for it.
                self._snapshots.take_all(self._jobs)
            self._writer.heartbeat(self._heartbeat())
            self._heartbeat_due = time.monotonic() + self._beat_seconds

    def _pass(self, read: bool = True) -> bool:
        """Run one pass. Returns whether there was anything to do; a document that has left counts, since it made
        room."""
        done = self._engine.step(read)
        self._actor.count(done)
        if done.kind != "wait":
            self._observer.tell(PassDone(done.kind, done.document_tokens, done.answer_tokens))
        for finished in done.finished:
            self._summarized(finished)
        for failed in done.failed:
            self._broken_off(failed)
        return done.kind != "wait" or bool(done.finished or done.failed)

    def _admit(self, job: Job) -> None:
        if job.quarantined and not self._begin_quarantined(job):
            self._queue.leave(job.document_id)
        elif self._stop_reason is None and job.row["error_class"] is None:
            self._read(job)
        else:
            self._queue.leave(job.document_id)
            if self._stop_reason is not None:
                self._end(job, tokens_read=job.tokens_resumed)
            else:
                self._outcomes.failed(job, tokens_read=0)

    def _begin_quarantined(self, job: Job) -> bool:
        # The engine has nothing else to do, so that it may wait: what is finished must not die with this document.
        self._writer.flush()
        has_begun = self._intake.begin_quarantined(job)
        self._actor.meter.spend("idle")
        # Saved at once it would get a pass further with each process that it kills, and would never be given up.
        self._quarantine_due = time.monotonic() + self._beat_seconds
        return has_begun

    def _read(self, job: Job) -> None:
        try:
            whole, sections = self._prompts.of(job.document_id)
            start = job.start.read_state if job.start else None
            job = job.opened(self._assignment, self._tokenizer, self._inbox.news.set)
        except Exception as error:  # whatever it is, it is this document's
            self._queue.leave(job.document_id)
            self._jobs.pop(job.document_id, None)
            self._outcomes.failed(job.failing(unexpected(error)), job.tokens_resumed)
            return
        self._jobs[job.document_id] = job
        assert job.feed is not None
        keep = self._keeping.may_be_worth(job)
        expected = round(job.row["size_bytes"] * TOKENS_PER_BYTE)
        self._engine.submit(Request(job.document_id, job.feed, whole, sections, start, keep, expected))

    def _summarized(self, finished: Finished) -> None:
        job = self._release(str(finished.id))
        was_saved = self._snapshots.forget(job.document_id)
        if finished.so_far:
            self._end(job, finished.tokens_read, finished)
        else:
            self._outcomes.finished(job, finished, was_saved)

    def _broken_off(self, failed: Failed) -> None:
        """Fail a document whose text breaks off; read one again whose stored state does not fit. Raises any other
        error."""
        job = self._jobs[str(failed.id)]
        if isinstance(failed.error, StateError):
            self._log.warning("read_again_from_the_start", document_id=job.document_id, reason=str(failed.error))
            # It has not left: what is quarantined keeps the engine to itself.
            self._read(replace(job, start=None, parent_uri=None, feed=None))
        elif isinstance(failed.error, DocumentError):
            self._release(job.document_id)
            self._outcomes.failed(job.failing(failed.error), failed.tokens_read)
        else:
            raise failed.error

    def _end(self, job: Job, tokens_read: int, so_far: Finished | None = None) -> None:
        # If the node goes away, nobody waits for receipts: Ray gives its documents to another actor.
        self._outcomes.stopped(job, tokens_read, so_far, is_awaited=self._leave_by is None)

    def _release(self, document_id: str) -> Job:
        self._queue.leave(document_id)
        return self._jobs.pop(document_id)

    def _stop_if_it_is_time(self) -> None:
        is_over = stop.has_passed(self._assignment.deadline_us)
        reason = "deadline" if is_over else self._writer.stop_reason
        if reason is not None and self._stop_reason is None:
            self._stop_reason = reason
            self._wind_down()

    def _wind_down(self) -> None:
        """End all attempts in good order: answers under way are finished, then states are saved, the most expensive
        first. Answers that take longer than there is time are lost; their documents are resumed where they stand."""
        self._observer.tell(ActorWindingDown(*self._named, self._stop_reason or "preempted", len(self._jobs)))
        self._finish_answers(ANSWERING_SHARE)
        # Of a document there is one snapshot, and what is written last stays.
        self._writer.flush(self._seconds_to_leave())
        self._snapshots.take_all(self._jobs)
        if self._stop_reason is not None and self._assignment.config.run.summary_so_far:
            for document_id in self._engine.in_slots:
                self._engine.conclude(document_id)
            self._finish_answers(1.0)
        self._writer.flush(self._seconds_to_leave())
        self._actor.meter.spend("drain")
        in_slots = self._engine.in_slots
        for document_id, job in list(self._jobs.items()):
            self._engine.withdraw(document_id)
            self._release(document_id)
            self._end(job, in_slots.get(document_id, job.tokens_resumed))

    def _finish_answers(self, share: float) -> None:
        """Finish answers under way, for at most this share of the time left, which may shrink meanwhile."""
        began = time.monotonic()
        while self._engine.busy:
            until = self._leave_by or began + STOP_SECONDS
            if time.monotonic() >= began + share * (until - began) or not self._pass(read=False):
                break
            # Else the driver takes an actor that writes a long answer for dead.
            self._heartbeat_when_due()

    def _seconds_to_leave(self) -> float | None:
        """None where there is no hurry."""
        return None if self._leave_by is None else max(0.0, self._leave_by - time.monotonic())

    def _evacuate(self) -> None:
        """The node goes away: everything is saved, and this process ends, so that the node is free at once."""
        assert self._leave_by is not None
        self._wind_down()
        for job in [*self._queue.take_all(), *self._inbox.take()]:
            # What is quarantined and has not gone in is no attempt yet.
            if not job.quarantined:
                self._end(job, job.tokens_resumed)
        self._writer.flush()
        self._actor.meter.spend("drain")
        self._writer.close(self._heartbeat(is_last=True))
        self._observer.tell(ActorLeft(*self._named, self._actor.reading().tokens_read))
        self._observer.close()
        self._end_process()

    def _lose_device(self, error: Exception) -> None:
        """The device has failed: the documents go back, and this process ends, so that a fresh one takes its place.

        Of the attempts in the engine no end is told: they count as those of a process that died. Raises DeviceError
        where fresh actors have not helped.
        """
        self._log.exception("device_failed")
        in_engine = [self._jobs[id].key for id in self._engine.in_slots if id in self._jobs] if self._jobs else []
        try:
            self._snapshots.take_all(self._jobs) if in_engine else None
        except Exception:  # nothing can be had from a device that is broken
            self._log.warning("states_not_saved", exc_info=True)
        self._writer.flush()
        self._actor.meter.spend("drain")
        self._writer.close(self._heartbeat(is_last=True))
        failure = self._failures.record(self._actor.id, self._assignment.start, error, in_engine)
        limits = self._assignment.config.engine
        self._failures.check(failure, limits.actors.max, limits.max_attempts)
        self._leave_by = time.monotonic()
        self._end_process()

    def _heartbeat(self, is_last: bool = False) -> Heartbeat:
        in_slots = self._engine.in_slots if self._jobs else {}
        underway = tuple(
            self._jobs[document_id].underway(spent, in_slots.get(document_id))
            for document_id, spent in self._actor.meter.documents().items()
            if document_id in self._jobs
        )
        is_stopped = is_last or (self._stop_reason is not None and not self._owed)
        return Heartbeat(self._actor.reading(), underway, self._actor.ended, is_stopped, self._figures(in_slots))

    def _figures(self, in_slots: Mapping[Hashable, int]) -> Figures:
        outside = [job.started_at for id, job in self._jobs.items() if id not in in_slots]
        began = min([*outside, *self._queue.started()], default=None)
        return Figures(
            slots=self._assignment.config.engine.slots_on(self._assignment.device),
            slots_in_use=len(in_slots),
            waiting=len(outside) + len(self._queue),
            waiting_us=0 if began is None else round((datetime.now(UTC) - began).total_seconds() * 1e6),
            **self._counts.totals(),
        )

    def _refuse_all(self, error: Exception) -> None:
        """In this thread, which alone knows of the jobs in the engine."""
        jobs, self._jobs = [*self._jobs.values(), *self._queue.take_all()], {}
        for job in jobs:
            job.refuse(error)
        self._inbox.refuse(error)
