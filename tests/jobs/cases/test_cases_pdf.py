"""The cases of PDFs that real users ran into."""

from collections.abc import Callable

import pytest

SENTENCE = "The committee met on Monday and agreed to postpone the vote until the auditors report."
LEFT = "The bridge was opened in 1931 by the mayor and was for many years the longest of its kind. It carries two lanes"
RIGHT = "The tunnel came later, in 1968, and is used by heavy lorries. It was closed twice: once for a flood and once"


@pytest.fixture
def words(case) -> Callable[[str], str]:
    """The text of a case, in one line."""
    return lambda name: " ".join(case(name)["text"].split())


@pytest.mark.parametrize("name", ["200", "226", "250", "300", "333", "333-dw500", "375", "450"])
def test_words_are_apart(words, name: str) -> None:
    assert words(f"07-pdf-words/type0-{name}.pdf") == SENTENCE


def test_fake_bold_is_read_once(words) -> None:
    assert words("07-pdf-words/fakebold.pdf") == "Annual report 2026 The committee met on Monday."


def test_names_of_glyphs_are_no_text(words) -> None:
    assert words("07-pdf-words/glyphnames.pdf") == "the committee met on monday"


def test_forms_and_notes(words) -> None:
    filled = words("08-pdf-form/application.pdf")
    for value in ("applicant: Jane Example", "Vessel: MV Example Star", "metres: 42", "Insured: [x]"):
        assert value in filled
    assert words("08-pdf-form/notes-only.pdf").startswith("The committee agreed to postpone the vote")


@pytest.mark.parametrize("name", ["rowwise", "rightfirst"])
def test_columns(words, name: str) -> None:
    text = words(f"09-pdf-columns/{name}.pdf")
    assert text.startswith(LEFT) and f"east side. {RIGHT}" in text


def test_tables_and_furniture(words) -> None:
    assert "2024 | 10,000 | 900" in words("09-pdf-columns/table.pdf")
    text = words("09-pdf-columns/furniture.pdf")
    assert "recommended that the committee close the bridge until the repair is completed." in text
    assert "Page" not in text and "CONFIDENTIAL" not in text


@pytest.mark.parametrize("name", ["file", "indd", "untitled", "word"])
def test_titles_of_programs_are_none(case, name: str) -> None:
    shown = case(f"17-pdf-title/{name}.pdf")
    assert shown["title"] == "Minutes of the Harbour Committee" and shown["text"].startswith(f"{shown['title']}\n")


def test_headers_behind_junk_and_a_file_that_is_broken(words, case) -> None:
    for name in ("leading.pdf", "leading_nl_pdf", "noext_pdf"):
        assert words(f"14-other/{name}").startswith("Text1 Text2")
    assert case("14-other/Document.PDF.txt")["error_class"] == "CorruptError"
