"""Scores as an SVG that any browser shows: bars of each method, side by side for each group."""

from collections.abc import Mapping, Sequence
from math import isnan

from markupsafe import Markup

COLORS = ("#2a6f97", "#b0b7bf", "#e09f3e", "#9e4770", "#5b8c5a", "#46505a")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 960, 360, 44, 40, 30
GROUP_WIDTH = 80
"""At least, for its name."""


def chart(about: str, groups: Sequence[str], values: Mapping[str, Sequence[float]]) -> str:
    """`values` has, for each method, one number for each group, between 0 and 100, or nan."""
    top = max([10.0, *(value for found in values.values() for value in found if not isnan(value))])
    scale = (HEIGHT - TOP - BOTTOM) / top
    picture = max(WIDTH, LEFT + GROUP_WIDTH * len(groups))
    room = (picture - LEFT) / max(1, len(groups))
    width = room * 0.8 / max(1, len(values))
    marks = [Markup('<text x="{}" y="16" font-weight="bold">{}</text>').format(LEFT, about)]
    for step in range(0, int(top) + 1, 10):
        y = HEIGHT - BOTTOM - step * scale
        marks.append(
            Markup(
                '<line x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}" stroke="#ddd"/><text x="8" y="{:.1f}">{}</text>'
            ).format(LEFT, picture, y, y, y + 4, step)
        )
    for place, (method, found) in enumerate(values.items()):
        color = COLORS[place % len(COLORS)]
        marks.append(
            Markup('<rect x="{}" y="24" width="10" height="10" fill="{}"/><text x="{}" y="33">{}</text>').format(
                LEFT + place * 110, color, LEFT + place * 110 + 14, method
            )
        )
        for at, value in enumerate(found):
            if isnan(value):
                continue
            x = LEFT + at * room + room * 0.1 + place * width
            marks.append(
                Markup(
                    '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}">'
                    "<title>{}, {}: {:.1f}</title></rect>"
                ).format(x, HEIGHT - BOTTOM - value * scale, width, value * scale, color, groups[at], method, value)
            )
    for at, group in enumerate(groups):
        x = LEFT + (at + 0.5) * room
        marks.append(Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(x, HEIGHT - 10, group))
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" font-family="sans-serif" font-size="12">{}</svg>\n'
    )
    return str(Markup(head).format(picture, HEIGHT, Markup("").join(marks)))
