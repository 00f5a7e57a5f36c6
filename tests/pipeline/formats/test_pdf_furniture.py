"""What repeats at the edges of pages."""

import pytest

from pipeline.formats.pdf_furniture import Page, without_furniture
from pipeline.formats.pdf_layout import Line

BODY = ["Some text of the page", "that goes on for a line"]


def page(number: int, head: str, foot: str, size: float = 10, cells: int = 1) -> Page:
    lines = [
        Line(head, 50, 780, 200, 780 + size, num_cells=cells),
        *(Line(f"{text} {number * 7}", 50, 600 - 12 * row, 200, 610 - 12 * row) for row, text in enumerate(BODY)),
        Line(foot, 290, 20, 300, 30),
    ]
    return Page(number, lines, 0, 800)


def left(*pages: Page) -> list[list[str]]:
    return [
        [line.text for line in one.lines if not line.text.startswith(("Some", "that"))]
        for one in without_furniture(pages)
    ]


@pytest.mark.parametrize("foot", ["Page {} of 9", "{}", "- {} -", "ii{}"])
def test_heads_and_numbers_go(foot: str) -> None:
    pages = [
        page(number, "Annual Report", foot.format(number + 1) if foot != "ii{}" else "i" * (number + 1))
        for number in range(4)
    ]
    assert left(*pages) == [[]] * 4


def test_left_and_right_pages_have_heads_of_their_own() -> None:
    assert (
        left(*[page(number, ("Chapter One", "The Whale")[number % 2], str(number)) for number in range(6)]) == [[]] * 6
    )


def test_what_differs_is_large_or_heads_a_table_stays() -> None:
    assert left(page(0, "First", "a"), page(1, "Second", "b")) == [["First", "a"], ["Second", "b"]]
    assert left(page(0, "Results", "a", size=16), page(1, "Results", "b", size=16)) == [
        ["Results", "a"],
        ["Results", "b"],
    ]
    assert left(page(0, "Total 1,200", "a"), page(1, "Total 3,450", "b")) == [
        ["Total 1,200", "a"],
        ["Total 3,450", "b"],
    ]
    table = [page(number, "Date | Text | Amount | Sum", "x" * number, cells=4) for number in range(2)]
    assert [texts[0] for texts in left(*table)] == ["Date | Text | Amount | Sum"] * 2


def test_a_single_page_keeps_everything() -> None:
    assert left(page(0, "Annual Report", "1")) == [["Annual Report", "1"]]
