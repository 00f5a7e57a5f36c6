"""The thread that drives an actor's engine: takes documents, runs passes, charges their time, hands results on."""

import platform
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event, Thread

import structlog
import torch

from configs.errors import DocumentError, ModelError, StateError
from models import checkpoint, device
from models.engine import Engine
from models.feed import Feed
from models.request import Failed, Finished, Request
from models.sizing import slots_that_fit
from models.tokenizer import Tokenizer
from pipeline import states, stopping
from pipeline.actor import Actor
from pipeline.asked import Asked
from pipeline.assignment import Assignment, Row, receipt
from pipeline.documents import Document
from pipeline.entries import Entries
from pipeline.intake import Intake
from pipeline.job import Job, JobQueue
from pipeline.ledger import Beat, Ledger, Underway
from pipeline.ledger_writer import LedgerWriter
from pipeline.metering import Rate, Spent
from pipeline.rates import Labels
from pipeline.snapshots import Snapshots
from pipeline.token_feed import TokenFeed
from pipeline.tokenise import Position

log = structlog.get_logger()

LEAVE_SECONDS = 20.0
"""To leave a node in of which nobody says when it goes; a cloud gives 30 at the least."""
LEAVE_SHARE = 0.8
"""Of the time until a node goes, what is used."""
ANSWERING_SHARE = 0.3
"""Of the time to leave in, how much answers under way may take: what is read of a document is worth more."""


