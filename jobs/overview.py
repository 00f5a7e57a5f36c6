"""A report as tables on a terminal."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

from rich.console import Console
from rich.table import Table

from jobs import screen
from pipeline.reports.breakdown import Breakdown
from pipeline.reports.quantities import UNKNOWN, count, duration, money, rate, share, size
from pipeline.reports.reconciliation import Reconciliation
from pipeline.reports.report import Account, CostSums, Run

MAX_RUNS = 10
MAX_GROUPS = 20
NAME_CHARS = 60
MESSAGE_CHARS = 100
RUN_COLUMNS = ("run", "status", "started (UTC)", "took", "ok", "failed", "tokens", "tokens/s")
COST_COLUMNS = ("run", "device time", "device", "cost", "per 1M tokens", "per document")
GROUP_COLUMNS = ("cost", "share", "documents", "tokens", "per 1M tokens", "per document")
DAY_COLUMNS = ("estimate", "bill", "difference", "factor")


def print_overview(console: Console, accounts: Sequence[Account], run: Account | None) -> None:
    """A column for each currency and, beside more than one run, for the run that is detailed."""
    if not accounts:
        return
    columns = {_header(account, len(accounts)): account for account in accounts}
    if run is not None and sum(len(account.runs) for account in accounts) > 1:
        columns[run.runs[0].run_id] = run
    first, last = min(account.first_day for account in accounts), max(account.last_day for account in accounts)
    period = f"{first}" if first == last else f"{first} to {last}"
    table = screen.table(f"Overview, {period}", ["", *columns], numbers=columns)
    for label, figure in _figures(list(columns.values())).items():
        cells = [figure(account) for account in columns.values()]
        if any(cell != UNKNOWN for cell in cells):
            table.add_row(*map(screen.plain, [label, *cells]))
    console.print(table)
    console.print()


def _header(account: Account, num_currencies: int) -> str:
    runs = f"{len(account.runs):,} run{'s' * (len(account.runs) > 1)}"
    return f"{runs} in {account.currency}" if num_currencies > 1 else runs


def _figures(accounts: Sequence[Account]) -> dict[str, Callable[[Account], str]]:
    """Label to what it says of an account; `-` for what is not known."""
    causes = {each.cause: None for account in accounts for each in account.spent_on("wasted")}
    return {
        "total cost": lambda account: money(account.cost, account.currency),
        "per 1M tokens": lambda account: money(account.cost_per_million_tokens, account.currency),
        "per document": lambda account: money(account.cost_per_document, account.currency),
        "documents summarized": lambda account: count(account.documents),
        "documents failed": lambda account: count(account.documents_failed or None),
        "documents left": lambda account: count(account.documents_left or None),
        "answers with unsupported facts": lambda account: count(account.answers_unsupported or None),
        "tokens read": lambda account: count(account.tokens_read),
        "attempts": lambda account: count(sum(account.attempts.values()) or None),
        "attempts that did not finish": _unfinished,
        "device time": lambda account: duration(account.device_seconds),
        "device time on documents": lambda account: UNKNOWN if account.used is None else f"{account.used:.1%}",
        "wasted": lambda account: _with_share(account.wasted, account.cost, account.currency),
        **{f"wasted: {cause}": _wasted(cause) for cause in causes},
        "on demand it would be": _on_demand,
        "saved with spot": _saved,
        "quoted": _quoted,
    }


def _unfinished(account: Account) -> str:
    others = {outcome: number for outcome, number in account.attempts.items() if outcome not in ("finished", "unknown")}
    return ", ".join(f"{count(number)} {outcome}" for outcome, number in others.items()) or UNKNOWN


def _wasted(cause: str | None) -> Callable[[Account], str]:
    def figure(account: Account) -> str:
        costs = [each.cost for each in account.spent_on("wasted") if each.cause == cause]
        return money(sum(costs, Decimal(0)), account.currency) if costs else UNKNOWN

    return figure


def _on_demand(account: Account) -> str:
    return money(account.spot.on_demand if account.spot else None, account.currency)


def _saved(account: Account) -> str:
    spot = account.spot
    return UNKNOWN if spot is None else _with_share(spot.saved, spot.on_demand, account.currency)


def _quoted(account: Account) -> str:
    """Of the runs that had a quote."""
    quotes = [(run.quote.cost, run.cost) for run in account.runs if run.quote]
    if not quotes:
        return UNKNOWN
    quoted, actual = (sum(amounts, Decimal(0)) for amounts in zip(*quotes, strict=True))
    more = "more" if actual > quoted else "less"
    return f"{money(quoted, account.currency)} (cost {share(abs(actual - quoted), quoted)} {more})"


def _with_share(some: Decimal, whole: Decimal, currency: str) -> str:
    return f"{money(some, currency)} ({share(some, whole)})" if some else money(some, currency)


def print_runs(console: Console, runs: Sequence[Run]) -> None:
    """Two tables of the newest runs: what each did, and what it cost."""
    did = screen.table("Runs", RUN_COLUMNS, numbers=RUN_COLUMNS[3:])
    cost = screen.table("What they cost", COST_COLUMNS, numbers=COST_COLUMNS[1:])
    for run in runs[:MAX_RUNS]:
        did.add_row(*map(screen.plain, _work(run)))
        cost.add_row(*map(screen.plain, _cost(run)))
    console.print(did)
    if len(runs) > MAX_RUNS:
        console.print(f"and {len(runs) - MAX_RUNS:,} older", style="dim")
    _print(console, cost)


def _work(run: Run) -> list[str]:
    return [
        run.run_id,
        run.status or UNKNOWN,
        f"{run.started_at:%Y-%m-%d %H:%M}" if run.started_at else UNKNOWN,
        duration(run.seconds),
        count(run.documents),
        count(run.documents_failed),
        count(run.tokens_read),
        rate(run.tokens_read, run.seconds),
    ]


def _cost(run: Run) -> list[str]:
    """The whole cost, overheads included, spread over what the run got done."""
    return [
        run.run_id,
        duration(run.device_seconds),
        run.device_type or UNKNOWN,
        money(run.cost, run.currency),
        money(run.cost_per_million_tokens, run.currency),
        money(run.cost_per_document, run.currency),
    ]


def print_detail(console: Console, run: Account) -> None:
    """Where one run's money went, its dearest documents and its failures."""
    name = run.runs[0].run_id
    _print_kinds(console, run, name)
    _print_documents(console, run, name)
    _print_failures(console, run, name)


