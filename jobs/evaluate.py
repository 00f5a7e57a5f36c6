"""`python -m jobs.evaluate DOCUMENTS... --output DIR`: key sentences and simple methods, against people's summaries."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import structlog
import typer
from rich.console import Console
from rich.table import Table

from configs.errors import ConfigError
from jobs import command
from pipeline.evaluation import references, summaries
from pipeline.evaluation.chart import chart
from pipeline.evaluation.comparison import Difference, Scores
from pipeline.evaluation.references import Referenced
from pipeline.sentences.weights import Weights
from pipeline.telemetry import logs
from pipeline.training import extract_fit

log = structlog.get_logger()

SHOWN = ("rouge_1", "rouge_2", "rouge_l")
MORE = ("content_rouge", "profile_distance", "novelty", "unsupported", "repetition", "words")
ALL = ",".join(summaries.METHODS)
WIDTH = 150

Documents = Annotated[
    list[Path],
    typer.Argument(metavar="DOCUMENTS...", help="JSON lines (.jsonl, .jsonl.zst): id, text, reference, group."),
]
Output = Annotated[Path, typer.Option(help="Folder for scores.parquet, table.txt and rouge.svg.")]
Methods = Annotated[str, typer.Option(help="Of extract, lead, lexrank and textrank, with commas between.")]
Budget = Annotated[str, typer.Option(help="Words of each summary; `reference`: as many as the reference has.")]
Folds = Annotated[
    Path | None,
    typer.Option(
        help="Folder that jobs.train_extract wrote: each document is summarized by weights that have not seen it."
    ),
]
OnlyFold = Annotated[int | None, typer.Option(help="Only documents of this fold; 0 is the validation tenth.")]
Largest = Annotated[int | None, typer.Option(help="Skip documents of more characters.")]


def evaluate(
    documents: Documents,
    output: Output,
    methods: Methods = ALL,
    budget: Budget = "reference",
    folds: Folds = None,
    only_fold: OnlyFold = None,
    largest_characters: Largest = None,
) -> None:
    """Summarize documents by several methods, all with as many words, and measure the summaries against people's.

    LexRank and TextRank see the first 3,000 sentences of a document.
    """
    logs.configure()
    names = methods.split(",")
    evaluation = summaries.Evaluation(names, _words(budget), _weights(folds))
    rows: list[dict[str, Any]] = []
    chosen = _chosen(references.referenced(documents, largest_characters), only_fold)
    for number, document in enumerate(chosen, start=1):
        rows += evaluation.rows(document)
        if number % 25 == 0:
            log.info("documents_evaluated", documents=number)
    if not rows:
        raise ConfigError(f"{', '.join(map(str, documents))}: no document has a reference.")
    _write(rows, names, output)


def _chosen(found: Iterator[Referenced], only_fold: int | None) -> Iterator[Referenced]:
    return (document for document in found if only_fold is None or document.fold == only_fold)


def _words(budget: str) -> int | None:
    if budget == "reference":
        return None
    if not budget.isdigit() or int(budget) < 1:
        raise ConfigError(f"--budget {budget}: give a number of words, or `reference`.")
    return int(budget)


def _weights(folds: Path | None) -> Callable[[Referenced], Weights | None]:
    if folds is None:
        return lambda document: None
    found = {
        fold: Weights.from_bytes((folds / extract_fit.name_of(group)).read_bytes())
        for group in extract_fit.GROUPS
        for fold in group
    }
    return lambda document: found[document.fold]


def _write(rows: Sequence[dict[str, Any]], methods: Sequence[str], output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), summaries.SCHEMA), output / "scores.parquet")
    scores = Scores(rows)
    tables = [_means(scores, by, SHOWN) for by in ("group", "length")] + [_means(scores, "group", MORE)]
    tables += [_against(scores, methods[0], other) for other in methods[1:]]
    with (output / "table.txt").open("w", encoding="utf-8") as stored:
        for console in (Console(width=WIDTH), Console(width=WIDTH, file=stored)):
            for table in tables:
                console.print(table)
            for line in _readability(rows):
                console.print(line)
    groups = list(scores.groups())
    values = {method: [100 * scores.mean(method, "rouge_1", group) for group in groups] for method in methods}
    (output / "rouge.svg").write_text(chart("ROUGE-1 by group", groups, values), encoding="utf-8")


def _means(scores: Scores, by: str, measures: Sequence[str]) -> Table:
    table = Table(title=f"{', '.join(measures)} by {by}")
    for name in (by, "documents", *scores.methods):
        table.add_column(name, justify="left" if name == by else "right")
    groups = scores.groups(by)
    for group, number in groups.items():
        found = ([scores.mean(method, measure, group, by) for measure in measures] for method in scores.methods)
        table.add_row(group, str(number), *(_cell(values, measures) for values in found))
    found = ([scores.mean_of_groups(method, measure, by) for measure in measures] for method in scores.methods)
    table.add_row("mean of groups", str(sum(groups.values())), *(_cell(values, measures) for values in found))
    return table


def _cell(values: Sequence[float], measures: Sequence[str]) -> str:
    plain = ("unsupported", "words")
    return " / ".join(
        f"{value:.1f}" if name in plain else f"{100 * value:.1f}" for value, name in zip(values, measures, strict=True)
    )


def _against(scores: Scores, first: str, second: str) -> Table:
    table = Table(title=f"{first} minus {second}, points, with 95 % of {2_000:,} bootstrap draws")
    for name in ("group", "documents", *SHOWN):
        table.add_column(name, justify="left" if name == "group" else "right")
    found = {measure: scores.differences(first, second, measure) for measure in SHOWN}
    for group, difference in found[SHOWN[0]].items():
        table.add_row(group, str(difference.num_documents), *(_interval(found[measure][group]) for measure in SHOWN))
    return table


def _interval(difference: Difference) -> str:
    mean, lower, upper = (100 * value for value in (difference.mean, difference.lower, difference.upper))
    return f"{mean:+.1f} [{lower:+.1f}, {upper:+.1f}]"


def _readability(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    found = [row for row in rows if row["standing_alone"] is not None]
    sentences = [row["summary"].count("\n") + 1 for row in found]
    if found:
        alone, broken = (
            100 * sum(row[name] * number for row, number in zip(found, sentences, strict=True)) / sum(sentences)
            for name in ("standing_alone", "broken")
        )
        yield f"Of {sum(sentences):,} sentences of extracts, {alone:.1f} % stand alone and {broken:.2f} % are broken."


if __name__ == "__main__":
    command.run(evaluate)
