"""Lines become paragraphs where their geometry leaves no doubt, and words that a line end divides become whole.

Two lines are one paragraph if the first word of the second did not fit on the first. Where a column or page ends, only
a word or sentence that goes on tells.
"""

import re
from collections.abc import Iterator

import numpy as np

from pipeline.formats.pdf_layout import Line
from pipeline.formats.pdf_segments import HYPHEN

LEADING = 1.9
"""Of the height of a line: the most that the next one of a paragraph lies below it."""
INDENT = 1.0
"""The same, to the right."""
USUAL = 0.7
"""Share of the lines of a column that end before its edge."""
NARROW = 11
"""The same: width of columns in which words do not tell whether a line was full."""
MOST_CHARS = 20_000
"""Of a paragraph."""
MOST_WORDS = 100_000
"""With hyphens, that are remembered."""
MARK = re.compile(r"(?:[•●▪■◦‣–—*\-]|\(?(?:\d{1,3}|[a-z]|[ivx]{1,5})[.)])\s", re.IGNORECASE)
"""Begins an item of a list."""
HYPHENS = "\x02-\u2010\u00ad"
LONGEST_WORD = 60
FIRST_PARTS = re.compile(r"[^\W\d_]+(?:[-'’][^\W\d_]+)*")
HYPHENATED = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)+")
FIRST_PART = re.compile(r"[^\W\d_]+")
COMPOUNDS = frozenset({"self", "well", "half", "all", "ex", "cross", "full", "high", "low", "long", "short", "e"})
"""Before them a hyphen is part of the word."""


class Paragraphs:
    """Takes the lines of a document in the order of reading."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._num_chars = 0
        self._last: Line | None = None
        self._edge = 0.0
        """Right edge of the column beside the last line."""
        self._hyphenated: set[str] = set()

    def add(self, lines: list[Line]) -> Iterator[str]:
        """Takes lines of a page; yields the paragraphs that are complete."""
        self._remember(lines)
        for line, edge in zip(lines, _edges(lines), strict=True):
            if self._last is None or not self._continues(self._last, line):
                yield from self.end()
            self._append(line.text)
            self._last, self._edge = line, edge

    def end(self) -> Iterator[str]:
        """Yields what is not complete."""
        if self._parts:
            yield _settled("".join(self._parts))
        self._parts, self._num_chars, self._last = [], 0, None

    def _continues(self, last: Line, line: Line) -> bool:
        if last.num_cells > 1 or line.num_cells > 1 or self._num_chars > MOST_CHARS:
            return False
        if abs(last.size - line.size) > 0.15 * max(last.size, line.size) or MARK.match(line.text):
            return False
        if line.text[:1].islower() and _broken(last.text):
            return True
        is_full = self._edge - last.x1 < _first_word(line)
        if not is_full or _are_close(last, line):
            return is_full and self._edge - last.x0 > NARROW * last.size and line.x0 - last.x0 < INDENT * last.size
        is_elsewhere = last.column != line.column or line.y0 > last.y0
        return is_elsewhere and line.text[:1].islower() and last.text[-1:] not in ".!?:;" and len(line.text) > 20

    def _append(self, text: str) -> None:
        if self._parts:
            before = self._parts[-1]
            broken = _broken(before)
            if broken and text[:1].isalnum():
                self._parts[-1] = before[:-1] + ("-" if self._keeps_hyphen(broken, text) else "")
            elif not _joins_without_space(before, text):
                self._parts.append(" ")
        self._parts.append(text)
        self._num_chars += len(text)

    def _keeps_hyphen(self, first: str, text: str) -> bool:
        """Whether the hyphen behind a word's first part belongs to the word."""
        rest = FIRST_PART.match(text)
        if not rest or not text[0].islower() or "-" in first or first.casefold() in COMPOUNDS:
            return True
        return f"{first}-{rest[0]}".casefold() in self._hyphenated

    def _remember(self, lines: list[Line]) -> None:
        """Words that have a hyphen in the middle of a line."""
        if len(self._hyphenated) < MOST_WORDS:
            for line in lines:
                if "-" in line.text:
                    self._hyphenated.update(word.casefold() for word in HYPHENATED.findall(line.text))


def _broken(text: str) -> str:
    """The part of a word before a hyphen at a line's end; empty if there is none."""
    if text[-1:] not in HYPHENS:
        return ""
    word = text[-LONGEST_WORD:-1].rpartition(" ")[2].lstrip("(\"'“‘„[")
    return word if FIRST_PARTS.fullmatch(word) else ""


def _edges(lines: list[Line]) -> Iterator[float]:
    """The right edge that lines can reach, of each: the farthest end of those around it, or usual in its column."""
    ends: dict[int, list[float]] = {}
    for line in lines:
        ends.setdefault(line.column, []).append(line.x1)
    usual = {column: float(np.quantile(places, USUAL)) for column, places in ends.items()}
    run: list[Line] = []
    for line in lines:
        if run and not _are_close(run[-1], line):
            yield from _edge(run, usual)
            run = []
        run.append(line)
    yield from _edge(run, usual)


def _edge(run: list[Line], usual: dict[int, float]) -> Iterator[float]:
    if run:
        yield from [max(usual[run[0].column], *(line.x1 for line in run))] * len(run)


def _are_close(last: Line, line: Line) -> bool:
    """Whether a line follows another in a column without a gap."""
    drop = (last.y0 + last.y1 - line.y0 - line.y1) / 2
    return last.column == line.column and 0 < drop < LEADING * min(last.size, line.size)


def _first_word(line: Line) -> float:
    """Width of a line's first word, with a space before it."""
    word = line.text.partition(" ")[0]
    each = (line.x1 - line.x0) / max(len(line.text), 1)
    return each * ((len(word) if _has_spaces(line.text) else 0) + 1)


def _has_spaces(text: str) -> bool:
    """Whether words are written apart, unlike in Chinese."""
    return not ("\u2e7f" < text[:1] < "\uac00")


def _joins_without_space(before: str, text: str) -> bool:
    return not _has_spaces(text) and not _has_spaces(before[-1:])


def _settled(text: str) -> str:
    """Hyphens at line ends that nothing followed are hyphens."""
    return text.replace(HYPHEN, "-").replace("\u00ad", "")
