"""Plots as SVG: what is drawn where, by the numbers."""

import re

import pytest

from jobs.plots import BOTTOM, HEIGHT, LEAST_MARK_PERCENT, TOP, Column, Mark, bars, line, strip


def numbers(svg, mark, name):
    return [float(found) for found in re.findall(rf'<{mark} class="(?!found)\w+"[^>]* {name}="([\d.]+)', str(svg))]


def ticks(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", str(svg).partition('class="area"')[0])


def test_parts_of_a_bar_stand_on_each_other():
    svg = bars("x", [Column("a", "a: 4", [("documents", 1.0), ("waste", 3.0)])], str)
    (low, high), (short, tall) = numbers(svg, "rect", "y"), numbers(svg, "rect", "height")
    assert high + tall == pytest.approx(low)
    assert low + short == HEIGHT - BOTTOM
    assert high == TOP
    assert tall == pytest.approx(3 * short, rel=1e-3)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(4, [0, 1, 2, 3, 4]), (4.1, [0, 2, 4, 6]), (0.00033, [0, 0.0001, 0.0002, 0.0003, 0.0004]), (0, [0, 1])],
)
def test_axes_end_at_round_steps_at_or_above_the_most(most, expected):
    svg = bars("x", [Column("a", "a", [("documents", most)])], lambda value: f"{value:g}")
    assert [float(tick) for tick in ticks(svg)] == expected


def test_a_line_leaves_out_what_is_not_known():
    columns = [Column(name, name, [("documents", 1.0)] if name != "b" else ()) for name in "abcd"]
    svg = line("x", columns, str)
    assert numbers(svg, "circle", "cx") == [12.5, 62.5, 87.5]
    assert str(svg).count('class="trend"') == 2


def test_many_columns_have_few_labels_and_some_of_them_go_on_a_phone():
    columns = [Column(f"n{number}", "", [("documents", 1.0)]) for number in range(90)]
    svg = str(bars("x", columns, str))
    assert 5 <= len(re.findall(r">n\d+<", svg)) <= 8
    assert 2 <= svg.count('class="minor"') <= 4


def test_words_are_escaped():
    svg = str(bars('a "b" <c>', [Column("<d>", "<e>", [("documents", 1.0)])], lambda value: "<f>"))
    assert not re.search(r"<[cdef]>", svg)
    assert "&lt;d&gt;" in svg


def test_places_on_a_strip_are_seen_however_short_and_lie_within_it():
    marks = [Mark(0.25, 0.5, "a", "#a"), Mark(0.5, 0.5, "b", "#b"), Mark(0.999, 3, "c", "#c")]
    svg = str(strip("x", marks, [(0.125, "<Part>")]))
    places = [float(found) for found in re.findall(r'<rect x="([\d.]+)%"', svg)]
    widths = [float(found) for found in re.findall(r'<rect x="[^"]+" y="5" width="([\d.]+)%"', svg)]
    assert widths == [25, LEAST_MARK_PERCENT, LEAST_MARK_PERCENT]
    assert places == [25, 50, 100 - LEAST_MARK_PERCENT]
    assert re.findall('href="([^"]+)"', svg) == ["#a", "#b", "#c"]
    assert "12.50%" in svg and "&lt;Part&gt;" in svg
