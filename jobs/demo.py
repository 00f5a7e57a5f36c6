"""`python -m jobs.demo [SOURCE ...]`: summarize the Python language reference, and any paths given, on this machine."""

import json
from pathlib import Path
from typing import Annotated

import typer

from configs.loader import load
from configs.settings import SummarizeConfig
from jobs import command, exits, screen
from jobs.summarize import summarize
from pipeline.reports import quantities
from pipeline.reports.warehouse import Warehouse

CONFIG = Path("configs/demo.yaml")
OUTPUT = "demo/output"
TITLE_WIDTH = 32
QUERY = "select title, tokens_total, cost, currency, summary from summaries order by tokens_total desc limit 10"

Sources = Annotated[list[str] | None, typer.Argument(metavar="[SOURCE]...", help="More files, directories or URIs.")]


def demo(sources: Sources = None) -> int:
    """Summarize the Python language reference that comes with CPython, plus any SOURCE, and show what it cost."""
    default = load(SummarizeConfig, CONFIG).input.sources
    listed = json.dumps([*default, *(sources or [])], ensure_ascii=False)
    code = summarize(CONFIG, [f"input.sources={listed}", f"output.uri={OUTPUT}"])
    if code in (exits.SUCCESS, exits.PARTIAL):
        _show()
        print(f'\nAsk the tables yourself:\n  python -m jobs.query {OUTPUT} "{QUERY}"')
    return code


def _show() -> None:
    """Title, length, cost and summary of the longest documents, and the sum over all."""
    warehouse = Warehouse(OUTPUT)
    table = screen.table(
        "The ten longest documents", ["title", "tokens", "cost", "summary"], numbers=["tokens", "cost"]
    )
    for row in warehouse.rows(QUERY):
        cost = quantities.money(row["cost"], row["currency"])
        cells = (screen.shorten(row["title"], TITLE_WIDTH), quantities.count(row["tokens_total"]), cost, row["summary"])
        table.add_row(*map(screen.plain, cells))
    screen.console().print(table)
    total = warehouse.rows("select sum(cost) as cost, any_value(currency) as currency from costs")[0]
    print(f"Total, including start-up and idle time: {quantities.money(total['cost'], total['currency'])}")


if __name__ == "__main__":
    command.run(demo)
