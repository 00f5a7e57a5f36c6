"""The order in which the pieces of text on a page are read: columns one after another, each from top to bottom, rows of
tables as lines with their cells apart.

A gutter between columns is a strip that few pieces cross, with prose on both sides of it; between short pieces it
divides the cells of a table, whose rows stay whole.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.formats.pdf_segments import Segment

CELL = " | "
CELL_GAP = 1.6
"""Of the height of characters: between cells."""
TIGHT_CELL_GAP = 0.8
"""The same in a row with some cells."""
WORD_GAP = 0.13
"""The same, between words: pieces that stand closer are one word."""
GUTTER = 0.7
"""The same, least width of a gutter."""
BINS = 400
"""Places across the page that may be a gutter."""
CROSSED = 2.0
"""Pieces that may cross a gutter, such as headings, for one of the shorter column beside it."""
LEAST_LINES = 3
"""Of a column."""
PROSE_CHARS, PROSE_WORDS = 14, 3
"""Letters and words of a line of prose: less is a cell of a table, or part of a figure."""
PROSE_SHARE = 0.6
"""Of the letters of a column that are in lines of prose."""
FILLED = 0.6
"""Of the width of a column, by the mean of its lines of prose."""
MOST_DEPTH = 5
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
LETTER = re.compile(r"[^\W\d_]")


@dataclass
class Line:
    """A line of a page or of one of its columns."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float
    column: int = 0
    """Number of its column on the page."""
    num_cells: int = 1
    """Of a table's row; a form's field counts as one."""

    @property
    def size(self) -> float:
        return self.y1 - self.y0


def lines(segments: Sequence[Segment]) -> list[Line]:
    """In the order of reading."""
    return [line for number, block in enumerate(_columns(list(segments), 0)) for line in _rows(block, number)]


def _columns(segments: list[Segment], depth: int) -> Iterator[list[Segment]]:
    """Blocks that are read one after another, each a column or a part of the page without columns."""
    gutter = _gutter(segments) if depth < MOST_DEPTH and len(segments) >= 2 * LEAST_LINES else None
    if gutter is None:
        if segments:
            yield segments
        return
    for band in _bands(segments, gutter):
        sides = _sides(band, gutter)
        if sides is None:
            yield from _columns(band, depth + 1 if len(band) < len(segments) else MOST_DEPTH)
        else:
            for side in sides:
                yield from _columns(side, depth + 1)


def _gutter(segments: list[Segment]) -> float | None:
    """Where most pieces leave a strip free that has columns on both sides."""
    x0 = np.array([one.x0 for one in segments])
    x1 = np.array([one.x1 for one in segments])
    low, high = float(x0.min()), float(x1.max())
    places = np.linspace(low, high, BINS)[1:-1]
    starts, ends = np.sort(x0), np.sort(x1)
    left = np.searchsorted(ends, places, "right")
    right = len(segments) - np.searchsorted(starts, places, "left")
    crossing = len(segments) - left - right
    fewer = np.minimum(left, right)
    possible = (fewer >= LEAST_LINES) & (crossing <= CROSSED * fewer)
    best, width = None, 0.0
    least = GUTTER * float(np.median([one.size for one in segments]))
    for run in _runs(possible):
        strip = _free(places[run], crossing[run], (high - low) / BINS)
        if strip[1] >= max(least, width * 1.0001) and _divides(segments, strip[0]):
            best, width = strip
    return best


def _runs(possible: "np.ndarray") -> Iterator[slice]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], possible, [False]]).astype(np.int8)))
    for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        yield slice(start, end)


def _free(places: "np.ndarray", crossing: "np.ndarray", step: float) -> tuple[float, float]:
    """Middle and width of the longest strip that the fewest pieces cross."""
    longest = max(_runs(crossing == crossing.min()), key=lambda run: run.stop - run.start)
    return float(places[longest].mean()), (longest.stop - longest.start) * step


def _divides(segments: list[Segment], gutter: float) -> bool:
    """Whether there is a band with columns on both sides."""
    found = (_sides(band, gutter) for band in _bands(segments, gutter))
    return any(sides is not None and _are_beside(*sides) for sides in found)


def _sides(band: list[Segment], gutter: float) -> tuple[list[Segment], list[Segment]] | None:
    """What stands left and right of a gutter, if nothing crosses it and both are columns."""
    left = [one for one in band if one.x1 <= gutter]
    right = [one for one in band if one.x0 >= gutter]
    is_free = len(left) + len(right) == len(band)
    return (left, right) if is_free and _is_column(left) and _is_column(right) else None


