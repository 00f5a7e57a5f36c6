"""`python -m jobs.report OUTPUT [--html report.html] [--by day|model|source|section]`: what the runs did and cost.

Tables on the terminal, a page for those who pay, JSON for programs; the ledger beside a bill, and as FOCUS has it.
"""

import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import typer

from configs.errors import ConfigError
from jobs import command, overview, screen
from jobs.page import page
from pipeline.reports import focus as focus_format
from pipeline.reports import reconciliation as reconciling
from pipeline.reports import report as reporting
from pipeline.reports.breakdown import Breakdown
from pipeline.reports.focus import FocusVersion
from pipeline.reports.reconciliation import Reconciliation
from pipeline.reports.report import Report, Run
from pipeline.reports.warehouse import Warehouse
from pipeline.storage import objects

MAX_NAMED = 10

RunId = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="The run to detail (default: the newest). Files that are written then hold this run only.",
    ),
]
By = Annotated[
    Breakdown | None, typer.Option("--by", help="Also break costs down; each breakdown sums to the whole bill.")
]
Days = Annotated[
    int | None, typer.Option("--days", min=1, metavar="N", help="Only runs that began in the last N days (UTC).")
]
Html = Annotated[str | None, typer.Option("--html", metavar="FILE", help="Write a page with plots, as a single file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as one JSON object, in which money is text.")]
Bill = Annotated[
    str | None, typer.Option("--reconcile", metavar="BILL.csv", help="Compare with a provider's bill, day by day.")
]
Focus = Annotated[
    str | None,
    typer.Option(
        "--focus",
        metavar="FILE",
        help="Write every charge in FOCUS columns, as Parquet or .csv; scaled to the bill with --reconcile.",
    ),
]
Version = Annotated[FocusVersion, typer.Option("--focus-version", help="Which version of FOCUS --focus keeps to.")]


def report(
    output: command.OutputUri,
    run: RunId = None,
    by: By = None,
    days: Days = None,
    html: Html = None,
    as_json: AsJson = False,
    bill: Bill = None,
    focus: Focus = None,
    focus_version: Version = FocusVersion.V1_3,
) -> None:
    """Report what runs cost, per document and per million tokens, where the money went, and one run in detail."""
    if focus and days:
        raise ConfigError(f"--focus {focus} and --days {days}: charges are written of all runs, or of one with --run")
    warehouse = Warehouse(output)
    whole = reporting.report(warehouse, days=days, by=_wanted(by, html, as_json))
    _check(whole, run, output)
    told = whole if run is None else reporting.report(warehouse, run, days, by=_wanted(by, html, as_json))
    reconciliation = _reconcile(warehouse, bill, told)
    written = []
    # A reader that has seen enough of the tables and goes takes nothing away from what is written.
    if html:
        objects.publish(objects.resolve(html), page(told, reconciliation).encode())
        written.append(f"page written to {html}")
    if focus:
        charges = focus_format.export(warehouse, objects.resolve(focus), told.run_id, reconciliation, focus_version)
        status = "scaled to the bill" if reconciliation else "an estimate"
        written.append(f"{charges:,} charges written to {focus} (FOCUS {focus_version}), {status}")
    if as_json:
        print(_json(told, reconciliation))
    else:
        _print(warehouse, whole, told, by, reconciliation)
    for line in written:
        print(line, file=sys.stderr if as_json else sys.stdout)


def _wanted(by: Breakdown | None, html: str | None, as_json: bool) -> Sequence[Breakdown]:
    """Tables are read for no more than will be shown."""
    if html or as_json:
        return tuple(Breakdown)
    return () if by is None else (by,)


def _check(whole: Report, run: str | None, output: str) -> None:
    known = [each.run_id for each in whole.runs]
    if run is not None and run not in known:
        close = difflib.get_close_matches(run, known, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"committed runs: {', '.join(known[:MAX_NAMED]) or 'none'}"
        since = f" since {whole.since}" if whole.since else ""
        raise ConfigError(f"--run {run}: no committed run of that name in {output}{since}; {remedy}")


def _reconcile(warehouse: Warehouse, bill: str | None, told: Report) -> Reconciliation | None:
    """Days before those of the report are left out of the comparison."""
    if bill is None:
        return None
    reconciliation = reconciling.reconcile(warehouse, objects.resolve(bill), told.run_id)
    since = told.since or date.min
    return replace(reconciliation, days=[day for day in reconciliation.days if day.day >= since])


def _print(
    warehouse: Warehouse, whole: Report, told: Report, by: Breakdown | None, reconciliation: Reconciliation | None
) -> None:
    runs = whole.runs
    if not runs:
        print(f"No run since {whole.since}." if whole.since else "No run has been committed yet.")
        return
    run_id = told.run_id or runs[0].run_id
    detailed = reporting.report(warehouse, run_id, by=()).accounts[0]
    console = screen.console()
    overview.print_overview(console, whole.accounts, detailed)
    overview.print_runs(console, runs)
    overview.print_detail(console, detailed)
    if by:
        for account in told.accounts:
            overview.print_groups(console, account, by, told.run_id or _number(account.runs))
    if reconciliation:
        overview.print_comparison(console, reconciliation)


def _number(runs: Sequence[Run]) -> str:
    return "1 run" if len(runs) == 1 else f"{len(runs):,} runs"


def _json(told: Report, reconciliation: Reconciliation | None) -> str:
    found: dict[str, Any] = asdict(told) | {"reconciliation": reconciliation and _comparison(reconciliation)}
    return json.dumps(found, default=_text, ensure_ascii=False, indent=1)


def _comparison(reconciliation: Reconciliation) -> Mapping[str, Any]:
    """Without its charges, which an export has."""
    names = ("currency", "estimate", "bill", "difference", "unattributed")
    return {name: getattr(reconciliation, name) for name in names} | {
        "days": [asdict(day) for day in reconciliation.days]
    }


def _text(value: Any) -> str:
    """Decimals with all their digits, days and times in ISO 8601."""
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(value.isoformat())


if __name__ == "__main__":
    command.run(report)
