"""Lines that are one paragraph, and words that were divided."""

import pytest

from pipeline.formats.pdf_layout import Line
from pipeline.formats.pdf_paragraphs import Paragraphs


def lines(*texts: str, width: float = 0, column: int = 0) -> list[Line]:
    """Of one column; each as wide as its characters, or all of the same width."""
    return [
        Line(text, 50, 700 - 12 * row, 50 + (width or 5 * len(text)), 710 - 12 * row, column)
        for row, text in enumerate(texts)
    ]


def joined(*pages: list[Line]) -> list[str]:
    paragraphs = Paragraphs()
    return [paragraph for page in pages for paragraph in paragraphs.add(page)] + list(paragraphs.end())


def test_a_line_goes_on_if_the_next_word_did_not_fit() -> None:
    full = "The committee met on Monday and has agreed to postpone"
    assert joined(lines(full, "the vote until the auditors report.")) == [f"{full} the vote until the auditors report."]
    assert joined(lines("A short line", full)) == ["A short line", full]


@pytest.mark.parametrize(
    "item",
    [
        "- second item of this list",
        "• second item of the list",
        "(b) second item of a list",
        "2. second item of a list",
    ],
)
def test_items_of_a_list_stay_lines(item: str) -> None:
    assert joined(lines("- a first item of this list, long", item)) == ["- a first item of this list, long", item]


@pytest.mark.parametrize(
    ("first", "second", "whole"),
    [
        ("and recommended that the com-", "mittee close the bridge until", "the committee close"),
        ("and recommended that the com\x02", "mittee close the bridge until", "the committee close"),
        ("it was given to the self-", "employed people of the town", "the self-employed people"),
        ("as was reported by Smith-", "Jones and by others in the town", "by Smith-Jones and"),
        ("in all of the years 1939-", "1945 and for some time after it", "years 1939- 1945"),
        ("a state-of-the-", "art bridge across the whole of it", "a state-of-the-art bridge"),
        ("it is a well-", "known bridge across all the river", "a well-known bridge"),
    ],
)
def test_hyphens_at_line_ends(first: str, second: str, whole: str) -> None:
    assert whole in " ".join(joined(lines(first, second, width=200)))


def test_a_hyphen_stays_if_the_word_has_it_elsewhere() -> None:
    page = lines(
        "the co-owner of the ship said", "that it had been sold by the co-", "owner before he went to town", width=200
    )
    assert "the co-owner before" in joined(page)[0]


def test_a_sentence_goes_on_in_the_next_column_and_on_the_next_page() -> None:
    full, rest = (
        "The committee met on Monday and has agreed to postpone",
        "the vote until the auditors report to the board",
    )
    assert len(joined(lines(full), lines(rest, column=1))) == 1
    assert len(joined(lines(full + "."), lines("The vote was on Monday and all agreed", column=1))) == 2
