"""Tables in text files: rows as lines with their cells apart, whatever separates and quotes them."""

import csv
import sys
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from configs.errors import CorruptError
from configs.settings import InputSettings
from pipeline.formats import encoding, lines
from pipeline.formats.notes import Notes

MADE_BY = "csv 1"
DELIMITERS = ",;\t|"
SNIFFED_CHARS = 64 * 1024
SNIFFED_ROWS = 100
PIECE_BYTES = 1024 * 1024
LONGEST_FIELD = min(sys.maxsize, 2**31 - 1)


def made_by(settings: InputSettings) -> str:
    """What the text depends on."""
    return MADE_BY


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """No title, and the rows. Raises UndecodableError, and also while the rows are read, CorruptError."""
    view = memoryview(data)
    parts = (bytes(view[start : start + PIECE_BYTES]) for start in range(0, len(data), PIECE_BYTES))
    texts = encoding.decode(parts, notes=notes, settings=settings)
    head, length = [], 0
    for text in texts:
        head.append(text)
        if (length := length + len(text)) >= SNIFFED_CHARS:
            break
    limit_fields(settings)
    return None, _rows(chain(head, texts), "".join(head)[:SNIFFED_CHARS])


def limit_fields(settings: InputSettings) -> None:
    """Let a field be as long as a document may be, and no longer."""
    csv.field_size_limit(min(LONGEST_FIELD, settings.max_document_bytes))


def _rows(texts: Iterator[str], sample: str) -> Iterator[str]:
    all_lines = lines_of(texts)
    delimiter = said_delimiter(sample)
    if delimiter:
        next(all_lines)
    else:
        delimiter = delimiter_of(sample)
    try:
        for cells in csv.reader(all_lines, delimiter=delimiter):
            yield lines.row(cells)
    except csv.Error as error:
        raise CorruptError(f"The table cannot be read as CSV ({error}).") from error


def said_delimiter(sample: str) -> str | None:
    """What separates the cells, where the first line says it in Excel's way."""
    first = sample.partition("\n")[0].strip()
    return first[4] if first.lower().startswith("sep=") and len(first) == 5 else None


def delimiter_of(sample: str) -> str:
    """The one by which the rows have most often the same number of cells, more than one; else a comma."""
    complete = sample if len(sample) < SNIFFED_CHARS else sample.rpartition("\n")[0] or sample
    return max(DELIMITERS, key=lambda delimiter: _evenness(complete, delimiter))


def _evenness(sample: str, delimiter: str) -> tuple[float, int]:
    try:
        rows = list(islice(csv.reader(sample.splitlines(keepends=True), delimiter=delimiter), SNIFFED_ROWS))
    except csv.Error:
        return 0.0, 0
    widths = [len(row) for row in rows if row]
    usual = max(sorted(set(widths)), key=widths.count, default=1)
    return (widths.count(usual) / len(widths), usual) if usual > 1 else (0.0, 0)


def lines_of(texts: Iterable[str]) -> Iterator[str]:
    """With their ends, across the ends of the texts."""
    held: list[str] = []
    for text in texts:
        first, *rest = text.split("\n")
        held.append(first)
        for line in rest:
            yield "".join(held) + "\n"
            held = [line]
    if last := "".join(held):
        yield last
