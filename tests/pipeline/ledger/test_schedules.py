"""Whatever the schedule, and whoever dies in it: costs sum to the actors' seconds times their prices, exactly, and
tokens to those of the documents and those that were read in vain."""

from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from pipeline.actor.gauge import ActorGauge
from pipeline.billing.metering import NODE, Rate
from pipeline.ledger.commit import commit
from pipeline.ledger.records import Heartbeat
from pipeline.ledger.run_folder import Ledger
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.document import Document
from tests.worker import ABOUT, Worker, assert_tokens_add_up, bill

SCHEDULES, IN_CI = 1000, 40
"""CI takes the first of them, `make chaos` all."""
AT_ONCE = 20
"""Schedules in one output, each a run of its own."""


def run_schedule(ledger: Ledger, draw: Random) -> list[Document]:
    """Until every document has a result or a failure. Actors die without a word, leave, wake up too late."""
    documents = [
        Document(f"{ledger.run_id}-{index}", f"/{index}", "v1", draw.randint(1, 5000))
        for index in range(draw.randint(1, 4))
    ]
    workers = [Worker(ledger, draw) for _ in range(draw.randint(1, 3))]
    left = {document.document_id: document for document in documents}
    ended: set[str] = set()
    for step in range(5000):
        worker = draw.choice(workers)
        happens = draw.random()
        if happens < 0.15:
            # Maybe of a document that another actor is at as well: of two results one is fenced.
            some = draw.sample(documents, draw.randint(1, min(2, len(documents))))
            if all(each.document_id in left and each.document_id not in worker.has for each in some):
                worker.take(some)
        elif happens < 0.25 and worker.jobs:
            name = draw.choice(list(worker.jobs))
            worker.end(name, draw.choice(("finished", "finished", "stopped", "failed")))
        elif happens < 0.27:
            ended |= worker.flush()
        elif happens < 0.30:
            worker.heartbeat()
        elif happens < 0.35:
            workers.remove(worker)
            if draw.random() < 0.5:
                ended |= worker.leave()
            workers.append(Worker(ledger, draw))
        else:
            worker.work()
        for name in ended:
            left.pop(name, None)
        if not left and step > 30:
            break
    assert not left
    for worker in workers:
        worker.leave()
    return documents


@pytest.mark.parametrize(
    "first",
    [pytest.param(first, marks=() if first < IN_CI else pytest.mark.chaos) for first in range(0, SCHEDULES, AT_ONCE)],
)
def test_costs_sum_to_the_bill_and_tokens_to_what_was_read_whatever_the_schedule(tmp_path, first):
    bills: dict[str, Decimal] = {}
    for seed in range(first, first + AT_ONCE):
        draw = Random(seed)
        ledger = Ledger(str(tmp_path), f"seed-{seed}")
        ledger.begin(ABOUT | {"run_id": ledger.run_id})
        documents = run_schedule(ledger, draw)
        head = Rate(NODE, 1, Decimal("0.37"), "USD")
        served_us = draw.randint(1, 10**9)
        reading = ActorGauge(head).reading()
        ledger.publish_heartbeat(Heartbeat(replace(reading, total_us=served_us, node_us=served_us)))
        job = commit(ledger, documents)
        bills[ledger.run_id] = bill(ledger)
        assert job["cost"] == bills[ledger.run_id], ledger.run_id

    tables = Warehouse(str(tmp_path))
    costs, rows = defaultdict(Decimal), tables.rows("select * from costs")
    for row in rows:
        assert row["cost"] == row["device_seconds"] * row["price_per_second"]
        assert 0 <= (row["decode_seconds"] or 0) <= row["device_seconds"]
        costs[row["run_id"]] += row["cost"]
    assert costs == bills
    results = "(select run_id, cost, full_cost from summaries union all select run_id, cost, full_cost from failures)"
    sums = tables.rows(f"select run_id, sum(full_cost) as full_cost, sum(cost) as cost from {results} group by run_id")
    assert {row["run_id"]: row["full_cost"] for row in sums} == bills
    direct = tables.rows("select run_id, sum(cost) as cost from costs where kind = 'document' group by run_id")
    assert {row["run_id"]: row["cost"] for row in direct} == {row["run_id"]: row["cost"] for row in sums}
    begun = tables.rows("select count(distinct (document_id, attempt)) as n from costs where attempt is not null")
    assert begun[0]["n"] == sum(len(Ledger(str(tmp_path), run_id).claims_without_an_end({})) for run_id in bills)
    assert_tokens_add_up(rows, tables.rows("select * from summaries"))
