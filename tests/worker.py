"""An actor without an engine: its meter, its entries, and its part of the ledger are real."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from random import Random

import pyarrow as pa

from configs.settings import PromptSettings
from models.engine.request import Answer, Finished, ReadState
from models.weights.tokenizer import Tokenizer
from pipeline.actor.entries import Entries
from pipeline.actor.gauge import ActorGauge
from pipeline.actor.job import Job
from pipeline.billing.metering import OVERHEADS, Meter, Rate
from pipeline.documents.handover import READ_ROW
from pipeline.ledger.records import (
    ENTRY,
    Claim,
    Entry,
    Heartbeat,
    MeterReading,
    Underway,
    batch_of,
    document_key,
    place_of,
)
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.document import Document
from pipeline.states import snapshot, stored
from pipeline.storage import objects
from tests.one_actor import assignment, tokenizer

ABOUT = {
    "started_at": datetime(2026, 11, 22, tzinfo=UTC).isoformat(),
    "settings_sha256": "s",
    "model_revision": "m",
    "config": {"price": {"currency": "USD"}, "model": {"uri": "default"}, "input": {"sources": ["x"]}},
}
PROMPTS = (PromptSettings(name="one"), PromptSettings(name="two"))


class Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


@cache
def words() -> Tokenizer:
    return tokenizer()


class Worker:
    """Of a document, `size_bytes` stands for its tokens."""

    def __init__(self, ledger: Ledger, draw: Random) -> None:
        self.ledger, self.draw, self.clock = ledger, draw, Clock()
        price = Decimal(draw.randint(1, 10**9)).scaleb(-6)
        self.actor = ActorGauge(Rate("H100", draw.randint(1, 8), price, "USD"))
        self.actor.meter = Meter(self.clock)
        self.assignment = assignment(run_id=ledger.run_id, prompts=PROMPTS)
        self.entries = Entries(self.assignment, self.actor, words())
        self.jobs: dict[str, Job] = {}
        self.read: dict[str, int] = {}
        """Tokens of each document, those before its start included."""
        self.pending: list[Entry] = []
        self.segments_written = 0
        self.start = draw.choice((1, 1, 1, 2))
        """Of the run. Two may not know of each other's attempts."""

    @property
    def has(self) -> set[str]:
        """Documents that it is at, or has not told the end of."""
        return {*self.jobs, *(entry["document_id"] for entry in self.pending)}

    def take(self, documents: Sequence[Document]) -> None:
        """As a batch; each from its snapshot, where it has one that is not refused."""
        keys = [document_key(document.document_id, document.source_etag) for document in documents]
        batch = batch_of(self.start, keys)
        number = max(self.ledger.claims(batch), default=0) + 1
        jobs = [self._job(document, key, batch, number) for document, key in zip(documents, keys, strict=True)]
        claims = [
            Claim(*_content(job), job.attempt, self.actor.id, 7, job.tokens_resumed, state_uri=job.parent_uri)
            for job in jobs
        ]
        assert self.ledger.begin_attempts(batch, number, claims)
        for job in jobs:
            if self.draw.random() < 0.1:
                job = replace(job, start=None, parent_uri=None)
            self.jobs[job.document_id], self.read[job.document_id] = job, job.tokens_resumed

    def _job(self, document: Document, key: str, batch: str, number: int) -> Job:
        row = dict.fromkeys(READ_ROW.names) | document.as_row() | {"title": "t", "made_by": "text"}
        begun = [claim for claim in self.ledger.claims_without_an_end({}) if claim.key == key]
        attempt = len(begun) + 1
        last = next((claim for claim in begun if claim.attempt == attempt - 1), None)
        # Of the last attempt, of another start of the run, an actor may not know.
        if last is not None and last.actor_id != self.actor.id and self.draw.random() < 0.1:
            attempt -= 1
        job = Job(row, datetime.now(UTC), Future(), batch, number, attempt)
        saved_uri = self.ledger.snapshot_uri(key)
        return job.starting(stored.load(saved_uri), saved_uri) if objects.exists(saved_uri) else job

    def work(self) -> None:
        """A pass through the model, an overhead, or a snapshot."""
        names = list(self.jobs)
        kind = self.draw.choice((*OVERHEADS[:-1], "pass", "pass", "pass", "save"))
        if kind == "save" and names:
            self.save(self.draw.choice(names))
        elif kind == "pass" and names:
            self.advance(self.draw.sample(names, self.draw.randint(1, len(names))))
        else:
            self._time_goes_by()
            self.actor.meter.spend(kind if kind in OVERHEADS else "idle")

    def advance(self, names: list[str], most: int = 2048) -> None:
        """What has been read is answered about."""
        self._time_goes_by()
        left = {name: self.jobs[name].row["size_bytes"] - self.read[name] for name in names}
        steps = {name: min(tokens, self.draw.randint(1, most)) for name, tokens in left.items() if tokens}
        for name, step in steps.items():
            self.read[name] += step
        self.actor.meter.spend_on(steps or dict.fromkeys(names, 1), decoding=not steps)

    def save(self, name: str) -> None:
        """Write a snapshot. Its actor may hear of it too late."""
        job, then = self.jobs[name], self.actor.meter.documents().get(name)
        if then is None:
            return
        taken = job.snapshot(ReadState({}, self.read[name], (), {}), self.assignment)
        key = document_key(*_content(job))
        objects.publish(self.ledger.snapshot_uri(key), snapshot.to_bytes(taken))
        if self.draw.random() < 0.5:
            self.actor.meter.save(name, then)

    def heartbeat(self) -> None:
        known = self.actor.meter.documents()
        underway = tuple(
            Underway(*_content(job), job.attempt, 7, known[name], self.read[name] - resumed, resumed, job.batch)
            for name, job in self.jobs.items()
            if name in known
            for resumed in (job.tokens_resumed,)
        )
        self.ledger.publish_heartbeat(Heartbeat(self.actor.reading(), underway))

    def end(self, name: str, outcome: str) -> None:
        """As the engine's driver and the ledger's writer do."""
        if outcome == "finished":
            self.advance([name], self.jobs[name].row["size_bytes"])
            self.read[name] = self.jobs[name].row["size_bytes"]
        job, tokens = self.jobs.pop(name), self.read.pop(name)
        answers = tuple(Answer((), "stop", 3, 0) for _ in PROMPTS)
        if outcome == "finished":
            entry = self.entries.finished(job, Finished(name, tokens, answers))
        elif outcome == "failed":
            broken = replace(job, row=job.row | {"error_class": "CorruptError", "error_message": "It breaks off."})
            entry = self.entries.failed(broken, tokens)
        else:
            so_far = Finished(name, tokens, answers, so_far=True) if self.draw.random() < 0.5 else None
            entry = self.entries.stopped(job, tokens, so_far)
        self.pending.append(entry)

    def flush(self) -> set[str]:
        """Write what has ended, and say of what there is a result or a failure now."""
        pending, self.pending = self.pending, []
        if pending:
            self.segments_written += 1
            entries = pa.Table.from_pylist(pending, ENTRY)
            self.ledger.publish_segment(self.actor.id, self.segments_written, entries)
        for entry in pending:
            if entry["outcome"] == "finished":
                objects.delete(self.ledger.snapshot_uri(place_of(entry)[0]))
        return {entry["document_id"] for entry in pending if entry["outcome"] in ("finished", "failed")}

    def leave(self) -> set[str]:
        """In good order; returns what `flush` does."""
        for name in list(self.jobs):
            self.save(name)
            self.end(name, "stopped")
        self.clock.now += self.draw.randint(0, 10**9)
        self.actor.meter.spend("drain")
        self.heartbeat()
        return self.flush()

    def _time_goes_by(self) -> None:
        self.clock.now += self.draw.choice((0, 1, 999, 1000, self.draw.randint(0, 10**11)))


