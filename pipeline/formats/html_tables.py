"""Tables as lines: a row a line, its cells apart."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Literal, NamedTuple

from pipeline.formats.html_lists import BULLET


class Kind(Enum):
    """What a line is."""

    TEXT = auto()
    HEADING = auto()
    ITEM = auto()
    ROW = auto()
    CODE = auto()


class Line(NamedTuple):
    """A paragraph, heading, item, row of a table, or block of code."""

    kind: Kind
    prefix: str
    """Marks a heading or an item."""
    text: str


APART = " | "
OPENING = re.compile(r"[•●▪■◦○‣·]|[(−-]?\s*(?:[A-Z]{0,3}[$€£¥₩₹]|USD|EUR|GBP|JPY|CHF|CAD|AUD|CNY|RMB|HKD)\s*[(−-]?|\(")
Sign = Literal["opening", "closing"]
"""What belongs to the value after it, or to that before."""
CLOSING = re.compile(r"[)%]+|%\s*\)|\)\s*%")
LONGEST_SIGN = 7
MOST_LINES = 8
MOST_CHARACTERS = 1000
"""Of a cell that belongs to a row; one with more of both is a part of the page's layout."""
MOST_ROWS = 2000
"""Of a table that are looked at together."""
WIDEST = 1000
"""Columns that a cell may span, as in browsers."""
MOST_REACHING_DOWN = 64
"""Cells that are followed over several rows."""


@dataclass(slots=True)
class Cell:
    """One cell. Nearly all hold a word or number and nothing else, which has no lines."""

    column: int
    span: int
    text: str
    """In one line, without marks of headings; complete when the row is closed."""
    lines: list[Line] | None
    """Of a cell that holds other elements."""

    @property
    def is_layout(self) -> bool:
        """Whether the cell holds a part of the page, not a value."""
        lines = self.lines or []
        if len(lines) < 2:
            return bool(lines) and lines[0].kind is Kind.CODE and "\n" in lines[0].text
        kinds = {line.kind for line in lines}
        if Kind.HEADING in kinds or Kind.CODE in kinds or len(lines) > MOST_LINES:
            return True
        return len(lines) > 2 and sum(len(line.text) for line in lines) > MOST_CHARACTERS


def _joined(lines: list[Line]) -> str:
    """The lines of a cell in one."""
    if len(lines) == 1 and lines[0].kind is not Kind.ROW:
        return lines[0].text
    return " ".join(map(_within, lines)).rstrip(";")


def _within(line: Line) -> str:
    """A line of a cell among others."""
    if line.kind is Kind.ROW:
        return line.text.replace(APART, " ") + ";"
    return line.text if line.prefix == BULLET else line.prefix + line.text


class Table:
    """Takes rows and cells as they come."""

    def __init__(self) -> None:
        self._rows: list[list[Cell]] = []
        self._row: list[Cell] | None = None
        self._column = 0
        self._reaching: list[tuple[int, int, int]] = []  # column, span and number of rows still to come

    def open_row(self) -> None:
        """Begin a row; one that is still open ends."""
        self.close_row()
        self._row, self._column = [], 0

    def close_row(self) -> None:
        """End the row, if there is one."""
        if self._row is None:
            return
        for cell in self._row:
            if cell.lines:
                cell.text = _joined(cell.lines)
        if self._row:
            self._rows.append(self._row)
        if self._reaching:
            self._reaching = [(column, span, rows - 1) for column, span, rows in self._reaching if rows > 1]
        self._row = None

    def add_cell(self, colspan: str | None, rowspan: str | None, text: str, lines: list[Line] | None = None) -> None:
        """Add a cell with its attributes and text to the open row. Lines may be filled in until that is closed."""
        if self._row is None:
            self.open_row()
        assert self._row is not None
        column, span = self._column, 1 if colspan is None else min(max(_span(colspan), 1), WIDEST)
        if self._reaching or rowspan is not None:
            column = self._free(column, span, 1 if rowspan is None else _span(rowspan))
        self._row.append(Cell(column, span, text, lines))
        self._column = column + span

    def _free(self, column: int, span: int, rows: int) -> int:
        """The next column that no cell of a row above reaches down to."""
        for reaching, width, _ in self._reaching:
            if reaching <= column < reaching + width:
                column = reaching + width
        if rows > 1 and len(self._reaching) < MOST_REACHING_DOWN:
            # Counted down at the end of this row too.
            self._reaching.append((column, span, rows))
            self._reaching.sort()
        return column

    @property
    def is_long(self) -> bool:
        """Whether so many rows are held that they should be taken."""
        return len(self._rows) >= MOST_ROWS

    def take(self) -> list[Line]:
        """The rows so far, of a table that ends or is long."""
        self.close_row()
        lines = list(self._lines())
        self._rows.clear()
        return lines

    def _lines(self) -> Iterator[Line]:
        values = _values(self._rows)
        for row in self._rows:
            filled = [cell for cell in row if cell.text]
            parts = [cell for cell in filled if cell.lines]
            alone = parts[0].lines if len(row) == 1 and parts else None
            if alone and len(alone) > 1 and row[0].span == 1:
                yield from alone
            elif parts and any(cell.is_layout for cell in parts):
                for cell in filled:
                    yield from cell.lines or [Line(Kind.TEXT, "", cell.text)]
            elif alone and len(alone) == 1 and alone[0].kind in (Kind.HEADING, Kind.ITEM):
                yield alone[0]
            elif filled:
                yield Line(Kind.ROW, "", _row(filled, values))


def _span(value: str) -> int:
    """Of the attribute of a cell; one that makes no sense is 1."""
    value = value.strip()
    return int(value) if value.isascii() and value.isdigit() and len(value) < 6 else 1


def _values(rows: list[list[Cell]]) -> list[int]:
    """Where each column of values begins. Signs of currencies and space have columns of their own in many tables, and a
    heading above begins where the sign does."""
    shapes = {tuple([(cell.column, cell.span) for cell in row if cell.text and not _sign(cell.text)]) for row in rows}
    holders: dict[int, int] = {}  # bits for the shapes of rows in which a value begins in a column
    reach: dict[int, int] = {}
    for number, shape in enumerate(shapes):
        for column, span in shape:
            holders[column] = holders.get(column, 0) | 1 << number
            reach[column] = max(reach.get(column, 0), column + span)
    starts: list[int] = []
    reached = held = 0
    for column in sorted(holders):
        if column >= reached or held & holders[column]:
            starts.append(column)
            reached = held = 0
        reached = max(reached, reach[column])
        held |= holders[column]
    return starts


def _sign(text: str) -> Sign | None:
    return _sign_of(text) if len(text) <= LONGEST_SIGN else None


@lru_cache(maxsize=4096)
def _sign_of(text: str) -> Sign | None:
    return "closing" if CLOSING.fullmatch(text) else "opening" if OPENING.fullmatch(text) else None


def _row(filled: list[Cell], values: list[int]) -> str:
    texts: list[str] = []
    opening, reached = "", 0
    for cell in filled:
        text, column = cell.text, cell.column
        sign = _sign(text)
        if sign == "closing" and texts and texts[-1]:
            texts[-1] += text
        elif sign == "opening" and cell is not filled[-1]:
            opening = f"{opening}{text} " if text[-1] != "(" else opening + text
        else:
            if column > reached:
                # Values that are missing keep their place.
                texts += [""] * (bisect_right(values, column) - 1 - bisect_left(values, reached))
            texts.append(opening + text)
            opening = ""
        reached = column + cell.span
    return " ".join(APART.join(texts).split())
