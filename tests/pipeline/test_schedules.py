"""Whatever the schedule, and whoever dies in it: costs sum to the actors' seconds times their prices, exactly."""

from collections import defaultdict
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from random import Random

import numpy as np
import pytest

from configs.settings import EngineSettings, PromptSettings
from models.request import Answer, Finished
from models.tokenizer import Tokenizer
from pipeline.actor import Actor
from pipeline.assignment import Assignment
from pipeline.commit import commit
from pipeline.documents import Document
from pipeline.entries import Entries, fenced
from pipeline.job import Job
from pipeline.ledger import NODE, Beat, Claim, Entry, Ledger, Reading, Underway, document_key
from pipeline.metering import OVERHEADS, Meter, Rate
from pipeline.rates import Rates
from pipeline.warehouse import Warehouse
from tests.one_actor import tokenizer

SCHEDULES, IN_CI = 1000, 200
"""CI takes the first of them, `make chaos` all."""
AT_ONCE = 20
"""Schedules in one output, each a run of its own."""
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
    """An actor without an engine: its meter, its entries, and its part of the ledger are real."""

    def __init__(self, ledger: Ledger, draw: Random) -> None:
        self.ledger, self.draw, self.clock = ledger, draw, Clock()
        price = Decimal(draw.randint(1, 10**9)).scaleb(-6)
        self.actor = Actor(Rate.hourly("H100", draw.randint(1, 8), price, "USD"))
        self.actor.meter = Meter(self.clock)
        assignment = Assignment(
            "o", ledger.run_id, "s", "default", "m", "cpu", "float32", PROMPTS, EngineSettings(), Rates(), 1
        )
        self.entries = Entries(assignment, self.actor, words())
        self.jobs: dict[str, Job] = {}

    def take(self, document: Document) -> None:
        key = document_key(document.document_id, document.source_etag)
        attempt = len(self.ledger.claims(key)) + 1
        claim = Claim(document.document_id, document.source_etag, attempt, self.actor.id, 7, 0)
        assert self.ledger.begin_attempt(claim)
        row = document.as_row() | {"title": None, "tokens": np.arange(9), "sections": None, "cuts": None}
        self.jobs[document.document_id] = Job(row, datetime.now(UTC), Future(), attempt)

    def work(self) -> None:
        """A pass through the model, an overhead, or a snapshot."""
        self.clock.now += self.draw.choice((0, 1, 999, 1000, self.draw.randint(0, 10**11)))
        names = list(self.jobs)
        kind = self.draw.choice((*OVERHEADS[:-1], "pass", "pass", "pass", "save"))
        if kind == "save" and names:
            name = self.draw.choice(names)
            if name in self.actor.meter.documents():
                self.actor.meter.save(name, self.actor.meter.documents()[name])
        elif kind == "pass" and names:
            some = self.draw.sample(names, self.draw.randint(1, len(names)))
            shares = {name: self.draw.randint(1, 2048) for name in some}
            self.actor.meter.spend_on(shares, decoding=self.draw.random() < 0.3)
        else:
            self.actor.meter.spend(kind if kind in OVERHEADS else "idle")

    def beat(self) -> None:
        known = self.actor.meter.documents()
        underway = tuple(
            Underway(job.document_id, job.row["source_etag"], job.attempt, 7, known[job.document_id], 5, 0)
            for job in self.jobs.values()
            if job.document_id in known
        )
        self.ledger.publish_beat(Beat(self.actor.reading(), underway))

    def end(self, name: str, outcome: str) -> None:
        """As the engine's driver and the ledger's writer do."""
        job, entry = self.jobs.pop(name), None
        answers = tuple(Answer((), "stop", 3, 0) for _ in PROMPTS)
        if outcome == "finished":
            entry = self.entries.finished(job, Finished(name, 9, answers))
        elif outcome == "failed":
            entry = self.entries.failed(job, 4)
        else:
            so_far = Finished(name, 5, answers, so_far=True) if self.draw.random() < 0.5 else None
            entry = self.entries.stopped(job, 5, so_far)
        if not self.ledger.publish(entry):
            assert self.ledger.publish(fenced(entry))

    def leave(self) -> None:
        """In good order."""
        for name in list(self.jobs):
            self.end(name, "stopped")
        self.clock.now += self.draw.randint(0, 10**9)
        self.actor.meter.spend("drain")
        self.beat()