class EngineDriver(Thread):
    """Only this thread touches the engine and closes the meter's intervals."""

    def __init__(
        self, assignment: Assignment, leave: Callable[[], None] = lambda: None, node_labels: Labels | None = None
    ) -> None:
        """`leave` ends this process when its node goes away and everything is saved; called in this thread.

        `node_labels` tell what the node costs."""
        super().__init__(name="engine", daemon=True)
        if assignment.device == "cpu":
            device.keep_freed_memory()
        self._actor = Actor(start=assignment.start)
        self._assignment, self._end_process, self._node_labels = assignment, leave, node_labels or {}
        self._log = log.bind(run_id=assignment.run_id, actor_id=self._actor.id)
        ledger = Ledger(assignment.output_uri, assignment.run_id)
        self._writer = LedgerWriter(ledger, self._actor.id, assignment.start)
        self._intake = Intake(assignment, ledger, self._actor.id, self._arrived)
        self._inbox: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._queue = JobQueue()
        self._jobs: dict[str, Job] = {}
        """Those in the engine."""
        self._news = Event()
        """A document came, or tokens of one that the engine waits for, or the end."""
        self._starved = True
        """Whether the engine can do nothing before there is news."""
        self._heartbeat_due = 0.0
        self._broken: Exception | None = None
        self._stop_reason: str | None = None
        """Why this actor takes no more documents."""
        self._owed: set[Future[Row]] = set()
        """Receipts that somebody waits for."""
        self._leave_by: float | None = None
        """On the monotonic clock: when the node goes away."""

    def submit(self, row: Row) -> "Future[Row]":
        """Queue a document (a `READ_ROW`); the future holds its receipt once its rows are in the ledger.

        It raises what stopped the engine: ModelError where the model does not load or is not the one that the driver
        of the run fingerprinted, ConfigError where no price of the device is known, StorageError where the ledger
        cannot be written.
        """
        job = Job(row, datetime.now(UTC), Future())
        if self._leave_by is not None:
            return job.receipt  # which nobody waits for: Ray gives the document to another actor
        self._owed.add(job.receipt)
        job.receipt.add_done_callback(self._owed.discard)
        if self._stop_reason is not None:
            job.receipt.set_result(receipt(row, "stopped"))
        elif self._broken is not None:
            job.receipt.set_exception(self._broken)
        else:
            self._intake.take(job)
        return job.receipt

    def preempt(self, seconds_left: float | None) -> None:
        """The node goes away: save everything and leave it. The documents go on elsewhere."""
        left = LEAVE_SECONDS if seconds_left is None else seconds_left * LEAVE_SHARE
        self._leave_by = time.monotonic() + left
        self._news.set()

    def run(self) -> None:
        try:
            self._load()
            while self._leave_by is None:
                self._work()
            self._leave()
        except Exception as error:  # every caller must hear of it, or Ray would wait for ever
            self._log.exception("engine_stopped")
            self._broken = error
            self._fail_all(error)

    def _load(self) -> None:
        """In this thread, not in the constructor's: glibc gives each thread memory of its own, and what the warm-up
        takes must be there for the passes."""
        self._actor.rate = _rate(self._assignment, self._node_labels)
        self._actor.meter.spend("startup")
        directory = checkpoint.resolve(self._assignment.model_uri)
        if checkpoint.fingerprint(directory) != self._assignment.model_revision:
            raise ModelError(f"{directory} on {self._actor.node} holds other weights than the run was planned with")
        tokenizer = Tokenizer.find(self._assignment.tokenizer_uri, self._assignment.model_uri)
        self._tokenizer = tokenizer
        self._engine = _engine(self._assignment, directory, tokenizer)
        sections = self._assignment.sections
        self._asked = [Asked.of(each, tokenizer) for each in self._assignment.prompts]
        self._asked_of_sections = [Asked.of(each, tokenizer) for each in (sections.prompts if sections else ())]
        self._entries = Entries(self._assignment, self._actor, tokenizer)
        self._snapshots = Snapshots(self._assignment, self._actor.meter, self._engine, self._writer)
        self._actor.meter.spend("load")
        # Else an actor that dies at its first document has never told of its time.
        self._writer.beat(self._beat())
        self._log.info("actor_ready", state_bytes=self._engine.state_bytes)

    def _work(self) -> None:
        """One pass, or a wait for documents or their tokens; and a heartbeat when it is due."""
        self._take_jobs()
        self._stop_if_it_is_time()
        for job in self._queue.admit(self._engine.busy):
            self._admit(job)
        if self._engine.busy:
            self._pass()
            self._snapshots.take_due(self._jobs)
        self._beat_when_due()

    def _beat_when_due(self) -> None:
        if time.monotonic() >= self._heartbeat_due:
            if self._queue.is_reserved:
                # Whatever kills this process next, the suspect has got further, and is not blamed for it.
                self._snapshots.take_all(self._jobs)
            self._writer.beat(self._beat())
            self._heartbeat_due = time.monotonic() + self._assignment.heartbeat_seconds

    def _take_jobs(self) -> None:
        """All that have come. With nothing to do, wait for news until the next heartbeat."""
        if self._starved:
            self._news.wait(self._assignment.heartbeat_seconds)
            self._actor.meter.spend("idle")
        # Before looking, so that what comes from here on is news again.
        self._news.clear()
        for job in self._arrivals():
            self._queue.put(job)

    def _arrivals(self) -> Iterator[Job]:
        """What has come since the last look."""
        with suppress(queue.Empty):
            while True:
                yield self._inbox.get_nowait()

    def _pass(self, read: bool = True) -> bool:
        """Whether there was anything to do."""
        done = self._engine.step(read)
        if done.kind != "wait":
            self._actor.count(done)
        for finished in done.finished:
            self._summarised(finished)
        for failed in done.failed:
            self._broken_off(failed)
        if self._engine.busy:
            # A document that has failed has made room for another.
            self._starved = done.kind == "wait" and not done.failed
        else:
            self._starved = not self._queue
        return done.kind != "wait"

    def _arrived(self, job: Job) -> None:
        """In a thread of the intake."""
        self._inbox.put(job)
        self._news.set()
        if self._broken is not None:
            self._fail_all(self._broken)

    def _admit(self, job: Job) -> None:
        if job.alone:
            # The engine has nothing else to do, so that it may wait: what is finished must not die with a suspect.
            self._writer.flush()
            if not self._intake.begin_alone(job):
                self._queue.leave(job.document_id)
                return
        if self._stop_reason is None and job.row["error_class"] is None:
            self._read(job)
            return
        self._queue.leave(job.document_id)
        if self._stop_reason is not None:
            self._end(job, tokens_read=job.tokens_resumed)
        else:
            self._fail(job, tokens_read=0)

    def _read(self, job: Job) -> None:
        job = replace(job, feed=self._feed(job))
        self._jobs[job.document_id] = job
        whole, sections = (
            tuple(each.prompt(job.document_id) for each in asked) for asked in (self._asked, self._asked_of_sections)
        )
        assert job.feed is not None
        start = job.start.midway if job.start else None
        keep = self._assignment.ttl_days is not None
        self._engine.submit(Request(job.document_id, job.feed, whole, sections, start, keep))

    def _feed(self, job: Job) -> Feed:
        if not job.row["is_streamed"]:
            return job.array_feed()
        assert self._assignment.input is not None, "documents that travel as handles need Assignment.input"
        position = job.start.position if job.start else Position()
        return TokenFeed(
            Document.from_row(job.row),
            self._assignment.input,
            self._tokenizer,
            self._news.set,
            start=position,
            skip=job.tokens_resumed - position.tokens,
            sections=self._assignment.sections,
            found=job.start.sections if job.start else (),
            check_history=job.checks_history,
        )

    def _summarised(self, finished: Finished) -> None:
        job = self._leaves(str(finished.id))
        if finished.so_far:
            self._end(job, finished.tokens_read, finished)
            return
        was_saved = self._snapshots.forget(job.document_id)
        self._writer.publish(
            self._entries.finished(job, finished),
            receipt(job.row, "ok", finished.tokens_read),
            job.receipt,
            keep=self._keeping(job, finished),
            has_snapshot=was_saved or job.start is not None,
        )
        reasons = [answer.finish_reason for answer in finished.answers]
        self._log.info(
            "document_finished",
            document_id=finished.id,
            tokens=finished.tokens_read,
            tokens_resumed=job.tokens_resumed,
            finish_reasons=reasons,
        )

    def _keeping(self, job: Job, finished: Finished) -> Callable[[], Row] | None:
        """What stores the document's state for later runs, where it shall be kept."""
        kept = job.kept(finished.kept, self._assignment) if finished.kept is not None else None
        if kept is None:
            return None
        return partial(states.keep, self._assignment, kept, finished.tokens_read, job.parent_uri)

    def _broken_off(self, failed: Failed) -> None:
        """A document whose text ends in an error, or whose state was of another. Raises what is not the document's."""
        job = self._leaves(str(failed.id))
        if isinstance(failed.error, StateError):
            self._log.warning("read_again_from_the_start", document_id=job.document_id, reason=str(failed.error))
            self._read(replace(job, start=None, parent_uri=None))
        elif isinstance(failed.error, DocumentError):
            self._fail(job.failing(failed.error), failed.tokens_read)
        else:
            self._jobs[job.document_id] = job
            raise failed.error

    def _fail(self, job: Job, tokens_read: int) -> None:
        self._writer.publish(
            self._entries.failed(job, tokens_read), receipt(job.row, "failed", tokens_read), job.receipt
        )

    def _end(self, job: Job, tokens_read: int, so_far: Finished | None = None) -> None:
        """An attempt that goes on elsewhere or another day. Of a node that goes away nobody waits for receipts: Ray
        gives its documents to another actor."""
        waiting: Future[Row] = job.receipt if self._leave_by is None else Future()
        entry = self._entries.stopped(job, tokens_read, so_far)
        self._writer.publish(entry, receipt(job.row, "stopped", tokens_read), waiting)

    def _leaves(self, document_id: str) -> Job:
        self._queue.leave(document_id)
        return self._jobs.pop(document_id)

    def _stop_if_it_is_time(self) -> None:
        is_over = stopping.has_passed(self._assignment.deadline_us)
        reason = "deadline" if is_over else self._writer.stop_reason
        if reason is not None and self._stop_reason is None:
            self._stop_reason = reason
            self._wind_down(until=None)

    def _wind_down(self, until: float | None) -> None:
        """End all attempts in good order: answers under way are finished, then states are saved, the most expensive
        first. `until` is on the monotonic clock."""
        self._log.info("winding_down", reason=self._stop_reason or "preempted", documents=len(self._jobs))
        answering = _left(until, ANSWERING_SHARE)
        self._finish_answers(None if answering is None else time.monotonic() + answering)
        # Of a document there is one snapshot, and what is written last stays.
        self._writer.flush(_left(until))
        self._snapshots.take_all(self._jobs)
        if self._stop_reason is not None and self._assignment.summary_so_far:
            for document_id in self._engine.in_slots:
                self._engine.conclude(document_id)
            self._finish_answers(None)
        self._writer.flush(_left(until))
        self._actor.meter.spend("drain")
        in_slots = self._engine.in_slots
        for document_id, job in list(self._jobs.items()):
            self._engine.withdraw(document_id)
            self._leaves(document_id)
            self._end(job, in_slots.get(document_id, job.tokens_resumed))
        self._starved = True

    def _finish_answers(self, until: float | None) -> None:
        while self._engine.busy and (until is None or time.monotonic() < until):
            if not self._pass(read=False):
                break
            # Else the driver takes an actor that writes a long answer for dead.
            self._beat_when_due()

    def _leave(self) -> None:
        """The node goes away: everything is saved, and this process ends, so that the node is free at once."""
        assert self._leave_by is not None
        self._wind_down(self._leave_by)
        for job in [*self._queue.take_all(), *self._arrivals()]:
            # A suspect that has not gone in is no attempt yet.
            if not job.alone:
                self._end(job, job.tokens_resumed)
        self._writer.flush()
        self._actor.meter.spend("drain")
        self._writer.close(self._beat())
        self._log.info("actor_left", tokens_read=self._actor.reading().tokens_read)
        self._end_process()

    def _beat(self) -> Beat:
        in_slots = self._engine.in_slots
        return Beat(
            self._actor.reading(),
            tuple(
                _underway(self._jobs[document_id], spent, in_slots.get(document_id))
                for document_id, spent in self._actor.meter.documents().items()
                if document_id in self._jobs
            ),
            is_stopped=self._stop_reason is not None and not self._owed,
        )

    def _fail_all(self, error: Exception) -> None:
        jobs, self._jobs = [*self._jobs.values(), *self._queue.take_all(), *self._arrivals()], {}
        for job in jobs:
            job.receipt.set_exception(error)
        for job in jobs:
            if job.feed is not None:
                job.feed.close()