def bill(ledger: Ledger) -> Decimal:
    """The last that is known of every meter, from beats and entries, times its price; nothing of `commit` is used."""
    entries: list[Entry] = ledger.entries()
    readings = [heartbeat.reading for heartbeat in ledger.heartbeats()]
    readings += [MeterReading(**entry["reading"]) for entry in entries if entry["reading"] is not None]
    most: dict[str, MeterReading] = {}
    for reading in readings:
        if reading.total_us >= most.get(reading.actor_id, reading).total_us:
            most[reading.actor_id] = reading
    return sum(
        (each.total_us * each.devices * Decimal(each.price_per_second) / 1_000_000 for each in most.values()),
        Decimal(0),
    )


def assert_tokens_add_up(costs: list[dict], summaries: list[dict]) -> None:
    """Of every finished document, what its attempts read is what it holds and what was read in vain."""
    totals = {_content_of(row): row["tokens_total"] for row in summaries if not row["truncated"]}
    attempts: dict[tuple, list[dict]] = {}
    for row in costs:
        if row["tokens_read"] is not None:
            attempts.setdefault(_content_of(row), []).append(row)
    for content, total in totals.items():
        rows = sorted(attempts[content], key=lambda row: row["attempt"])
        assert sum(row["tokens_read"] - row["tokens_wasted"] for row in rows) == total, content
        for row in rows:
            assert 0 <= row["tokens_wasted"] <= row["tokens_read"]
            # Another had come so far and had saved it.
            ends = [each["tokens_resumed"] + each["tokens_read"] for each in rows if each["attempt"] < row["attempt"]]
            assert not row["tokens_resumed"] or max(ends) >= row["tokens_resumed"]


def _content(job: Job) -> tuple[str, str]:
    return job.document_id, job.row["source_etag"]


def _content_of(row: dict) -> tuple[str, str, str]:
    return row["run_id"], row["document_id"], row["source_etag"]
