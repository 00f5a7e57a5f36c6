"""Values along a document as an SVG that any browser shows: lines over ranges of position that double."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2

from markupsafe import Markup

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 340, 56, 24, 84, 56
COLORS = ("#185c8c", "#c7651b")


def curve(about: str, bounds: Sequence[tuple[int, int]], lines: Mapping[str, Sequence[float]]) -> str:
    """Each line has a value for each range of tokens. The axis below is logarithmic, that beside it does not begin at
    zero."""
    plot = _Plot(bounds, [value for line in lines.values() for value in line])
    marks = [Markup('<text x="{}" y="20" font-weight="bold">{}</text>').format(LEFT, about)]
    marks += [plot.tick(value) for value in (plot.lowest, (plot.lowest + plot.highest) / 2, plot.highest)]
    marks += [plot.label(bound) for bound in bounds]
    note = Markup('<text x="{}" y="{}" text-anchor="middle" fill="#667">tokens read, up to</text>')
    marks.append(note.format((LEFT + WIDTH) / 2, HEIGHT - 8))
    for place, (name, line) in enumerate(lines.items()):
        color = COLORS[place % len(COLORS)]
        marks.append(
            Markup('<rect x="{}" y="{}" width="12" height="4" fill="{}"/><text x="{}" y="{}">{}</text>').format(
                LEFT, 35 + 18 * place, color, LEFT + 18, 41 + 18 * place, name
            )
        )
        marks.append(plot.line(name, line, color))
    return svg(WIDTH, HEIGHT, Markup("").join(marks))


@dataclass(frozen=True)
class _Plot:
    """From values to places."""

    bounds: Sequence[tuple[int, int]]
    values: Sequence[float]

    @property
    def lowest(self) -> float:
        return min(self.values)

    @property
    def highest(self) -> float:
        return max(self.values)

    def x(self, bound: tuple[int, int]) -> float:
        """The end of a range, evenly where they double."""
        first, last = log2(self.bounds[0][1]), log2(self.bounds[-1][1])
        return LEFT + 24 + (WIDTH - LEFT - RIGHT - 24) * (log2(bound[1]) - first) / ((last - first) or 1.0)

    def y(self, value: float) -> float:
        spread = (self.highest - self.lowest) or 1.0
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - self.lowest) / spread

    def tick(self, value: float) -> Markup:
        return Markup(
            '<line x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}" stroke="#dde"/>'
            '<text x="{3}" y="{4:.1f}" text-anchor="end">{5:.2f}</text>'
        ).format(LEFT, WIDTH - RIGHT, self.y(value), LEFT - 8, self.y(value) + 4, value)

    def label(self, bound: tuple[int, int]) -> Markup:
        return Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            self.x(bound), HEIGHT - BOTTOM + 24, short(bound[1])
        )

    def line(self, name: str, values: Sequence[float], color: str) -> Markup:
        places = [(self.x(bound), self.y(value)) for bound, value in zip(self.bounds, values, strict=True)]
        steps = [
            Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="2"/>').format(
                *here, *there, color
            )
            for here, there in pairwise(places)
        ]
        dots = [
            Markup(
                '<circle cx="{:.1f}" cy="{:.1f}" r="4" fill="{}"><title>{}, {} to {}: {:.3f}</title></circle>'
            ).format(*place, color, name, f"{start:,}", f"{stop:,}", value)
            for place, (start, stop), value in zip(places, self.bounds, values, strict=True)
        ]
        return Markup("").join([*steps, *dots])


def short(tokens: int) -> str:
    """512, 4K, 1M."""
    for size, unit in ((1_000_000, "M"), (1000, "K")):
        if tokens >= size:
            return f"{tokens / size:.3g}{unit}"
    return str(tokens)


def svg(width: float, height: float, marks: Markup) -> str:
    """With nothing outside of it."""
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" width="{}" height="{}" font-family="sans-serif" '
        'font-size="12"><rect width="100%" height="100%" fill="#ffffff"/>{}</svg>\n'
    )
    return str(Markup(head).format(width, height, width, height, marks))
