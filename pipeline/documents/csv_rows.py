"""Tables in text files with a column of text: each row is a document."""

import csv
import re
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO, Literal, NamedTuple

from configs.errors import CorruptError, DocumentError, UndecodableError
from configs.settings import InputSettings
from pipeline.documents import content
from pipeline.documents.rows import TITLE, Row, Table
from pipeline.formats import csv_table, encoding

WHOLE_CELL = re.compile(r'"[^"]*+(?:""[^"]*+)*+"')
"""One in quotes."""


class _Header(NamedTuple):
    """How a table begins."""

    delimiter: str
    names: list[str]
    is_said: bool
    """Whether a line before it says the delimiter."""
    has_quotations: bool
    """Whether quotes are around cells rather than in their texts."""


def has_text(head: bytes, settings: InputSettings) -> bool:
    """Whether a file whose first bytes these are begins with a row that names the column of text."""
    whole_lines = head.rpartition(b"\n")[0] or head
    try:
        text = "".join(encoding.decode([whole_lines], settings=settings))
    except DocumentError:
        return False
    return _header(text[: csv_table.SNIFFED_CHARS], settings) is not None


class CsvTable(Table):
    """Read from its start: rows have no place in bytes."""

    kind = "csv"
    can_start_again = False

    def __init__(self, stream: BinaryIO, settings: InputSettings) -> None:
        super().__init__(settings)
        self._stream = stream

    def rows(self, start: int) -> Iterator[Row]:
        """As `Table.rows`."""
        texts = encoding.decode(content.pieces(self._stream), settings=self._settings)
        head, length = [], 0
        for text in texts:
            head.append(text)
            if (length := length + len(text)) >= csv_table.SNIFFED_CHARS:
                break
        header = _header("".join(head)[: csv_table.SNIFFED_CHARS], self._settings)
        if header is None:
            raise UndecodableError(
                f"The table's first row does not name the column {self._settings.text_field!r}, which input.text_field "
                "names."
            )
        lines = _Lines(csv_table.lines_of(chain(head, texts)))
        if header.is_said:
            next(lines)
        return self._rows_of(header, lines)

    def is_near(self, following: int, wanted: int) -> bool:
        """As `Table.is_near`."""
        return following <= wanted

    def close(self) -> None:
        """As `Container.close`."""
        self._stream.close()

    def _rows_of(self, header: _Header, lines: "_Lines") -> Iterator[Row]:
        csv_table.limit_fields(self._settings)
        reader = csv.reader(lines, delimiter=header.delimiter, quoting=_quoting(header.has_quotations))
        number = -1
        try:
            for cells in reader:
                if lines.is_cut_short:
                    raise CorruptError(f"Row {number + 1} begins a quotation that does not end.")
                if cells and number >= 0:
                    yield self._of_cells(number, cells, header.names)
                number += bool(cells)
                lines.begin_row()
        except csv.Error as error:
            raise CorruptError(f"The table cannot be read as CSV from its row {number + 1} on ({error}).") from error

    def _of_cells(self, number: int, cells: list[str], names: list[str]) -> Row:
        if any(cell.strip() for cell in cells[len(names) :]):
            message = f"Row {number + 1} has {len(cells)} cells under {len(names)} names of columns."
            return Row(number, CorruptError(f"{message} A quote may be missing, or a quotation around a cell."))
        named = dict(zip(reversed(names[: len(cells)]), reversed(cells[: len(names)]), strict=True))
        text, name = named.get(self._settings.text_field), named.get(self._settings.id_field)
        return Row(number, text or None, named.get(TITLE) or None, name or None)


class _Lines:
    """Lines, of which it is known whether a row took them all and wanted more."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._taken = 0
        self.is_cut_short = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._lines, None)
        if line is None:
            self.is_cut_short = self._taken > 0
            raise StopIteration
        self._taken += 1
        return line

    def begin_row(self) -> None:
        self._taken = 0


def _header(sample: str, settings: InputSettings) -> _Header | None:
    """None if the first row does not name the column of text, whatever separates its cells."""
    said = csv_table.said_delimiter(sample)
    rest = sample.partition("\n")[2] if said else sample
    found = [_header_by(each, rest, said is not None) for each in said or csv_table.DELIMITERS]
    return max((each for each in found if settings.text_field in each.names), key=_width, default=None)


def _header_by(delimiter: str, sample: str, is_said: bool) -> _Header:
    has_quotations = delimiter != "\t" or _has_quotations(sample)
    try:
        rows = csv.reader(csv_table.lines_of([sample]), delimiter=delimiter, quoting=_quoting(has_quotations))
        names = [cell.strip() for cell in next(rows, [])]
    except csv.Error:
        names = []
    return _Header(delimiter, names, is_said, has_quotations)


def _has_quotations(sample: str) -> bool:
    """Not where tabs part each line into as many cells, and a quote stands otherwise than around a whole one: what
    separates cells by tabs often quotes none."""
    lines = sample.split("\n")[:-1]
    if len({line.count("\t") for line in lines if line}) > 1:
        return True
    return all(WHOLE_CELL.fullmatch(cell) for line in lines for cell in line.split("\t") if '"' in cell)


def _quoting(has_quotations: bool) -> Literal[0, 3]:
    return csv.QUOTE_MINIMAL if has_quotations else csv.QUOTE_NONE


def _width(header: _Header) -> int:
    return len(header.names)