def _bands(segments: list[Segment], gutter: float) -> Iterator[list[Segment]]:
    """From top to bottom: parts that a piece across the gutter divides, and those pieces with what stands beside
    them."""
    crossing = sorted((one for one in segments if one.x0 < gutter < one.x1), key=lambda one: -one.y1)
    rest = sorted((one for one in segments if not one.x0 < gutter < one.x1), key=lambda one: -one.middle)
    place = 0
    across: list[Segment] = []
    for one in crossing:
        above = place
        while place < len(rest) and rest[place].middle > one.y1:
            place += 1
        if place > above:
            yield from filter(None, [across, rest[above:place]])
            across = []
        across.append(one)
        while place < len(rest) and rest[place].middle > one.y0:
            across.append(rest[place])
            place += 1
    yield from filter(None, [across, rest[place:]])


def _is_column(side: list[Segment]) -> bool:
    """Whether most of it is lines of prose that fill a column, and not cells of a table."""
    least = (PROSE_CHARS / 2, 1) if _has_no_spaces(side) else (PROSE_CHARS, PROSE_WORDS)
    lengths = [len(LETTER.findall(one.text)) for one in side]
    prose = [
        (one, n) for one, n in zip(side, lengths, strict=True) if n >= least[0] and len(one.text.split()) >= least[1]
    ]
    # Digits count as well in what is no prose, such as amounts.
    if len(prose) < LEAST_LINES or sum(n for _, n in prose) < PROSE_SHARE * sum(len(one.text) for one in side):
        return False
    widths = [one.x1 - one.x0 for one, _ in prose]
    return float(np.mean(widths)) >= FILLED * float(np.quantile(widths, 0.9))


def _has_no_spaces(side: list[Segment]) -> bool:
    """Whether it is written in Chinese or the like."""
    text = "".join(one.text for one in side[:50])
    return sum(character > "\u2e7f" for character in text) > len(text) / 3


def _are_beside(left: list[Segment], right: list[Segment]) -> bool:
    """Whether two sides share at least the height of two lines."""
    top = min(max(one.y1 for one in left), max(one.y1 for one in right))
    bottom = max(min(one.y0 for one in left), min(one.y0 for one in right))
    return top - bottom > 2 * min(left[0].size, right[0].size)


def _rows(block: list[Segment], column: int) -> Iterator[Line]:
    """Pieces that stand beside one another are one line."""
    row: list[Segment] = []
    widest = block[0]
    for one in sorted(block, key=lambda one: -one.middle):
        if row and widest.middle - one.middle > 0.5 * min(max(one.size, 1e-3), row[0].size):
            yield _line(row, column)
            row = []
        if not row or one.x1 - one.x0 > widest.x1 - widest.x0:
            widest = one
        row.append(one)
    yield _line(row, column)


def _line(row: list[Segment], column: int) -> Line:
    if len(row) == 1:
        one = row[0]
        return Line(one.text.strip(), one.x0, one.y0, one.x1, one.y1, column, 1 + one.is_field)
    row.sort(key=lambda one: one.x0)
    if _is_right_to_left(row):
        row.reverse()
    text, num_cells = row[0].text.strip(), 1 + row[0].is_field
    joints = [_joint(before, one, CELL_GAP) for before, one in pairwise(row)]
    if joints.count(CELL) > 1:
        joints = [_joint(before, one, TIGHT_CELL_GAP) for before, one in pairwise(row)]
    for before, one, joint in zip(row, row[1:], joints, strict=False):
        num_cells += joint == CELL or one.is_field or before.is_field
        text += joint + one.text.strip()
    y0, y1 = max((one.y1 - one.y0, one.y0, one.y1) for one in row)[1:]
    return Line(text, min(one.x0 for one in row), y0, max(one.x1 for one in row), y1, column, num_cells)


def _joint(before: Segment, one: Segment, cell_gap: float) -> str:
    gap = max(one.x0 - before.x1, before.x0 - one.x1) / max(min(before.size, one.size), 1e-3)
    if one.is_field or before.is_field:
        return " "
    if gap >= cell_gap:
        return CELL
    return " " if gap >= WORD_GAP or before.text.endswith(" ") or one.text.startswith(" ") else ""


def _is_right_to_left(row: list[Segment]) -> bool:
    text = "".join(one.text for one in row)
    return 2 * len(RIGHT_TO_LEFT.findall(text)) > len(LETTER.findall(text))
