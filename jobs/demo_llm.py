"""`python -m jobs.demo_llm [SOURCE ...]`: three documents, summarized on this machine by a small instruct model."""

import json
from pathlib import Path
from typing import Annotated

import typer

from configs.loader import load
from configs.settings import SummarizeConfig
from jobs import command, exits, screen
from jobs.summarize import summarize
from models.weights import smollm2
from pipeline.reports import quantities
from pipeline.reports.warehouse import Warehouse

CONFIG = Path("configs/demo_llm.yaml")
OUTPUT = "demo/output-llm"
SHOWN = """
    select title, tokens_total, summary, finish_reason, currency,
        sum(cost) over (partition by document_id, run_id) as cost
    from latest order by tokens_total desc, document_id
"""

Sources = Annotated[list[str] | None, typer.Argument(metavar="[SOURCE]...", help="Files to read instead of the three.")]


def demo_llm(sources: Sources = None) -> int:
    """Summarize three documents, or each SOURCE, with SmolLM2-135M-Instruct, which is fetched and converted the first
    time (93 MB, a minute or two). It reads up to 8192 tokens; longer documents fail with a reason."""
    model = smollm2.fetch()
    listed = sources or list(load(SummarizeConfig, CONFIG).input.sources)
    given = [f"input.sources={json.dumps(listed, ensure_ascii=False)}", f"output.uri={OUTPUT}", f"model.uri={model}"]
    code = summarize(CONFIG, given)
    if code in (exits.SUCCESS, exits.PARTIAL):
        _show()
    return code


def _show() -> None:
    columns = ["summary", "document", "tokens", "ended by", "cost"]
    table = screen.table("What SmolLM2 answers", columns, numbers=["tokens", "cost"])
    for row in Warehouse(OUTPUT).rows(SHOWN):
        cost, tokens = quantities.money(row["cost"], row["currency"]), quantities.count(row["tokens_total"])
        table.add_row(
            *map(screen.plain, (row["summary"], row["title"], tokens, row["finish_reason"], cost)), end_section=True
        )
    screen.console().print(table)


if __name__ == "__main__":
    command.run(demo_llm)