def _print_kinds(console: Console, run: Account, name: str) -> None:
    columns = ["cost", "share", "device time", "rows"]
    table = screen.table(f"Cost of {name} by kind", ["kind", *columns], numbers=columns)
    total = sum((each.cost for each in run.spent), Decimal(0))
    for each in run.spent:
        cells = [_kind(each), money(each.cost, run.currency), share(each.cost, total)]
        table.add_row(*map(screen.plain, [*cells, duration(each.device_seconds), count(each.parts)]))
    _print(console, table)


def _kind(spent: CostSums) -> str:
    return f"{spent.kind}: {spent.cause}" if spent.cause else spent.kind


def _print_documents(console: Console, run: Account, name: str) -> None:
    columns = ["size", "tokens", "cost"]
    table = screen.table(f"Dearest documents of {name}", ["document", *columns], numbers=columns)
    for each in run.top_documents:
        title = screen.shorten(each.title or each.document_id, NAME_CHARS)
        cells = [title, size(each.size_bytes), count(each.tokens_read), money(each.cost, run.currency)]
        table.add_row(*map(screen.plain, cells))
    _print(console, table)


def _print_failures(console: Console, run: Account, name: str) -> None:
    table = screen.table(f"Failures of {name}", ["error", "documents", "for example"], numbers=["documents"])
    for each in run.failures:
        example = screen.shorten(f"{each.document_id}: {each.error_message}", MESSAGE_CHARS)
        table.add_row(*map(screen.plain, [each.error_class, count(each.documents), example]))
    _print(console, table)


def print_groups(console: Console, account: Account, by: Breakdown, of: str) -> None:
    """The first of them; what is of no group comes last and is always there."""
    groups = account.by[by]
    table = screen.table(f"{account.currency} by {by}, {of}", [str(by), *GROUP_COLUMNS], numbers=GROUP_COLUMNS)
    shown, rest = [each for each in groups if not each.is_rest], [each for each in groups if each.is_rest]
    for each in [*shown[:MAX_GROUPS], *rest]:
        cells = [
            screen.shorten(each.name, NAME_CHARS),
            money(each.cost, account.currency),
            UNKNOWN if each.share is None else f"{each.share:.1%}",
            UNKNOWN if each.is_rest else count(each.documents),
            UNKNOWN if each.is_rest else count(each.tokens_read),
            money(each.cost_per_million_tokens, account.currency),
            money(each.cost_per_document, account.currency),
        ]
        table.add_row(*map(screen.plain, cells))
    _print(console, table)
    if len(shown) > MAX_GROUPS:
        console.print(f"and {len(shown) - MAX_GROUPS:,} more", style="dim")


def print_comparison(console: Console, reconciliation: Reconciliation) -> None:
    """The estimate beside the bill, day by day. A day that the bill has no line for stays an estimate."""
    currency = reconciliation.currency
    table = screen.table("Against the bill", ["day", *DAY_COLUMNS], numbers=DAY_COLUMNS)
    billed = in_bill(reconciliation)
    for day in reconciliation.days:
        charged = [money(day.bill, currency), money(day.difference, currency)]
        if day not in billed.days:
            charged = ["no line", UNKNOWN]
        factor = UNKNOWN if day.factor is None else f"{day.factor:.4f}"
        table.add_row(*map(screen.plain, [day.day, money(day.estimate, currency), *charged, factor]))
    totals = (billed.estimate, billed.bill, billed.difference)
    table.add_row(*map(screen.plain, ["days in the bill", *(money(amount, currency) for amount in totals), ""]))
    _print(console, table)
    if reconciliation.unattributed:
        apart = money(reconciliation.unattributed, currency)
        console.print(f"Of the bill {apart} is for nothing that was metered: head node, readers, idle machines.")


def in_bill(reconciliation: Reconciliation) -> Reconciliation:
    """Of the days that the bill has a line for."""
    days = [day for day in reconciliation.days if day.factor is not None or day.bill]
    return replace(reconciliation, days=days)


def _print(console: Console, table: Table) -> None:
    if table.row_count:
        console.print()
        console.print(table)
