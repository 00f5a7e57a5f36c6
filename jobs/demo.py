"""`python -m jobs.demo [SOURCE ...]`: summarize the Python language reference, and any paths given, on this machine."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from configs.loader import load
from configs.settings import SummarizeConfig
from jobs import command, exits, screen
from jobs.summarize import summarize
from pipeline.reports import quantities
from pipeline.reports.warehouse import Warehouse

CONFIG = Path("configs/demo.yaml")
OUTPUT = "demo/output"
TITLE_WIDTH = 32
QUERY = (
    "select title, tokens_total, kind, summary, cost from latest order by tokens_total desc, title, kind desc limit 10"
)
SHOWN = """
    select title, tokens_total, kind, summary, currency, sum(cost) over (partition by document_id) as cost
    from latest order by tokens_total desc, document_id, kind desc limit 10
"""

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
    """Key sentences, title, length and cost of the longest documents, what the model answered, and the sum over all."""
    warehouse = Warehouse(OUTPUT)
    table = screen.table(
        "The five longest documents", ["summary", "title", "tokens", "cost"], numbers=["tokens", "cost"]
    )
    for row in warehouse.rows(SHOWN):
        if row["kind"] == "extract":
            cost = quantities.money(row["cost"], row["currency"])
            title, tokens = screen.shorten(row["title"], TITLE_WIDTH), quantities.count(row["tokens_total"])
            sentences = Text("\n").join(map(screen.plain, row["summary"].splitlines()))
            table.add_row(sentences, *map(screen.plain, (title, tokens, cost)))
        else:
            answer = screen.plain(f"(The shipped Mamba-3, a tiny one, answers: {row['summary']})")
            answer.stylize("dim")
            table.add_row(answer, end_section=True)
    screen.console().print(table)
    total = warehouse.rows("select sum(cost) as cost, any_value(currency) as currency from costs")[0]
    print(f"Total, including start-up and idle time: {quantities.money(total['cost'], total['currency'])}")


if __name__ == "__main__":
    command.run(demo)