def run_schedule(ledger: Ledger, draw: Random) -> list[Document]:
    """Until every document has a result or a failure. Actors die without a word, leave, wake up too late."""
    documents = [Document(f"{ledger.run_id}-{index}", f"/{index}", "v1", 5) for index in range(draw.randint(1, 4))]
    workers = [Worker(ledger, draw) for _ in range(draw.randint(1, 3))]
    left = {document.document_id: document for document in documents}
    for step in range(1000):
        worker = draw.choice(workers)
        happens = draw.random()
        if happens < 0.15:
            # Maybe of a document that another actor is at as well: of two results one is fenced.
            document = draw.choice(documents)
            if document.document_id in left and document.document_id not in worker.jobs:
                worker.take(document)
        elif happens < 0.25 and worker.jobs:
            name = draw.choice(list(worker.jobs))
            outcome = draw.choice(("finished", "finished", "stopped", "failed"))
            worker.end(name, outcome)
            if outcome in ("finished", "failed"):
                left.pop(name, None)
        elif happens < 0.30:
            worker.beat()
        elif happens < 0.35:
            workers.remove(worker)
            if draw.random() < 0.5:
                worker.leave()
            workers.append(Worker(ledger, draw))
        else:
            worker.work()
        if not left and step > 30:
            break
    assert not left
    for worker in workers:
        worker.leave()
    return documents


def bill(ledger: Ledger) -> Decimal:
    """The last that is known of every meter, from beats and entries, times its price; nothing of `commit` is used."""
    entries: list[Entry] = ledger.entries()
    readings = [beat.reading for beat in ledger.beats()] + [Reading(**entry["reading"]) for entry in entries]
    most: dict[str, Reading] = {}
    for reading in readings:
        if reading.total_us >= most.get(reading.actor_id, reading).total_us:
            most[reading.actor_id] = reading
    return sum(
        (each.total_us * each.devices * Decimal(each.price_per_second) / 1_000_000 for each in most.values()),
        Decimal(0),
    )


@pytest.mark.parametrize(
    "first",
    [pytest.param(first, marks=() if first < IN_CI else pytest.mark.chaos) for first in range(0, SCHEDULES, AT_ONCE)],
)
def test_costs_sum_to_the_bill_whatever_the_schedule(tmp_path, first):
    bills: dict[str, Decimal] = {}
    for seed in range(first, first + AT_ONCE):
        draw = Random(seed)
        ledger = Ledger(str(tmp_path), f"seed-{seed}")
        ledger.begin(ABOUT | {"run_id": ledger.run_id})
        documents = run_schedule(ledger, draw)
        head = Rate.hourly(NODE, 1, Decimal("0.37"), "USD")
        served_us = draw.randint(1, 10**9)
        reading = Actor(head).reading()
        ledger.publish_beat(Beat(replace(reading, total_us=served_us, node_us=served_us)))
        job = commit(ledger, documents)
        bills[ledger.run_id] = bill(ledger)
        assert job["cost"] == bills[ledger.run_id], ledger.run_id

    tables = Warehouse(str(tmp_path))
    costs, rows = defaultdict(Decimal), tables.rows("select * from costs")
    for row in rows:
        assert row["cost"] == row["gpu_seconds"] * row["price_per_second"]
        assert 0 <= (row["decode_seconds"] or 0) <= row["gpu_seconds"]
        costs[row["run_id"]] += row["cost"]
    assert costs == bills
    results = "(select run_id, cost, full_cost from summaries union all select run_id, cost, full_cost from failures)"
    sums = tables.rows(f"select run_id, sum(full_cost) as full_cost, sum(cost) as cost from {results} group by run_id")
    assert {row["run_id"]: row["full_cost"] for row in sums} == bills
    direct = tables.rows("select run_id, sum(cost) as cost from costs where kind = 'document' group by run_id")
    assert {row["run_id"]: row["cost"] for row in direct} == {row["run_id"]: row["cost"] for row in sums}
    begun = tables.rows("select count(distinct (document_id, attempt)) as n from costs where attempt is not null")
    assert begun[0]["n"] == sum(len(Ledger(str(tmp_path), run_id).places()) for run_id in bills)
