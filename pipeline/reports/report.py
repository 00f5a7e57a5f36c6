"""What runs did and cost: every figure of a report, of an output as a whole, of its last days, or of one run.

Figures are kept apart by currency; nothing is converted. Sums of money are exact, ratios are rounded.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pipeline.billing.money import MILLION, part, per
from pipeline.reports import breakdown, utilization
from pipeline.reports.breakdown import Breakdown
from pipeline.reports.queries import (
    ATTEMPTS,
    CHOOSE,
    CURRENCIES,
    DOCUMENTS,
    FAILURES,
    NIGHTS,
    RUNS,
    SPENT,
    SPOT,
    UNSUPPORTED,
)
from pipeline.reports.utilization import Slice
from pipeline.reports.warehouse import Warehouse

MAX_DOCUMENTS = 10
KINDS = ("prefill", "decode", "startup", "load", "idle", "snapshot", "drain", "node", "wasted")
"""Kinds of cost, in the order of a run's phases."""
QUOTED_LIKE = {"currency": "currency", "documents": "documents_total"}
"""Fields of a quote, and the columns of its run that must be equal for the two to be comparable."""
ON_DOCUMENTS = ("prefill", "decode")
"""The kinds that `costs` combines as `document`."""


@dataclass(frozen=True)
class Quoted:
    """The quote of a run, compared with its actual cost."""

    cost: Decimal
    difference: Decimal
    """Actual cost minus quote, as a share of the quote."""
    tokens: int | None


@dataclass(frozen=True)
class Run:
    """One run as its row of `jobs` and its rows of `costs` have it."""

    run_id: str
    status: str | None
    day: date
    started_at: datetime | None
    seconds: float | None
    """From start to end; for a run that was stopped and resumed, the sum over its starts."""
    documents: int
    documents_failed: int
    documents_left: int
    tokens_read: int
    device_type: str | None
    device_seconds: Decimal
    cost: Decimal
    cost_per_million_tokens: Decimal | None
    cost_per_document: Decimal | None
    currency: str
    cost_of_documents: Decimal
    """Of the attempts at them; the rest is overhead, or wasted."""
    wasted: Decimal
    used: float | None
    """Share of the devices' time that went to documents."""
    model_id: str | None
    quote: Quoted | None


@dataclass(frozen=True)
class Night:
    """The work of runs that were started or resumed on one day."""

    day: date
    runs: int
    documents: int
    tokens_read: int
    cost: Decimal
    cost_of_documents: Decimal
    wasted: Decimal
    cost_per_million_tokens: Decimal | None
    used: float | None


@dataclass(frozen=True)
class CostSums:
    """The sum of one kind of cost. `cause` is why time was wasted, or `failed` for documents that failed."""

    kind: str
    cause: str | None
    cost: Decimal
    device_seconds: Decimal
    parts: int


@dataclass(frozen=True)
class Spot:
    """The cost of spot machines, compared with the same work on demand, without what was lost by preemption."""

    paid: Decimal
    on_demand: Decimal
    saved: Decimal


@dataclass(frozen=True)
class Dearest:
    """One of the most expensive documents, over all runs that read it."""

    document_id: str
    title: str | None
    size_bytes: int | None
    tokens_read: int
    cost: Decimal
    attempts: int
    runs: int


@dataclass(frozen=True)
class Failure:
    """Documents that failed for one reason, and the first of them."""

    error_class: str
    documents: int
    document_id: str
    error_message: str | None


@dataclass(frozen=True)
class Account:
    """All costs in one currency. Runs and nights are sorted with the newest first."""

    currency: str
    first_day: date
    last_day: date
    documents: int
    documents_failed: int
    documents_left: int
    """After the newest run."""
    answers_unsupported: int
    """Answers with numbers or names that their document does not hold, as far as that was looked at."""
    tokens_read: int
    device_seconds: Decimal
    used: float | None
    cost: Decimal
    cost_per_million_tokens: Decimal | None
    cost_per_document: Decimal | None
    wasted: Decimal
    attempts: dict[str, int]
    """Number of attempts by their outcome."""
    spent: list[CostSums]
    spot: Spot | None
    """None if no price of spot machines is known."""
    nights: list[Night]
    runs: list[Run]
    top_documents: list[Dearest]
    failures: list[Failure]
    by: dict[Breakdown, list[breakdown.Group]]
    newest_run: list[Slice]
    """How the devices' time of the newest run was used, in slices of it."""

    def spent_on(self, kind: str) -> list[CostSums]:
        """The sums of one kind of cost, one for each cause."""
        return [spent for spent in self.spent if spent.kind == kind]


@dataclass(frozen=True)
class Report:
    """Everything that `jobs.report` shows."""

    output: str
    made_at: datetime
    run_id: str | None
    since: date | None
    """Only runs that began on this day or later."""
    accounts: list[Account]
    """One per currency, that of the newest run first; empty if there are no runs."""

    @property
    def runs(self) -> list[Run]:
        """The runs of all currencies, the newest first."""
        runs = [run for account in self.accounts for run in account.runs]
        return sorted(runs, key=lambda run: (str(run.started_at or ""), run.run_id), reverse=True)


