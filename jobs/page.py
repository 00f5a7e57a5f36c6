"""A report as one self-contained HTML page for the people who pay for runs: plots, tables and what they mean.

There is no script in it.
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from jobs import look, plots
from jobs.look import day_of, percent
from jobs.overview import in_bill
from jobs.plots import Column
from pipeline.billing.money import MILLION, per
from pipeline.reports.quantities import count, duration, money
from pipeline.reports.reconciliation import Reconciliation
from pipeline.reports.report import Account, Night, Report
from pipeline.reports.utilization import Slice

MAX_NIGHTS = 90
MAX_RUNS = 30
MAX_GROUPS = 12
SAME = Decimal("0.005")
KINDS = {
    "prefill": ("Reading documents", "reading the text, and the questions about it"),
    "decode": ("Writing summaries", "answers, word by word"),
    "failed": ("Documents that failed", "time spent on documents that could not be finished"),
    "startup": ("Starting workers", "from the start of a worker until it loads the model"),
    "load": ("Loading the model", "copying the model to the device and warming it up"),
    "idle": ("Waiting", "workers without text to read"),
    "snapshot": ("Saving progress", "so that a lost machine costs seconds, not hours"),
    "drain": ("Leaving machines", "handing work over before a machine is taken away"),
    "node": ("Other machines", "the head of the cluster and machines that only read files"),
    "lost": ("Wasted: machine lost", "work since the last save, on a machine that went away"),
    "fenced": ("Wasted: done twice", "another worker had finished the document first"),
    "stopped": ("Wasted: stopped", "work that was not saved when a run stopped"),
    "unknown": ("Wasted: unassigned", "time of lost workers that belongs to no one document"),
}
"""Of a kind of cost, or of a cause: a name, and what it means."""

STATUSES = {"succeeded": "finished", "partial": "finished, with failures", "stopped": "stopped, to be resumed"}


def page(report: Report, reconciliation: Reconciliation | None = None) -> str:
    """The page's HTML."""
    return look.render(
        "page.html",
        report=report,
        reconciliation=reconciliation,
        billed=reconciliation and in_bill(reconciliation),
        kinds=KINDS,
        statuses=STATUSES,
        max_runs=MAX_RUNS,
        max_groups=MAX_GROUPS,
        period=period,
        step=_step,
        trend=trend,
        nights_plot=_nights_plot,
        unit_plot=_unit_plot,
        use_plot=_use_plot,
        run_plot=_run_plot,
    )


def period(account: Account) -> str:
    """`16 to 22 November 2026`."""
    first, last = account.first_day, account.last_day
    if first == last:
        return day_of(last)
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {day_of(last)}"
    return f"{day_of(first)} to {day_of(last)}"


def trend(account: Account) -> str:
    """The newest night beside those before it, as a sentence."""
    newest, *before = account.nights
    said = f"{day_of(newest.day)}: {money(newest.cost, account.currency)}"
    usual = per(sum((night.cost for night in before), Decimal(0)), sum(night.tokens_read for night in before), MILLION)
    if not usual or newest.cost_per_million_tokens is None:
        return f"{said}."
    change = newest.cost_per_million_tokens / usual - 1
    than = f"{percent(abs(change))} {'more' if change > 0 else 'less'} for each token than in the nights before"
    return f"{said}, {than if abs(change) >= SAME else 'as much for each token as in the nights before'}."


def _nights_plot(account: Account) -> Markup:
    """Cost per night by what it went to."""

    def column(night: Night) -> Sequence[tuple[str, float]]:
        wasted = float(night.wasted)
        documents = float(night.cost_of_documents)
        return ("documents", documents), ("overhead", float(night.cost) - wasted - documents), ("waste", wasted)

    def title(night: Night) -> str:
        cost, wasted = money(night.cost, account.currency), money(night.wasted, account.currency)
        return f"{day_of(night.day)}: {cost}, of which {wasted} wasted; {count(night.documents)} documents"

    columns = [
        Column(_short(day), title(night), column(night)) if night else _none(day) for day, night in _days(account)
    ]
    return plots.bars("Cost of each night", columns, _tick(account.currency))


def _unit_plot(account: Account) -> Markup:
    """Cost per million tokens, night by night."""
    columns = []
    for day, night in _days(account):
        cost = night.cost_per_million_tokens if night else None
        title = f"{day_of(day)}: {money(cost, account.currency)} per million tokens"
        columns.append(_none(day) if cost is None else Column(_short(day), title, [("documents", float(cost))]))
    return plots.line("Cost per million tokens, night by night", columns, _tick(account.currency))


def _use_plot(account: Account) -> Markup:
    """Share of the devices' time that went to documents, night by night."""
    columns = []
    for day, night in _days(account):
        used = night.used if night else None
        columns.append(_none(day) if used is None else _share(_short(day), day_of(day), used))
    return plots.bars("Share of device time that went to documents, night by night", columns, percent_tick, top=1)


def _run_plot(slices: Sequence[Slice]) -> Markup:
    """The same of one run as it went on."""
    columns = []
    for each in slices:
        label = f"{each.began_at:%H:%M:%S}" if each.seconds < 60 else f"{each.began_at:%H:%M}"
        when = f"{label} UTC, {_step(each.seconds)}"
        columns.append(Column(label, when) if each.used is None else _share(label, when, each.used))
    return plots.bars("Share of device time that went to documents as the run went on", columns, percent_tick, top=1)


def _share(label: str, when: str, used: float) -> Column:
    return Column(label, f"{when}: {percent(used)} to documents", [("documents", used), ("unused", 1 - used)])


def _step(seconds: int) -> str:
    """`5s`, `1m`: a slice's length is a whole number."""
    return f"{seconds}s" if seconds < 60 else duration(seconds)


def percent_tick(value: float) -> str:
    """A share between 0 and 1, as an axis of a plot shows it."""
    return f"{value:.0%}"


def _tick(currency: str) -> Any:
    return lambda value: money(Decimal(f"{value:.12g}"), currency)


def _days(account: Account) -> Iterable[tuple[date, Night | None]]:
    """The last of them, those without a run too, the oldest first."""
    nights = {night.day: night for night in account.nights}
    first = max(account.first_day, account.last_day - timedelta(days=MAX_NIGHTS - 1))
    for number in range((account.last_day - first).days + 1):
        day = first + timedelta(days=number)
        yield day, nights.get(day)


def _none(day: date) -> Column:
    return Column(_short(day), f"{day_of(day)}: no run")


def _short(day: date) -> str:
    """`3 Mar`."""
    return f"{day.day} {day:%b}"
