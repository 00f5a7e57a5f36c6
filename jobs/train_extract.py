"""`python -m jobs.train_extract DATA_DIR --output WEIGHTS`: learns what makes a key sentence."""

import json
from pathlib import Path
from typing import Annotated

import structlog
import typer

from jobs import command
from pipeline.telemetry import logs
from pipeline.training import extract_fit, summarized

log = structlog.get_logger()

Data = Annotated[
    Path,
    typer.Argument(metavar="DATA_DIR", help="Folder of JSON lines (.jsonl, .jsonl.zst): id, text, summary, title."),
]
Output = Annotated[Path, typer.Option(help="File for the weights of all documents; replaced if it is there.")]
Folds = Annotated[
    Path | None,
    typer.Option(help="Folder for jobs.evaluate: weights that have not seen some documents, and the documents."),
]


def train_extract(data: Data, output: Output, folds: Folds = None) -> None:
    """Learn the weights of `pipeline/sentences`: minutes on one core, the same result each time."""
    logs.configure()
    documents = summarized.documents(data)
    start = extract_fit.blank(*extract_fit.rarities(documents))
    log.info("documents_chosen", documents=len(documents), stems=len(start.stems))
    lessons = []
    for number, document in enumerate(learned := summarized.learned(documents), start=1):
        lessons.append(extract_fit.lesson(document, start))
        if number % 100 == 0:
            log.info("documents_read", documents=number)
    fit = extract_fit.Fit(lessons, start, json.dumps(summarized.about(learned)))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(fit.everything.to_bytes())
    if folds is not None:
        folds.mkdir(parents=True, exist_ok=True)
        for group, weights in zip(extract_fit.GROUPS, fit.without, strict=True):
            (folds / extract_fit.name_of(group)).write_bytes(weights.to_bytes())
        summarized.write(documents, folds / "documents.jsonl")
        summarized.write(summarized.with_own_summaries(documents), folds / "reports.jsonl")
    log.info("weights_written", output=str(output), bytes=output.stat().st_size)


if __name__ == "__main__":
    command.run(train_extract)
