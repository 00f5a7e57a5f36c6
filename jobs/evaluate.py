"""`python -m jobs.evaluate DOCUMENTS... --output DIR`: key sentences, a model's answers and simple methods, against
people's summaries."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import structlog
import typer
from rich.console import Console

from configs.errors import ConfigError
from configs.loader import load
from configs.settings import SummarizeConfig
from jobs import command, scores
from pipeline.evaluation import references, summaries
from pipeline.evaluation.answers import Answers, ModelAnswers, RunAnswers
from pipeline.evaluation.chart import chart
from pipeline.evaluation.comparison import Scores
from pipeline.evaluation.measures import NUM_PARTS
from pipeline.evaluation.references import Referenced
from pipeline.evaluation.summaries import Row
from pipeline.sentences.weights import Weights
from pipeline.telemetry import logs
from pipeline.training import extract_fit

log = structlog.get_logger()

WIDTH = 160
LOG_EVERY = 25
TENTHS = [str(tenth) for tenth in range(1, NUM_PARTS + 1)]
DEFAULT = ",".join(summaries.DEFAULT)
Item = TypeVar("Item")

Documents = Annotated[
    list[str],
    typer.Argument(metavar="DOCUMENTS...", help="JSON lines (.jsonl, .jsonl.zst): id, text, reference, group."),
]
Output = Annotated[
    Path, typer.Option(file_okay=False, help="Folder for scores.parquet, table.txt, rouge.svg and coverage.svg.")
]
Methods = Annotated[str, typer.Option(help="Of extract, lead, lexrank, textrank and answer, with commas between.")]
Budget = Annotated[str, typer.Option(help="Words of each summary; `reference`: as many as the reference has.")]
Model = Annotated[
    str | None, typer.Option(metavar="URI", help="Method answer: the model, as `model.uri`. Default: the shipped one.")
]
RunSettings = Annotated[
    Path | None,
    typer.Option("--settings", metavar="CONFIG.yaml", help="Method answer: a run's model, preamble and prompt."),
]
RunOutput = Annotated[
    str | None,
    typer.Option(
        "--answers", metavar="OUTPUT", help="Method answer: those that a run wrote there; no model is loaded."
    ),
]
PromptName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Method answer: which prompt of the settings or of the run.")
]
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
    methods: Methods = DEFAULT,
    budget: Budget = "reference",
    model: Model = None,
    settings: RunSettings = None,
    answers: RunOutput = None,
    prompt: PromptName = None,
    folds: Folds = None,
    only_fold: OnlyFold = None,
    largest_characters: Largest = None,
) -> None:
    """Summarize documents by several methods, all with as many words, and measure the summaries against people's.

    LexRank and TextRank see the first 3,000 sentences of a document. An answer that is longer than its budget is cut.
    """
    logs.configure()
    names = methods.split(",")
    summaries.check(names)
    words, weights = _words(budget), _weights(folds)
    answering = _answers(names, model, settings, answers, prompt)
    evaluation = summaries.Evaluation(names, words, weights, answering)
    rows: list[Row] = []
    num_documents = 0
    chosen = _chosen(references.referenced(documents, largest_characters), only_fold)
    for batch in _batches(chosen, evaluation.batch):
        rows += evaluation.rows(batch)
        before, num_documents = num_documents, num_documents + len(batch)
        if before // LOG_EVERY < num_documents // LOG_EVERY:
            log.info("documents_evaluated", documents=num_documents)
    if not rows:
        raise ConfigError(f"{', '.join(documents)}: no document has a reference.")
    _write(rows, output)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def _chosen(found: Iterator[Referenced], only_fold: int | None) -> Iterator[Referenced]:
    return (document for document in found if only_fold is None or document.fold == only_fold)


def _words(budget: str) -> int | None:
    if budget == "reference":
        return None
    if not budget.isdigit() or int(budget) < 1:
        raise ConfigError(f"--budget {budget}: give a number of words, or `reference`.")
    return int(budget)


def _answers(
    methods: Sequence[str], model: str | None, settings: Path | None, run: str | None, prompt: str | None
) -> Answers | None:
    given = {"--model": model, "--settings": settings, "--answers": run}
    sources = [name for name, value in given.items() if value is not None]
    if summaries.ANSWER not in methods:
        if unused := [*sources, *(["--prompt"] if prompt else [])]:
            raise ConfigError(f"{unused[0]} is of the method answer: --methods {','.join(methods)} does not name it.")
        return None
    if len(sources) > 1:
        raise ConfigError(f"{' and '.join(sources)} each say where answers come from: give one of them.")
    if run is not None:
        return RunAnswers(run, prompt)
    if settings is not None:
        return ModelAnswers(load(SummarizeConfig, settings), prompt)
    # Documents come from elsewhere.
    config = SummarizeConfig.model_validate({"input": {"sources": ["-"]}, "model": {"uri": model or "default"}})
    return ModelAnswers(config, prompt)


def _weights(folds: Path | None) -> Callable[[Referenced], Weights | None]:
    if folds is None:
        return lambda document: None
    found = {
        fold: Weights.from_bytes((folds / extract_fit.name_of(group)).read_bytes())
        for group in extract_fit.GROUPS
        for fold in group
    }
    return lambda document: found[document.fold]


def _write(rows: Sequence[Row], output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), summaries.SCHEMA), output / "scores.parquet")
    shown = [*scores.tables(rows), *scores.readability(rows)]
    with (output / "table.txt").open("w", encoding="utf-8") as stored:
        for console in (Console(width=WIDTH), Console(width=WIDTH, file=stored)):
            for each in shown:
                console.print(each)
    found = Scores(rows)
    groups = list(found.groups())
    values = {method: [100 * found.mean(method, "rouge_1", group) for group in groups] for method in found.methods}
    (output / "rouge.svg").write_text(chart("ROUGE-1 by group", groups, values), encoding="utf-8")
    tenths = chart(
        "Sentences by the tenth of the document that supports them, in percent", TENTHS, scores.coverage(rows)
    )
    (output / "coverage.svg").write_text(tenths, encoding="utf-8")


if __name__ == "__main__":
    command.run(evaluate)
