"""Running heads and page numbers: lines at the edge of a page that stand in the same place of a page close by."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.formats.pdf_layout import Line

REACH = 2
"""Pages before and behind that are compared: left and right pages may differ."""
EDGE = 0.13
"""Of the page's height: how far from its edges running heads stand."""
MOST_LINES = 4
"""At each edge."""
SAME_PLACE = 0.006
"""Of the page's height."""
LARGE = 1.15
"""Of the size of the page's text: what is larger is a heading, such as that of a slide."""
LEAST_CELLS = 4
"""The head of a table stands at the top of each page, too, and stays."""
LETTERHEAD = 4
"""Lines that repeat and that the first page keeps: who writes, with an address and numbers."""
NUMBER = re.compile(r"\d+")
ROMAN = re.compile(r"[ivxlc]{1,8}", re.IGNORECASE)
ROMAN_DIGITS = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}


@dataclass
class Page:
    """Lines of a page in the order of reading, and what belongs to its end."""

    number: int
    lines: list[Line]
    bottom: float = 0.0
    top: float = 0.0
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Edge:
    """A line that may be furniture."""

    line: Line
    pattern: str
    numbers: tuple[int, ...]


def without_furniture(pages: Iterable[Page]) -> Iterator[Page]:
    """The same pages, some pages late."""
    window: list[tuple[Page, list[_Edge]]] = []
    place = 0
    for page in pages:
        window.append((page, _edges(page)))
        if len(window) - place > REACH:
            yield _bare(window, place)
            place += 1
        while place > REACH:
            window.pop(0)
            place -= 1
    for last in range(place, len(window)):
        yield _bare(window, last)


def _bare(window: list[tuple[Page, list[_Edge]]], place: int) -> Page:
    page, edges = window[place]
    others = [(other, theirs) for other, theirs in window if 0 < abs(other.number - page.number) <= REACH]
    gone: list[Line] = []
    first = True
    for edge in edges:
        same = [other.number for other, theirs in others for their in theirs if _is_same(edge, their, other, page)]
        if same:
            gone.append(edge.line)
            first = first and min(same) > page.number
    if first and len(gone) >= LETTERHEAD:
        gone = [line for line in gone if not any(map(str.isalpha, line.text))]
    places = set(map(id, gone))
    return Page(page.number, [line for line in page.lines if id(line) not in places], page.bottom, page.top, page.notes)


def _edges(page: Page) -> list[_Edge]:
    """Lines near the top and bottom that are not large."""
    if not page.lines:
        return []
    height = page.top - page.bottom
    sizes = np.repeat([line.size for line in page.lines], [1 + len(line.text) // 20 for line in page.lines])
    largest = LARGE * float(np.median(sizes))
    down = sorted(page.lines, key=lambda line: -line.y1)
    high = [line for line in down[:MOST_LINES] if line.y0 > page.top - EDGE * height]
    low = [line for line in down[-MOST_LINES:] if line.y1 < page.bottom + EDGE * height]
    chosen = {id(line): line for line in high + low if line.size <= largest}
    return [_edge(line) for line in chosen.values()]


def _edge(line: Line) -> _Edge:
    text = " ".join(line.text.split()).casefold()
    if ROMAN.fullmatch(text.strip("-–— ")):
        return _Edge(line, "#", (_roman(text.strip("-–— ")),))
    return _Edge(line, NUMBER.sub("#", text), tuple(int(number[-9:]) for number in NUMBER.findall(text)))


def _is_same(edge: _Edge, their: _Edge, other: Page, page: Page) -> bool:
    """Whether lines of two pages are equal but for numbers that count pages."""
    distance = other.number - page.number
    if edge.pattern != their.pattern or abs(edge.line.y0 - their.line.y0) > SAME_PLACE * (page.top - page.bottom):
        return False
    steps = [theirs - ours for ours, theirs in zip(edge.numbers, their.numbers, strict=True)]
    counts = any(step == distance for step in steps)
    if edge.line.num_cells >= LEAST_CELLS and not counts:
        return False
    return all(step in (0, distance, 2 * distance) for step in steps)


def _roman(text: str) -> int:
    values = [ROMAN_DIGITS[digit] for digit in text.casefold()]
    return sum(-one if one < after else one for one, after in zip(values, [*values[1:], 0], strict=True))
