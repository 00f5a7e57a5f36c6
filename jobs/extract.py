"""`python -m jobs.extract SOURCE... [key=value ...]`: what the model will see of documents, before it sees them."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from configs.errors import DocumentError
from configs.loader import load
from configs.settings import SectionSettings, SummarizeConfig
from jobs import command, exits
from models.weights.tokenizer import Tokenizer
from pipeline.documents import reader_process, tokenize
from pipeline.documents.extract import Extractor
from pipeline.documents.handover import READ_ROW, reason
from pipeline.documents.reader import ReaderSettings
from pipeline.documents.sections import SectionFinder
from pipeline.documents.sources import list_documents
from pipeline.reports.quantities import count
from pipeline.schemas.document import Document
from pipeline.schemas.tables import Row
from pipeline.telemetry import logs

DEFAULT = Path("configs/demo.yaml")
SETTING = re.compile(r"(input|model|sections)\.\w+=")
LINE_ENDS = re.compile("[\x85\u2028\u2029]")
REASONS = {
    "mark": "by its byte order mark",
    "valid": "since all its bytes are valid in it",
    "declared": "as the document declares",
    "guessed": "guessed from its words",
}

Words = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE... [key=value]...",
        help="Files, directories, globs or URIs, as in input.sources; and settings of input, model and sections.",
    ),
]
Config = Annotated[Path, typer.Option(metavar="CONFIG.yaml", help="Settings of the run that is meant.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a document, each on a line.")]


def extract(words: Words, config: Config = DEFAULT, as_json: AsJson = False) -> int:
    """Show documents as a run reads them: title, format, encoding and how it was chosen, tokens, sections, warnings,
    and the text that the model gets; or why a document cannot be read. Starts no run and writes nothing.

    Exit codes: 0 all can be read, 2 refused, 3 some cannot.
    """
    overrides = [word for word in words if SETTING.match(word)]
    sources = [word for word in words if not SETTING.match(word)]
    listed = json.dumps(sources, ensure_ascii=False)
    settings = load(SummarizeConfig, config, [f"input.sources={listed}", *overrides])
    logs.configure()
    failed = False
    for shown in _shown(settings):
        failed |= shown["error_class"] is not None
        print(_as_line(shown) if as_json else _for_people(shown), flush=True)
    return exits.PARTIAL if failed else exits.SUCCESS


def _as_line(shown: Row) -> str:
    # Some that split text into lines do so at these too.
    return LINE_ENDS.sub(lambda end: f"\\u{ord(end[0]):04x}", json.dumps(shown, ensure_ascii=False))


def _shown(settings: SummarizeConfig) -> Iterator[Row]:
    tokenizer = Tokenizer.of_run(settings.model)
    sections = settings.sections or SectionSettings()
    readers = ReaderSettings(settings.input, settings.model, sections)
    extractor = Extractor(settings.input)
    for document in list_documents(settings.input):
        row = dict.fromkeys(READ_ROW.names) | document.as_row()
        if row["error_class"] is None:
            # With a run's limits, in a process that a document may kill.
            (row,) = reader_process.shared().read([row], readers)
        about = {"document_id": document.document_id, "source_uri": document.source_uri}
        error = {name: row[name] for name in ("error_class", "error_message")}
        shown = about | _nothing() | error
        if row["error_class"] is None:
            try:
                shown |= _read(extractor, document, settings, tokenizer, sections)
            except DocumentError as broken:  # of what is too long for a reader, and breaks off
                shown |= reason(broken)
        yield shown


def _nothing() -> Row:
    """Of a document that cannot be read."""
    return dict.fromkeys(("title", "format", "encoding", "encoding_chosen_by", "tokens")) | {
        "sections": [],
        "warnings": [],
        "text": None,
    }


def _read(
    extractor: Extractor,
    document: Document,
    settings: SummarizeConfig,
    tokenizer: Tokenizer,
    sections: SectionSettings,
) -> Row:
    """Raises a DocumentError."""
    finder, texts, tokens = SectionFinder(sections), [], 0
    with closing(extractor.read(document)) as extracted:

        def passages() -> Iterator[tokenize.Passage]:
            for passage in tokenize.passages(extracted.pieces):
                texts.append(passage.text)
                yield passage

        for part in tokenize.parts(passages(), tokenizer, finder, max_tokens=settings.input.max_document_tokens):
            tokens += len(part.tokens)
    starts = [*(section.start for section in finder.sections[1:]), tokens]
    return {
        "title": extracted.title,
        "format": extracted.format,
        "encoding": extracted.notes.encoding,
        "encoding_chosen_by": extracted.notes.chosen_by,
        "tokens": tokens,
        "sections": [
            {"title": section.title, "start": section.start, "end": end}
            for section, end in zip(finder.sections, starts, strict=True)
        ],
        "warnings": extracted.notes.warnings,
        "text": "".join(texts),
    }


def _for_people(shown: Row) -> str:
    if shown["error_class"] is not None:
        return f"{shown['document_id']}\n  cannot be read: {shown['error_message']} ({shown['error_class']})\n"
    chosen = f", {REASONS[shown['encoding_chosen_by']]}" if shown["encoding_chosen_by"] else ""
    lines = [
        shown["document_id"],
        f"  title     {shown['title']}",
        f"  format    {shown['format']}",
        f"  encoding  {shown['encoding'] or 'ASCII, or what the format says'}{chosen}",
        f"  tokens    {count(shown['tokens'])}",
        *(f"  warning   {warning}" for warning in shown["warnings"]),
        *(
            f"  section   {section['start']:,} to {section['end']:,}: {section['title'] or '(without a title)'}"
            for section in shown["sections"]
        ),
    ]
    return "\n".join(lines) + f"\n\n{shown['text']}\n"


if __name__ == "__main__":
    # Text is shown as it is, whatever the terminal's locale.
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # it is a text stream
    command.run(extract)
