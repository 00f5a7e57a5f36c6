"""Headings: the lines of a page that bookmarks name."""

from collections.abc import Iterable
from dataclasses import replace

from pipeline.formats.pdf_layout import Line

MOST_LINES = 3
"""Of a heading."""


def with_headings(lines: list[Line], bookmarks: Iterable[tuple[int, str]]) -> tuple[list[Line], set[int]]:
    """Lines, with those that bookmarks (level and title) name marked as Markdown headings, each one line; and the
    places of the headings."""
    found = list(lines)
    headings: dict[int, Line] = {}
    for level, title in bookmarks:
        if place := _found(found, title, headings):
            start, end = place
            text = " ".join(line.text for line in found[start:end])
            heading = replace(found[start], text=f"{'#' * min(level + 1, 6)} {text}", y0=found[end - 1].y0)
            headings[id(heading)] = heading
            found[start:end] = [heading]
    return found, {place for place, line in enumerate(found) if id(line) in headings}


def _found(lines: list[Line], title: str, headings: dict[int, Line]) -> tuple[int, int] | None:
    """Where a title stands, on its own, with or without its number: its largest lines."""
    wanted = _letters(title)
    if not wanted:
        return None
    places = []
    for start, line in enumerate(lines):
        text = ""
        for end in range(start, min(start + MOST_LINES, len(lines))):
            if id(lines[end]) in headings:
                break
            text += _letters(lines[end].text)
            if text == wanted or text.lstrip("0123456789") == wanted or text == wanted.lstrip("0123456789"):
                places.append((-line.size, start, end + 1))
            if len(text) > len(wanted) + 10:
                break
    return min(places)[1:] if places else None


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
