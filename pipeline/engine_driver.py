"""The thread that drives an actor's engine: takes documents, runs passes, charges their time, hands results on."""

import ctypes
import platform
import queue
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread
from typing import Any

import structlog
import torch

from configs.errors import DocumentError, ModelError
from configs.settings import PromptSettings
from models import checkpoint
from models.engine import Check, Engine, Failed, Finished, Prompt, Request
from models.feed import ArrayFeed, Feed
from models.sampling import Sampling
from models.sizing import slots_that_fit
from models.tokenizer import Tokenizer
from pipeline import prompts
from pipeline.actor import Actor
from pipeline.assignment import Assignment, Row
from pipeline.checks import AnswerCheck
from pipeline.documents import Document
from pipeline.entries import Entries
from pipeline.ledger import Entry, Ledger
from pipeline.ledger_writer import LedgerWriter
from pipeline.metering import Rate
from pipeline.token_feed import TokenFeed

log = structlog.get_logger()

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
KEPT_BYTES, LARGEST_ON_HEAP = 1 << 30, 32 << 20


@dataclass(frozen=True)
class _Job:
    row: Row
    started_at: datetime
    receipt: "Future[Row]"
    feed: Feed | None = None
    """Set when the engine gets it."""


@dataclass(frozen=True)
class _Asked:
    """A prompt of the settings as the engine takes it."""

    settings: PromptSettings
    question: tuple[int, ...]
    check: Check

    @staticmethod
    def of(settings: PromptSettings, tokenizer: Tokenizer) -> "_Asked":
        question = tokenizer.encode(prompts.render(settings.instruction, settings.json_schema))
        check = AnswerCheck(settings)
        return _Asked(settings, tuple(question), lambda tokens: check.judge(tokenizer.decode(tokens)).reason)

    def prompt(self, document_id: str) -> Prompt:
        return Prompt(self.question, _sampling(self.settings, document_id), self.check)


