"""Tables as lines: a row a line, its cells apart."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

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
CLOSING = re.compile(r"[)%]+|%\s*\)|\)\s*%")
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
    """One cell, with the lines within."""

    column: int
    span: int
    is_alone: bool
    """Whether its row holds no other."""
    lines: list[Line] = field(default_factory=list)

    @property
    def text(self) -> str:
        """In one line."""
        if len(self.lines) == 1:
            return _within(self.lines[0]).rstrip(";") if self.lines[0].kind is Kind.ROW else self.lines[0].text
        return " ".join(map(_within, self.lines)).rstrip(";")

    @property
    def is_layout(self) -> bool:
        """Whether the cell holds a part of the page, not a value."""
        if len(self.lines) < 2:
            return bool(self.lines) and self.lines[0].kind is Kind.CODE and "\n" in self.lines[0].text
        kinds = {line.kind for line in self.lines}
        if Kind.HEADING in kinds or Kind.CODE in kinds or len(self.lines) > MOST_LINES:
            return True
        return len(self.lines) > 2 and sum(len(line.text) for line in self.lines) > MOST_CHARACTERS


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

    @property
    def in_row(self) -> bool:
        """Whether a row is open."""
        return self._row is not None

    def open_row(self) -> None:
        """Begin a row; one that is still open ends."""
        self.close_row()
        self._row, self._column = [], 0

    def close_row(self) -> None:
        """End the row, if there is one."""
        if self._row is None:
            return
        if self._row:
            self._rows.append(self._row)
            self._row[0].is_alone = len(self._row) == 1 and self._row[0].span == 1
        if self._reaching:
            self._reaching = [(column, span, rows - 1) for column, span, rows in self._reaching if rows > 1]
        self._row = None

    def open_cell(self, span: int, rows: int) -> Cell:
        """Begin a cell in the open row."""
        if self._row is None:
            self.open_row()
        assert self._row is not None
        span = min(max(span, 1), WIDEST)
        for column, width, _ in self._reaching:
            if column <= self._column < column + width:
                self._column = column + width
        cell = Cell(self._column, span, False)
        if rows > 1 and len(self._reaching) < MOST_REACHING_DOWN:
            # Counted down at the end of this row too.
            self._reaching.append((self._column, span, rows))
            self._reaching.sort()
        self._column += span
        self._row.append(cell)
        return cell

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
        is_column = all(row[0].is_alone for row in self._rows)
        values = _values(self._rows)
        for row in self._rows:
            filled = [cell for cell in row if cell.lines]
            if (is_column or len(row) == 1) and len(filled) == 1 and filled[0].is_alone and len(filled[0].lines) > 1:
                yield from filled[0].lines
            elif any(cell.is_layout for cell in filled):
                for cell in filled:
                    yield from cell.lines
            elif filled:
                yield _row(row, values)


def _values(rows: list[list[Cell]]) -> list[int]:
    """Where each column of values begins. Signs of currencies and space have columns of their own in many tables, and a
    heading above begins where the sign does."""
    holders: dict[int, int] = {}  # bits for the rows in which a value begins in a column
    reach: dict[int, int] = {}
    row_bit = 1
    for row in rows:
        for cell in row:
            if cell.lines and not _is_sign(cell.text):
                column = cell.column
                holders[column] = holders.get(column, 0) | row_bit
                if cell.span > 1:
                    reach[column] = max(reach.get(column, 0), column + cell.span)
        row_bit <<= 1
    starts: list[int] = []
    reached = held = 0
    for column in sorted(holders):
        if column >= reached or held & holders[column]:
            starts.append(column)
            reached = held = 0
        reached = max(reached, reach.get(column, column + 1))
        held |= holders[column]
    return starts


def _is_sign(text: str) -> bool:
    return (
        len(text) < 8
        and not text[0].isdigit()
        and (OPENING.fullmatch(text) is not None or CLOSING.fullmatch(text) is not None)
    )


def _row(row: list[Cell], values: list[int]) -> Line:
    filled = [cell for cell in row if cell.lines]
    if len(filled) == 1:
        only = filled[0].lines[0]
        if len(filled[0].lines) == 1 and only.kind in (Kind.HEADING, Kind.ITEM) and len(row) == 1:
            return only
    texts: list[str] = []
    opening, reached = "", 0
    for cell in row:
        text = cell.text if cell.lines else ""
        if not text:
            continue
        is_sign = _is_sign(text)
        if is_sign and CLOSING.fullmatch(text) and texts and texts[-1]:
            texts[-1] += text
        elif is_sign and OPENING.fullmatch(text) and cell is not filled[-1]:
            opening = f"{opening}{text} " if text[-1] != "(" else opening + text
        else:
            # Values that are missing keep their place.
            place = bisect_right(values, cell.column) - 1
            texts += [""] * (place - bisect_left(values, reached))
            texts.append(opening + text)
            opening = ""
        reached = cell.column + cell.span
    return Line(Kind.ROW, "", " ".join(APART.join(texts).split()))