def _left(until: float | None, share: float = 1.0) -> float | None:
    """Seconds from now, or that share of them; None where there is no end."""
    return None if until is None else share * max(0.0, until - time.monotonic())


def _underway(job: Job, spent: Spent, tokens: int | None) -> Underway:
    return Underway(
        job.document_id,
        job.row["source_etag"],
        job.attempt,
        round(job.started_at.timestamp() * 1e6),
        spent,
        (tokens or job.tokens_resumed) - job.tokens_resumed,
        job.tokens_resumed,
    )


def _rate(assignment: Assignment, node_labels: Labels) -> Rate:
    """That of the device which this actor really has."""
    if assignment.device == "cpu":
        return assignment.rates.of_cpu(node_labels)
    if not torch.cuda.is_available():
        raise ModelError(f"torch {torch.__version__} sees no GPU on {platform.node()}: install its CUDA build there")
    return assignment.rates.of_gpu(torch.cuda.get_device_name(), node_labels)


def _engine(assignment: Assignment, directory: Path, tokenizer: Tokenizer) -> Engine:
    settings = assignment.engine
    if assignment.device == "cpu":
        torch.set_num_threads(settings.cpus_per_actor)
    model = checkpoint.load(directory, getattr(torch, assignment.dtype), assignment.device)
    slots, step_tokens = settings.slots_on(assignment.device), settings.step_tokens_on(assignment.device)
    preamble: list[int] = []
    if assignment.preamble is not None:
        preamble = [tokenizer.begin_id, *tokenizer.encode(assignment.preamble)]
    engine = Engine(model, tokenizer.end_id, slots_that_fit(model, slots, step_tokens), step_tokens, preamble)
    engine.warm_up()
    return engine