class EngineDriver(Thread):
    """Only this thread touches the engine and closes the meter's intervals."""

    def __init__(self, assignment: Assignment) -> None:
        super().__init__(name="engine", daemon=True)
        if assignment.device == "cpu":
            keep_freed_memory()
        self._actor = Actor(_named(assignment))
        self._assignment = assignment
        self._log = log.bind(run_id=assignment.run_id, actor_id=self._actor.id)
        self._writer = LedgerWriter(Ledger(assignment.output_uri, assignment.run_id), self._actor.id)
        self._writer.start()
        self._inbox: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._jobs: dict[str, _Job] = {}
        self._news = Event()
        """A document came, or tokens of one that the engine waits for."""
        self._starved = True
        """Whether the engine can do nothing before there is news."""
        self._heartbeat_due = 0.0
        self._broken: Exception | None = None

    def submit(self, row: Row) -> "Future[Row]":
        """Queue a document (a `READ_ROW`); the future holds its receipt once its rows are in the ledger.

        It raises what stopped the engine: ModelError where the model does not load or is not the one that the driver
        of the run fingerprinted, StorageError where the ledger cannot be written.
        """
        job = _Job(row, datetime.now(UTC), Future())
        self._inbox.put(job)
        self._news.set()
        if self._broken is not None:
            self._fail_all(self._broken)
        return job.receipt

    def run(self) -> None:
        try:
            self._load()
            while True:
                self._work()
        except Exception as error:  # every caller must hear of it, or Ray would wait for ever
            self._log.exception("engine_stopped")
            self._broken = error
            self._fail_all(error)

    def _load(self) -> None:
        """In this thread, not in the constructor's: glibc gives each thread memory of its own, and what the warm-up
        takes must be there for the passes."""
        directory = checkpoint.resolve(self._assignment.model_uri)
        if checkpoint.fingerprint(directory) != self._assignment.model_revision:
            raise ModelError(f"{directory} on {self._actor.node} holds other weights than the run was planned with")
        tokenizer = Tokenizer.find(self._assignment.tokenizer_uri, self._assignment.model_uri)
        self._tokenizer = tokenizer
        self._engine = _engine(self._assignment, directory, tokenizer)
        sections = self._assignment.sections
        self._asked = [_Asked.of(each, tokenizer) for each in self._assignment.prompts]
        self._asked_of_sections = [_Asked.of(each, tokenizer) for each in (sections.prompts if sections else ())]
        self._entries = Entries(self._assignment, self._actor, tokenizer)
        self._actor.meter.spend("startup")
        self._log.info("actor_ready", state_bytes=self._engine.state_bytes)

    def _work(self) -> None:
        """One pass, or a wait for documents or their tokens; and a heartbeat when it is due."""
        self._take_jobs()
        if self._engine.busy:
            self._pass()
        if time.monotonic() >= self._heartbeat_due:
            self._writer.publish_reading(self._actor.reading())
            self._heartbeat_due = time.monotonic() + self._assignment.heartbeat_seconds

    def _take_jobs(self) -> None:
        """All that have come. With nothing to do, wait for news until the next heartbeat."""
        if self._starved:
            self._news.wait(self._assignment.heartbeat_seconds)
            self._actor.meter.spend("idle")
        # Before looking, so that what comes from here on is news again.
        self._news.clear()
        with suppress(queue.Empty):
            while True:
                self._admit(self._inbox.get_nowait())

    def _pass(self) -> None:
        done = self._engine.step()
        if done.kind != "wait":
            self._actor.count(done)
        for finished in done.finished:
            self._summarised(finished)
        for failed in done.failed:
            self._broken_off(failed)
        # A document that failed has made room for another.
        self._starved = not self._engine.busy or (done.kind == "wait" and not done.failed)

    def _admit(self, job: _Job) -> None:
        document_id = job.row["document_id"]
        if job.row["error_class"] is not None:
            self._hand_on(job, self._entries.failed(job.row, job.started_at, tokens_read=0), tokens_read=0)
            return
        feed = self._feed(job.row)
        self._jobs[document_id] = replace(job, feed=feed)
        whole, sections = (
            tuple(each.prompt(document_id) for each in asked) for asked in (self._asked, self._asked_of_sections)
        )
        self._engine.submit(Request(document_id, feed, whole, sections))

    def _feed(self, row: Row) -> Feed:
        if not row["is_streamed"]:
            starts = [section["start"] for section in row["sections"] or ()]
            return ArrayFeed(row["tokens"], starts[1:])
        assert self._assignment.input is not None, "documents that travel as handles need Assignment.input"
        return TokenFeed(
            Document.from_row(row),
            self._assignment.input,
            self._tokenizer,
            self._news.set,
            sections=self._assignment.sections,
        )

    def _summarised(self, finished: Finished) -> None:
        job = self._jobs.pop(str(finished.id))
        row = job.row
        if isinstance(job.feed, TokenFeed):
            row = row | {"sections": [asdict(section) for section in job.feed.sections]}
        self._hand_on(job, self._entries.summarised(row, job.started_at, finished), finished.tokens_read)
        reasons = [answer.finish_reason for answer in finished.answers]
        self._log.info(
            "document_finished", document_id=finished.id, tokens=finished.tokens_read, finish_reasons=reasons
        )

    def _broken_off(self, failed: Failed) -> None:
        """A document whose text ends in an error. Raises the error where it is not the document's."""
        if not isinstance(failed.error, DocumentError):
            raise failed.error
        job = self._jobs.pop(str(failed.id))
        reason = {"error_class": type(failed.error).__name__, "error_message": str(failed.error)}
        job = replace(job, row=job.row | reason)
        self._hand_on(job, self._entries.failed(job.row, job.started_at, failed.tokens_read), failed.tokens_read)

    def _hand_on(self, job: _Job, entry: Entry, tokens_read: int) -> None:
        receipt: dict[str, Any] = {
            name: job.row[name] for name in ("document_id", "error_class", "error_message", "size_bytes")
        }
        receipt |= {"status": "ok" if job.row["error_class"] is None else "failed", "tokens_read": tokens_read}
        self._writer.publish(entry, receipt, job.receipt)

    def _fail_all(self, error: Exception) -> None:
        jobs, self._jobs = list(self._jobs.values()), {}
        with suppress(queue.Empty):
            while True:
                jobs.append(self._inbox.get_nowait())
        for job in jobs:
            job.receipt.set_exception(error)
        for job in jobs:
            if job.feed is not None:
                job.feed.close()


def _named(assignment: Assignment) -> Rate:
    """The rate with the name of the GPU that this actor really has."""
    if assignment.device == "cpu" or not torch.cuda.is_available():
        return assignment.rate
    return replace(assignment.rate, gpu_type=torch.cuda.get_device_name())


def _engine(assignment: Assignment, directory: Path, tokenizer: Tokenizer) -> Engine:
    settings = assignment.engine
    if assignment.device == "cpu":
        torch.set_num_threads(settings.cpus_per_actor)
    elif not torch.cuda.is_available():
        raise ModelError(f"torch {torch.__version__} sees no GPU on {platform.node()}: install its CUDA build there")
    model = checkpoint.load(directory, getattr(torch, assignment.dtype), assignment.device)
    slots, step_tokens = settings.slots_on(assignment.device), settings.step_tokens_on(assignment.device)
    engine = Engine(model, tokenizer.end_id, slots_that_fit(model, slots, step_tokens), step_tokens)
    engine.warm_up()
    return engine


def keep_freed_memory() -> None:
    """Let glibc keep what a pass frees for the next one, instead of returning it and faulting it in again.

    Measured over 80,000 tokens: memory is flat from the warm-up on, where it crept up by 5 %, in less CPU time.
    """
    with suppress(OSError, AttributeError):  # another C library does as it likes
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP)
        libc.mallopt(M_ARENA_MAX, 1)


def _sampling(prompt: PromptSettings, document_id: str) -> Sampling:
    """Each document and prompt draws from its own stream, whatever else is in the batch."""
    digest = sha256(f"{prompt.seed}/{prompt.name}/{document_id}".encode()).digest()
    return Sampling(prompt.max_tokens, prompt.temperature, prompt.top_p, int.from_bytes(digest[:8]))
