"""What a probe of recall found as an SVG: a panel for each measure, lengths across and depths down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.evaluation.curve import short, svg

CELL_WIDTH, CELL_HEIGHT, LEFT, TOP, BOTTOM, GAP = 62, 34, 56, 64, 40, 40
LOW, HIGH = (244, 246, 248), (24, 92, 140)
DARK_FROM = 0.55
"""From this share on, text is white."""
PANEL_WIDTH = 330
"""At least, so that the titles have room."""


@dataclass(frozen=True)
class Panel:
    """One measure."""

    title: str
    note: str
    values: Mapping[tuple[int, int], float]
    """By length and depth."""
    lowest: float
    """That is drawn palest, and `highest` darkest."""
    highest: float
    is_share: bool
    """Whether it is shown in percent."""


def heat_map(lengths: Sequence[int], depths: Sequence[int], panels: Sequence[Panel]) -> str:
    """Side by side, self-contained, with the value in each cell."""
    width = max(PANEL_WIDTH, LEFT + len(lengths) * CELL_WIDTH + GAP)
    drawn = Markup("").join(
        Markup('<g transform="translate({} 0)">{}</g>').format(place * width, _panel(lengths, depths, panel))
        for place, panel in enumerate(panels)
    )
    return svg(width * len(panels), TOP + len(depths) * CELL_HEIGHT + BOTTOM, drawn)


def _panel(lengths: Sequence[int], depths: Sequence[int], panel: Panel) -> Markup:
    marks = [
        Markup('<text x="{}" y="20" font-weight="bold">{}</text>').format(LEFT, panel.title),
        Markup('<text x="{}" y="38" fill="#667">{}</text>').format(LEFT, panel.note),
    ]
    for row, depth in enumerate(depths):
        y = TOP + row * CELL_HEIGHT
        marks.append(
            Markup('<text x="{}" y="{}" text-anchor="end">{} %</text>').format(LEFT - 8, y + CELL_HEIGHT / 2 + 4, depth)
        )
        marks += [
            _cell(panel, length, depth, LEFT + at * CELL_WIDTH, y)
            for at, length in enumerate(lengths)
            if (length, depth) in panel.values
        ]
    below = TOP + len(depths) * CELL_HEIGHT
    for at, length in enumerate(lengths):
        x = LEFT + (at + 0.5) * CELL_WIDTH
        marks.append(Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(x, below + 16, short(length)))
    x = LEFT + len(lengths) * CELL_WIDTH / 2
    label = "tokens of the document; downwards: where the needle lies"
    marks.append(Markup('<text x="{}" y="{}" text-anchor="middle" fill="#667">{}</text>').format(x, below + 33, label))
    return Markup("").join(marks)


def _cell(panel: Panel, length: int, depth: int, x: float, y: float) -> Markup:
    value = panel.values[length, depth]
    share = min(1.0, max(0.0, (value - panel.lowest) / (panel.highest - panel.lowest)))
    color = "#" + "".join(f"{round(low + (high - low) * share):02x}" for low, high in zip(LOW, HIGH, strict=True))
    shown = f"{100 * value:.0f} %" if panel.is_share else nats(value)
    return Markup(
        '<g><title>{} tokens, needle at {} %: {}</title>'
        '<rect x="{}" y="{}" width="{}" height="{}" rx="3" fill="{}"/>'
        '<text x="{}" y="{}" text-anchor="middle" fill="{}">{}</text></g>'
    ).format(
        f"{length:,}", depth, shown, x + 1, y + 1, CELL_WIDTH - 2, CELL_HEIGHT - 2, color,
        x + CELL_WIDTH / 2, y + CELL_HEIGHT / 2 + 4, "#ffffff" if share >= DARK_FROM else "#223344", shown,
    )  # fmt: skip


def nats(value: float) -> str:
    """With its sign; nothing is no less than zero."""
    return f"{round(value, 2) + 0.0:+.2f}"
