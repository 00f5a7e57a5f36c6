from xml.etree import ElementTree

import pytest

from pipeline.evaluation.curve import curve, short
from pipeline.evaluation.heat_map import DARK_FROM, Panel, heat_map, nats
from tests import chromium

SVG = "{http://www.w3.org/2000/svg}"
LENGTHS, DEPTHS = [1000, 4000, 128_000], [0, 50, 100]
SHARES = {(length, depth): (at * 3 + row) / 8 for at, length in enumerate(LENGTHS) for row, depth in enumerate(DEPTHS)}
PANELS = [
    Panel("Found <b>", "the answer names it & no other", SHARES, 0, 1, True),
    Panel("Lift", "nats", {place: 3 * share - 1 for place, share in SHARES.items()}, 0, 2, False),
]


def texts(drawn: str) -> list[str]:
    return [element.text for element in ElementTree.fromstring(drawn).iter(f"{SVG}text")]


def test_a_heat_map_says_each_value_under_its_length_and_beside_its_depth():
    drawn = heat_map(LENGTHS, DEPTHS, PANELS)
    said = texts(drawn)
    assert said.count("128K") == 2 and said.count("50 %") >= 2
    assert {"0 %", "12 %", "88 %", "100 %", "-1.00", "+2.00"} <= set(said)
    assert "Found <b>" in said, "escaped"
    titles = [element.text for element in ElementTree.fromstring(drawn).iter(f"{SVG}title")]
    assert len(titles) == 18 and "128,000 tokens, needle at 50 %: 88 %" in titles


def test_darker_is_more_and_its_text_stays_readable():
    cells = list(ElementTree.fromstring(heat_map(LENGTHS, DEPTHS, PANELS[:1])).iter(f"{SVG}g"))[1:]
    shade = [int(cell.find(f"{SVG}rect").get("fill")[1:3], 16) for cell in cells]
    colors = [cell.find(f"{SVG}text").get("fill") for cell in cells]
    by_share = sorted(
        zip([SHARES[length, depth] for depth in DEPTHS for length in LENGTHS], shade, colors, strict=True)
    )
    assert [each[1] for each in by_share] == sorted(shade, reverse=True)
    assert all((color == "#ffffff") == (share >= DARK_FROM) for share, _, color in by_share)


def test_a_curve_has_a_dot_for_each_range():
    drawn = curve(
        "Loss <of> it", [(0, 512), (512, 1024), (1024, 2000)], {"carried": [5.0, 4.5, 4.25], "emptied": [5.0] * 3}
    )
    root = ElementTree.fromstring(drawn)
    dots = list(root.iter(f"{SVG}circle"))
    assert len(dots) == 6
    across, down = ([float(dot.get(name)) for dot in dots[:3]] for name in ("cx", "cy"))
    assert across == sorted(across) and down == sorted(down)
    assert {"512", "1.02K", "2K", "5.00", "4.25", "carried"} <= set(texts(drawn))


@pytest.mark.parametrize("values", [[1.0], [2.0, 2.0]])
def test_a_flat_or_short_curve_can_be_drawn(values):
    bounds = [(0, 100), (100, 200)][: len(values)]
    assert "nan" not in curve("About", bounds, {"a": values})


def test_nothing_has_no_minus():
    assert [nats(value) for value in (-0.001, 0.0, 0.006, -1.0)] == ["+0.00", "+0.00", "+0.01", "-1.00"]


@pytest.mark.parametrize(("tokens", "shown"), [(512, "512"), (4000, "4K"), (1_000_000, "1M"), (1536, "1.54K")])
def test_lengths_are_short(tokens, shown):
    assert short(tokens) == shown


def test_a_browser_shows_both_without_asking_for_anything(tmp_path):
    drawn = {
        "heat-map": heat_map(LENGTHS, DEPTHS, PANELS),
        "curve": curve("Loss", [(0, 512), (512, 1024)], {"carried": [5.0, 4.5]}),
    }
    with chromium.started() as browser:
        for name, text in drawn.items():
            file = tmp_path / f"{name}.svg"
            file.write_text(text, encoding="utf-8")
            with chromium.watched(browser, file) as page:
                assert page.tab.locator("svg text").count() == text.count("<text")
                assert page.said == [] and page.asked == [file.as_uri()]
                if path := chromium.picture(name, chromium.DESKTOP, "light"):
                    page.tab.screenshot(path=path)
