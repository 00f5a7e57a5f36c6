"""What is read of a PDF as a whole: text in the order of reading, title, headings, warnings, refusals."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from configs.errors import CorruptError, DocumentError, EmptyDocumentError, EncryptedError, UndecodableError
from configs.settings import InputSettings
from pipeline.formats import ocr, pdf
from pipeline.formats.notes import Notes
from tests.pdf import Placed, drawn, picture
from tests.pdf import pdf as pdf_with

LEFT = ["The bridge was opened in the year", "1931 by the mayor, and was for all", "the years the longest of its kind."]
RIGHT = [
    "A tunnel came later, in the sixties,",
    "and is used by lorries on their way",
    "to the port, and by those who walk.",
]


def settings(**values: object) -> InputSettings:
    return InputSettings.model_validate({"sources": ("unused",), "ocr": "off", **values})


def read(data: bytes, notes: Notes | None = None, **values: object) -> tuple[str | None, str]:
    title, text = pdf.parse(data, notes if notes is not None else Notes(), settings(**values))
    return title, "".join(text)


def text_of(data: bytes) -> str:
    return read(data)[1]


def failure(data: bytes, **values: object) -> DocumentError:
    with pytest.raises(DocumentError) as caught:
        read(data, **values)
    return caught.value


def column(x: float, lines: list[str], top: float = 700) -> list[Placed]:
    return [(x, top - 12 * number, 10, line) for number, line in enumerate(lines)]


@pytest.mark.parametrize("order", ["rows", "right first"])
def test_columns_are_read_one_after_another_however_they_are_drawn(order: str) -> None:
    left, right = column(50, LEFT), column(320, RIGHT)
    rows = [one for pair in zip(left, right, strict=True) for one in pair]
    text = text_of(drawn(rows if order == "rows" else right + left))
    assert " ".join(text.split()) == " ".join(LEFT + RIGHT)


def test_a_heading_across_columns_comes_first_and_a_line_below_them_last() -> None:
    heading, last = (
        (50.0, 740.0, 16.0, "The bridge and the tunnel across the river"),
        (50.0, 500.0, 10.0, "Printed in 2026."),
    )
    lines = text_of(drawn([last, *column(320, RIGHT), *column(50, LEFT), heading])).split("\n")
    assert lines[0].startswith("The bridge and") and "longest of its kind." in lines[1]


def test_a_table_drawn_by_columns_has_its_rows_on_lines() -> None:
    table = [
        *column(50, ["Year", "2024", "2025"]),
        *column(180, ["Cars", "10,000", "11,000"]),
        *column(300, ["Lorries", "900", "950"]),
    ]
    assert text_of(drawn(table)) == "Year | Cars | Lorries\n2024 | 10,000 | 900\n2025 | 11,000 | 950\n"


def test_text_drawn_again_to_look_bold_is_read_once() -> None:
    places = [(60, 700), (60.3, 700), (60, 699.7), (60.3, 699.7)]
    page: list[Placed] = [(x, y, 14, "Annual report") for x, y in places]
    assert text_of(drawn([*page, (60, 670, 10, "The committee met.")])) == "Annual report\nThe committee met.\n"


def test_a_word_that_a_page_divides_is_whole_again_without_the_furniture_between() -> None:
    def page(number: int, *lines: str) -> list[Placed]:
        return [(60, 780, 8, "Harbour Authority 2026"), *column(60, list(lines)), (290, 30, 8, f"Page {number} of 2")]

    text = text_of(
        drawn(
            page(1, "The cables had been weakened by salt, and the com-"), page(2, "mittee close the bridge at once.")
        )
    )
    assert text == "The cables had been weakened by salt, and the committee close the bridge at once.\n"


def test_a_bookmark_makes_a_heading_of_its_line_and_one_without_a_line_adds_nothing() -> None:
    outline = (
        b"/Outlines<</First<</Title(1. Results)/Dest[5 0 R/Fit]/Next<</Title(Nowhere)/Dest[5 0 R/Fit]>>"
        b"/First<</Title(Costs)/Dest[5 0 R/Fit]>>>>>>"
    )
    page: list[Placed] = [
        (60, 740, 14, "1. Results"),
        (60, 700, 10, "They are good."),
        (60, 660, 12, "Costs"),
        (60, 640, 10, "None."),
    ]
    assert text_of(drawn(page, more=outline)) == "# 1. Results\nThey are good.\n## Costs\nNone.\n"


@pytest.mark.parametrize("title", ["Microsoft Word - draft7.doc", "untitled", "scan.pdf", ""])
def test_a_title_that_is_none_gives_way_to_the_largest_text(title: str) -> None:
    page: list[Placed] = [(60, 760, 10, "Number 7"), (60, 700, 20, "Minutes of the Harbour"), *column(60, LEFT, 600)]
    assert read(drawn(page, more=b"/Info<</Title(%s)>>" % title.encode()))[0] == "Minutes of the Harbour"
    assert read(pdf_with("One size", title=title))[0] is None
    assert read(pdf_with("One size", title="The tides"))[0] == "The tides"


def test_junk_before_the_header_does_no_harm() -> None:
    assert text_of(b"\r\njunk\r\n" + pdf_with("Found")) == "Found\n"


def test_what_only_the_other_parser_opens_is_read_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(data: bytes) -> None:
        raise CorruptError("The PDF is damaged.")

    monkeypatch.setattr(pdf, "PdfFile", refuse)
    notes = Notes()
    assert read(pdf_with("Saved", "all the same"), notes)[1] == "Saved\nall the same\n"
    assert "flaws" in notes.warnings[0]
    assert isinstance(failure(b"no pdf"), CorruptError)
    assert isinstance(failure(pdf_with("a", password="key")), EncryptedError | CorruptError)


def test_rubbish_is_refused_with_its_reason_and_the_remedy() -> None:
    """A font whose glyphs have names without a meaning, at codes that spell nothing."""
    names = b"".join(b"/g%d" % number for number in range(97, 123))
    font = (
        b"<</Type/Font/Subtype/Type1/BaseFont/ABCDEF+Text/FirstChar 97/LastChar 122/Widths[%s]"
        b"/Encoding<</Type/Encoding/Differences[97%s]>>>>"
    )
    rubbish = drawn(
        [(60, 700, 10, "wkh frpplwwhh phw rq prqgdb dqg djuhhg wr srvwsrqh wkh yrwh")],
        font=font % (b"500 " * 26, names),
    )
    error = failure(rubbish)
    assert isinstance(error, UndecodableError)
    assert "1 of 1 page" in str(error) and "codes of glyphs" in str(error) and "input.ocr" in str(error)


def test_a_page_without_words_among_others_is_no_failure() -> None:
    notes = Notes()
    assert read(drawn([(60, 700, 10, "One")], [], [(60, 700, 10, "Three")]), notes)[1] == "One\nThree\n"
    assert notes.warnings == []


def test_a_picture_is_refused_by_what_would_help() -> None:
    white = picture([b"\xff" * 60] * 20)
    error = failure(white)
    assert isinstance(error, EmptyDocumentError) and "OCR" in str(error) and "install tesseract" in str(error)


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
def test_a_picture_of_text_is_read_by_ocr() -> None:
    file = pdf.PdfFile(drawn([(60, 700, 24, "The committee met on Monday")]))
    gray = np.ascontiguousarray(file.picture(0)[:833])
    notes = Notes()
    assert "The committee met on Monday" in read(picture([row.tobytes() for row in gray]), notes, ocr="auto")[1]
    assert notes.warnings == ["1 of 1 page(s) were read by OCR."]


def test_what_the_text_depends_on_names_the_parsers() -> None:
    assert re.fullmatch(r"pdf \d+ pdfium [\d.]+ pypdf [\d.]+", pdf.made_by(settings()))
    assert ("tesseract" in pdf.made_by(settings(ocr="auto"))) == (ocr.version() is not None)


def test_threads_may_read_at_the_same_time() -> None:
    """PDFium itself would crash."""
    pages = [[(60.0, 700.0, 10.0, f"Page {number}")] for number in range(30)]
    data = drawn(*pages)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(text_of, [data] * 40))) == 1
