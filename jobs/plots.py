"""Plots as inline SVG: percentages across and pixels down, so that text keeps its size on any screen.

Colors are classes, which the page's style fills for light, dark and print. Every mark has a title for a pointer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

from markupsafe import Markup, escape

HEIGHT = 220
TOP = 14
BOTTOM = 26
MAX_LABELS = 8
MAX_BAR_PERCENT = 9.0
NUM_STEPS = 4
STRIP_HEIGHT = 28
LEAST_MARK_PERCENT = 0.6
ROUND = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Column:
    """One place along a plot: its label, what the pointer shows, and values from the bottom up by color class."""

    label: str
    title: str
    parts: Sequence[tuple[str, float]] = ()
    """Empty where nothing is known."""

    @property
    def top(self) -> float:
        return sum(value for _, value in self.parts)


@dataclass(frozen=True)
class Mark:
    """A place on a strip, which leads somewhere."""

    start: float
    """Shares of the whole length, like `end`."""
    end: float
    title: str
    link: str


def strip(about: str, marks: Sequence[Mark], ticks: Sequence[tuple[float, str]] = ()) -> Markup:
    """A line from the start of something to its end with a mark for each place, which can be followed; `ticks` are
    thin lines with a title."""
    lines = Markup("").join(
        Markup('<line x1="{0:.2f}%" x2="{0:.2f}%" y1="6" y2="{1}"><title>{2}</title></line>').format(
            100 * place, STRIP_HEIGHT - 6, title
        )
        for place, title in ticks
    )
    return Markup(
        '<svg class="strip" role="group" aria-label="{}" width="100%" height="{}">'
        '<rect class="whole" x="0" y="11" width="100%" height="6" rx="3"/>{}{}</svg>'
    ).format(about, STRIP_HEIGHT, lines, Markup("").join(map(_mark, marks)))


def _mark(mark: Mark) -> Markup:
    start, end = (100 * min(1.0, max(0.0, place)) for place in (mark.start, mark.end))
    width = max(LEAST_MARK_PERCENT, end - start)
    left = min(start, 100 - width)
    return Markup(
        '<a href="{}"><title>{}</title><rect x="{:.2f}%" y="5" width="{:.2f}%" height="18" rx="2"/></a>'
    ).format(mark.link, mark.title, left, width)


def bars(about: str, columns: Sequence[Column], tick: Callable[[float], str], top: float | None = None) -> Markup:
    """Stacked bars. `about` says in words what the plot shows; `tick` writes a value of the axis."""
    scale = _Scale(top or max((column.top for column in columns), default=0))
    marks = Markup("").join(_bar(column, place, len(columns), scale) for place, column in enumerate(columns))
    return _plot(about, columns, scale, tick, marks)


def line(about: str, columns: Sequence[Column], tick: Callable[[float], str]) -> Markup:
    """A line through the columns that have a value, from zero; each has at most one."""
    scale = _Scale(max((column.top for column in columns), default=0))
    points = [
        (_middle(place, len(columns)), scale.y(column.top), column)
        for place, column in enumerate(columns)
        if column.parts
    ]
    marks = [
        Markup('<line class="trend" x1="{:.3f}%" y1="{:.1f}" x2="{:.3f}%" y2="{:.1f}"/>').format(x, y, next_x, next_y)
        for (x, y, _), (next_x, next_y, _) in pairwise(points)
    ]
    marks += [
        Markup('<circle class="{}" cx="{:.3f}%" cy="{:.1f}" r="4"><title>{}</title></circle>').format(
            column.parts[0][0], x, y, column.title
        )
        for x, y, column in points
    ]
    return _plot(about, columns, scale, tick, Markup("").join(marks))


class _Scale:
    """From values to pixels, with an axis that ends at a round step."""

    def __init__(self, most: float) -> None:
        rough = most / NUM_STEPS if most > 0 else 1.0
        power = 10.0 ** floor(log10(rough))
        self.step = next(digit * power for digit in ROUND if digit * power >= rough * (1 - 1e-9))
        self.steps = max(1, ceil(most / self.step - 1e-9))
        self.top = self.steps * self.step

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.top * (HEIGHT - BOTTOM - TOP)

    def ticks(self) -> list[float]:
        return [step * self.step for step in range(self.steps + 1)]


def _middle(place: int, number: int) -> float:
    return (place + 0.5) * 100 / number


def _bar(column: Column, place: int, number: int, scale: _Scale) -> Markup:
    width = min(80 / number, MAX_BAR_PERCENT)
    left, below = _middle(place, number) - width / 2, 0.0
    drawn = []
    for name, value in column.parts:
        upper, lower = scale.y(below + value), scale.y(below)
        drawn.append(
            Markup('<rect class="{}" x="{:.3f}%" y="{:.2f}" width="{:.3f}%" height="{:.2f}"/>').format(
                name, left, upper, width, lower - upper
            )
        )
        below += value
    # What the pointer finds is the whole column, for a bar may be a hair high.
    found = Markup('<rect class="found" x="{:.3f}%" y="{}" width="{:.3f}%" height="{}"/>').format(
        place * 100 / number, TOP, 100 / number, HEIGHT - BOTTOM - TOP
    )
    return Markup("<g><title>{}</title>{}{}</g>").format(column.title, found, Markup("").join(drawn))


def _plot(about: str, columns: Sequence[Column], scale: _Scale, tick: Callable[[float], str], marks: Markup) -> Markup:
    ticks = scale.ticks()
    texts = [tick(value) for value in ticks]
    axis = Markup("").join(
        Markup('<text x="100%" y="{:.1f}" dy="0.32em">{}</text>').format(scale.y(value), text)
        for value, text in zip(ticks, texts, strict=True)
    )
    grid = Markup("").join(
        Markup('<line class="grid" x1="0" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>').format(scale.y(value))
        for value in ticks
    )
    return Markup(
        '<div class="plot" role="img" aria-label="{about}">'
        '<svg class="axis" aria-hidden="true" style="width:{width}ch" height="{height}">{axis}</svg>'
        '<svg class="area" aria-hidden="true" width="100%" height="{height}">{grid}{marks}{labels}</svg></div>'
    ).format(
        about=about,
        width=max(map(len, texts), default=1) + 1,
        height=HEIGHT,
        axis=axis,
        grid=grid,
        marks=marks,
        labels=_labels(columns),
    )


def _labels(columns: Sequence[Column]) -> Markup:
    """Below every column, or as many as there is room for; a narrow screen hides every other."""
    every = ceil(len(columns) / MAX_LABELS) or 1
    texts = []
    for count, place in enumerate(range(0, len(columns), every)):
        name = Markup(' class="minor"') if count % 2 else ""
        place_and_text = (name, _middle(place, len(columns)), HEIGHT - 8, escape(columns[place].label))
        texts.append(Markup('<text{} x="{:.3f}%" y="{}">{}</text>').format(*place_and_text))
    return Markup("").join(texts)
