"""`python -m jobs.report OUTPUT [--run RUN]`: what the runs did and cost, and where one of them spent it."""

import difflib
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from configs.errors import ConfigError
from jobs import command, screen
from pipeline.quantities import count, duration, money, rate, share, size
from pipeline.warehouse import Warehouse

MAX_RUNS = 10
MAX_DOCUMENTS = 10
NAME_CHARS = 60
MESSAGE_CHARS = 100
MILLION = 1_000_000
RUN_COLUMNS = ("run", "status", "started (UTC)", "took", "ok", "failed", "tokens", "tokens/s")
COST_COLUMNS = ("run", "device time", "device", "cost", "per 1M tokens", "per document")

RUNS = """
    SELECT *, epoch(finished_at - started_at) AS seconds FROM jobs
    ORDER BY started_at DESC NULLS LAST, run_id DESC
"""
# Kinds in the order of a run's life; a kind of a later version comes last.
KINDS = """
    SELECT kind, currency, sum(cost) AS cost, sum(gpu_seconds) AS gpu_seconds, count(*) AS parts
    FROM costs WHERE run_id = $run GROUP BY kind, currency
    ORDER BY list_position(['document', 'startup', 'idle', 'wasted'], kind) NULLS LAST, kind, currency
"""
DOCUMENTS = """
    WITH described AS (
        SELECT document_id, any_value(title) AS title, any_value(size_bytes) AS size_bytes
        FROM (SELECT document_id, title, size_bytes FROM summaries WHERE run_id = $run
              UNION ALL SELECT document_id, NULL, size_bytes FROM failures WHERE run_id = $run)
        GROUP BY document_id
    )
    SELECT document_id, title, size_bytes, currency, sum(tokens_read) AS tokens_read, sum(cost) AS cost
    FROM costs LEFT JOIN described USING (document_id)
    WHERE run_id = $run AND kind = 'document'
    GROUP BY ALL ORDER BY cost DESC, document_id
"""
FAILURES = """
    SELECT error_class, count(*) AS documents, arg_min(error_message, document_id) AS example,
           min(document_id) AS document_id
    FROM failures WHERE run_id = $run GROUP BY error_class ORDER BY documents DESC, error_class
"""

RunId = Annotated[str | None, typer.Option("--run", metavar="RUN", help="The run to detail; the newest unless given.")]


def report(output: command.OutputUri, run: RunId = None) -> None:
    """Runs with their tokens and costs; then for one run its cost by kind, its dearest documents and its failures."""
    warehouse = Warehouse(output)
    runs = warehouse.rows(RUNS)
    chosen = _choose(runs, run, output)
    console = screen.console()
    _print_runs(console, runs)
    if chosen is None:
        return
    _print_kinds(console, warehouse, chosen)
    _print_documents(console, warehouse, chosen)
    _print_failures(console, warehouse, chosen)


def _choose(runs: list[dict[str, Any]], run: str | None, output: str) -> str | None:
    known = [row["run_id"] for row in runs]
    if run is None:
        return known[0] if known else None
    if run not in known:
        close = difflib.get_close_matches(run, known, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"committed runs: {', '.join(known[:MAX_RUNS]) or 'none'}"
        raise ConfigError(f"--run {run}: no committed run of that name in {output}; {remedy}")
    return run


def _print_runs(console: Console, runs: list[dict[str, Any]]) -> None:
    if not runs:
        console.print("No run has been committed yet.")
        return
    did = screen.table("Runs", RUN_COLUMNS, numbers=RUN_COLUMNS[3:])
    cost = screen.table("What they cost", COST_COLUMNS, numbers=COST_COLUMNS[1:])
    for row in runs[:MAX_RUNS]:
        did.add_row(*map(screen.plain, _work(row)))
        cost.add_row(*map(screen.plain, _cost(row)))
    console.print(did)
    if len(runs) > MAX_RUNS:
        console.print(f"and {len(runs) - MAX_RUNS:,} older", style="dim")
    _print(console, cost)


def _work(row: dict[str, Any]) -> list[str]:
    started = row["started_at"]
    return [
        row["run_id"],
        row["status"] or "-",
        f"{started:%Y-%m-%d %H:%M}" if started else "-",
        duration(row["seconds"]),
        count(row["documents_succeeded"]),
        count(row["documents_failed"]),
        count(row["tokens_read"]),
        rate(row["tokens_read"] or 0, row["seconds"]),
    ]


def _cost(row: dict[str, Any]) -> list[str]:
    return [
        row["run_id"],
        duration(row["gpu_seconds"]),
        row["gpu_type"] or "-",
        money(row["cost"], row["currency"]),
        _money_per(row, row["tokens_read"], MILLION),
        _money_per(row, row["documents_succeeded"], 1),
    ]


def _money_per(row: dict[str, Any], number: int | None, unit: int) -> str:
    """The run's whole cost, overheads included, spread over what it got done."""
    return money(row["cost"] * unit / number if row["cost"] is not None and number else None, row["currency"])


def _print_kinds(console: Console, warehouse: Warehouse, run: str) -> None:
    rows = warehouse.rows(KINDS, run=run)
    table = screen.table(
        f"Cost of {run} by kind",
        ["kind", "cost", "share", "device time", "rows"],
        numbers=["cost", "share", "device time", "rows"],
    )
    total = sum((row["cost"] for row in rows), Decimal(0))
    for row in rows:
        cells = [row["kind"], money(row["cost"], row["currency"]), share(row["cost"], total)]
        table.add_row(*map(screen.plain, [*cells, duration(row["gpu_seconds"]), count(row["parts"])]))
    _print(console, table)


def _print_documents(console: Console, warehouse: Warehouse, run: str) -> None:
    rows = warehouse.rows(f"{DOCUMENTS} LIMIT {MAX_DOCUMENTS}", run=run)
    table = screen.table(
        f"Dearest documents of {run}", ["document", "size", "tokens", "cost"], numbers=["size", "tokens", "cost"]
    )
    for row in rows:
        name = screen.shorten(row["title"] or row["document_id"], NAME_CHARS)
        cells = [name, size(row["size_bytes"]), count(row["tokens_read"]), money(row["cost"], row["currency"])]
        table.add_row(*map(screen.plain, cells))
    _print(console, table)


def _print_failures(console: Console, warehouse: Warehouse, run: str) -> None:
    table = screen.table(f"Failures of {run}", ["error", "documents", "for example"], numbers=["documents"])
    for row in warehouse.rows(FAILURES, run=run):
        example = screen.shorten(f"{row['document_id']}: {row['example']}", MESSAGE_CHARS)
        table.add_row(*map(screen.plain, [row["error_class"], count(row["documents"]), example]))
    _print(console, table)


def _print(console: Console, table: Table) -> None:
    if table.row_count:
        console.print()
        console.print(table)


if __name__ == "__main__":
    command.run(report)