def report(
    warehouse: Warehouse,
    run_id: str | None = None,
    days: int | None = None,
    by: Sequence[Breakdown] = tuple(Breakdown),
) -> Report:
    """Report on all runs, those that began in the last `days` days (UTC, including today), or one run."""
    made_at = datetime.now(UTC)
    since = None if days is None else made_at.date() - timedelta(days=days - 1)
    _choose(warehouse, run_id, since)
    found = warehouse.rows(CURRENCIES)
    accounts = [_account(warehouse, row["currency"], by) for row in found]
    return Report(warehouse.uri, made_at, run_id, since, accounts)


def _choose(warehouse: Warehouse, run_id: str | None, since: date | None) -> None:
    jobs, costs = CHOOSE
    warehouse.sql(jobs, run=run_id, since=since)
    warehouse.sql(costs)


def _account(warehouse: Warehouse, currency: str, by: Sequence[Breakdown]) -> Account:
    runs = [_run(row) for row in warehouse.rows(RUNS, currency=currency)]
    kinds = {"kinds": list(KINDS), "on_documents": list(ON_DOCUMENTS)}
    spent = [CostSums(**row) for row in warehouse.rows(SPENT, currency=currency, **kinds)]
    nights = [_night(row) for row in warehouse.rows(NIGHTS, currency=currency)]
    attempts = warehouse.rows(ATTEMPTS, currency=currency)
    dearest = warehouse.rows(DOCUMENTS, currency=currency, most=MAX_DOCUMENTS)
    seconds = sum((each.device_seconds for each in spent if each.kind != "node"), Decimal(0))
    on_documents = sum((each.device_seconds for each in spent if each.kind in ON_DOCUMENTS), Decimal(0))
    cost = sum((run.cost for run in runs), Decimal(0))
    documents, tokens = sum(run.documents for run in runs), sum(run.tokens_read for run in runs)
    return Account(
        currency=currency,
        first_day=min([run.day for run in runs] + [night.day for night in nights]),
        last_day=max([run.day for run in runs] + [night.day for night in nights]),
        documents=documents,
        documents_failed=sum(run.documents_failed for run in runs),
        documents_left=runs[0].documents_left,
        answers_unsupported=warehouse.rows(UNSUPPORTED, currency=currency)[0]["answers"],
        tokens_read=tokens,
        device_seconds=seconds,
        used=part(on_documents, seconds),
        cost=cost,
        cost_per_million_tokens=per(cost, tokens, MILLION),
        cost_per_document=per(cost, documents),
        wasted=sum((run.wasted for run in runs), Decimal(0)),
        attempts={row["outcome"] or "unknown": row["attempts"] for row in attempts},
        spent=spent,
        spot=_spot(warehouse, currency),
        nights=nights,
        runs=runs,
        top_documents=[Dearest(**row) for row in dearest],
        failures=[Failure(**row) for row in warehouse.rows(FAILURES, currency=currency)],
        by={each: breakdown.groups(warehouse, each, currency) for each in by},
        newest_run=utilization.slices(warehouse, runs[0].run_id),
    )


def _run(row: dict[str, Any]) -> Run:
    cost, seconds = row["cost"] or Decimal(0), row["device_seconds"] or Decimal(0)
    documents, tokens = row["documents_succeeded"] or 0, row["tokens_read"] or 0
    return Run(
        run_id=row["run_id"],
        status=row["status"],
        day=row["dt"],
        started_at=row["started_at"],
        seconds=row["seconds"],
        documents=documents,
        documents_failed=row["documents_failed"] or 0,
        documents_left=row["documents_left"] or 0,
        tokens_read=tokens,
        device_type=row["device_type"],
        device_seconds=seconds,
        cost=cost,
        cost_per_million_tokens=per(cost, tokens, MILLION),
        cost_per_document=per(cost, documents),
        currency=row["currency"],
        cost_of_documents=row["cost_of_documents"],
        wasted=row["wasted"],
        used=part(row["document_seconds"] or Decimal(0), seconds),
        model_id=row["model_id"],
        quote=_quoted(row, cost),
    )


def _quoted(run: dict[str, Any], actual: Decimal) -> Quoted | None:
    """A quote is compared only if it has the run's currency and number of documents: a run that is resumed another
    night may have more documents by then."""
    quote = (json.loads(run["quote"], parse_float=Decimal) if run["quote"] else None) or {}
    is_other = any(quote.get(name, run[column]) != run[column] for name, column in QUOTED_LIKE.items())
    if quote.get("cost") is None or is_other:
        return None
    cost = Decimal(quote["cost"])
    return Quoted(cost, per(actual - cost, cost) or Decimal(0), quote.get("tokens"))


def _spot(warehouse: Warehouse, currency: str) -> Spot | None:
    row = warehouse.rows(SPOT, currency=currency)[0]
    if row["paid"] is None:
        return None
    on_demand = row["on_demand"] or Decimal(0)
    return Spot(row["paid"], on_demand, on_demand - row["paid"])


def _night(row: dict[str, Any]) -> Night:
    cost, tokens = row["cost"], row["tokens_read"]
    return Night(
        day=row["day"],
        runs=row["runs"],
        documents=row["documents"],
        tokens_read=tokens,
        cost=cost,
        cost_of_documents=row["cost_of_documents"],
        wasted=row["wasted"],
        cost_per_million_tokens=per(cost, tokens, MILLION),
        used=part(row["document_seconds"], row["seconds"]),
    )
