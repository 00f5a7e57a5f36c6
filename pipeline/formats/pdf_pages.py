"""Reads the pages of a PDF: what is drawn, form fields and notes, and pictures by OCR."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

from configs.errors import CorruptError
from configs.settings import InputSettings
from pipeline.formats import ocr, pdf_file, pdf_forms, pdf_layout, pdf_segments
from pipeline.formats.pdf_fallback import FallbackFile
from pipeline.formats.pdf_file import PdfFile
from pipeline.formats.pdf_furniture import Page
from pipeline.formats.pdf_segments import HYPHEN, Segment
from pipeline.formats.pdf_tally import Tally
from pipeline.formats.text_gate import Judged, judged, mended

FEW_CHARS = 200
"""A page that is a picture and has less text than this is read by OCR: the text may be a stamp on a scan."""
BROKEN = re.compile(r"(?<=[^\W\d_])-\n+(?=[a-z])")
"""A word at a line's end, in what OCR gives."""


class PageReader:
    """Of one document."""

    def __init__(self, file: PdfFile, data: bytes, settings: InputSettings, tally: Tally) -> None:
        self._file, self._data, self._tally = file, data, tally
        self._ocr = ocr.Reader(settings) if ocr.is_on(settings) else None

    def pages(self) -> Iterator[Page]:
        """Those with text. Raises what the tally raises, and TimeLimitError."""
        for number in range(self._file.num_pages):
            try:
                page = self._page(number)
            except CorruptError as error:
                self._tally.add_damaged(error)
                continue
            if page is not None:
                yield page

    def _page(self, number: int) -> Page | None:
        import pypdfium2

        with self._file.page(number) as page:
            try:
                drawn, placed, notes, angle = _contents(page, self._file.formenv)
            except pypdfium2.PdfiumError as error:
                raise CorruptError(f"Page {number + 1} of the PDF is damaged ({error}).") from error
            found = _judged(drawn)
            size = len(found.text.strip())
            is_picture = (size < FEW_CHARS or found.rubbish is not None) and pdf_file.is_scan(page)
            is_blank = not size and not placed and not notes and pdf_file.is_blank(page)
            bounds = pdf_segments.turned_box(page.get_bbox(), angle)
        if is_blank:
            return self._saved(number)
        wants_ocr = is_picture or found.rubbish or not (size or placed)
        if wants_ocr and (text := self._recognized(number, size, found)):
            notes = [*text, *(one.text for one in placed), *notes]
            return Page(number, [], notes=notes)
        if found.rubbish:
            self._tally.add(found)
            return None
        if is_picture and not size:
            self._tally.add_picture()
        segments = [one for one in drawn.segments if one.text.strip()]
        self._tally.add(_with_more(found, placed, notes))
        low, high = sorted((bounds[1], bounds[3]))
        return Page(number, pdf_layout.lines([*segments, *placed]), low, high, notes)

    def _saved(self, number: int) -> Page | None:
        """A page on which PDFium finds nothing: it is blank, or its content is damaged. Raises CorruptError."""
        found = judged(self._fallback.text(number))
        if not found.text.strip():
            return None
        self._tally.add(found)
        return Page(number, [], notes=[line for line in found.text.splitlines() if line.strip()])

    @cached_property
    def _fallback(self) -> FallbackFile:
        return FallbackFile(self._data)

    def _recognized(self, number: int, size: int, found: Judged) -> list[str]:
        """Lines that OCR finds on a page, if that is more than its text."""
        if self._ocr is None:
            return []
        text = judged(self._ocr.text(self._file.picture(number)))
        if text.rubbish or not text.text.strip() or (len(text.text) < size and not found.rubbish):
            return []
        self._tally.add(text, by_ocr=True)
        return [line.strip() for line in BROKEN.sub("", text.text).splitlines() if line.strip()]


def _contents(page: Any, formenv: Any) -> tuple[pdf_segments.PageText, list[Segment], list[str], int]:
    """What is drawn; fields and free text in their places; notes and turned lines; the direction."""
    textpage = page.get_textpage()
    try:
        drawn = pdf_segments.page_text(textpage, page.get_bbox())
    finally:
        textpage.close()
    placed, notes = pdf_forms.annotations(page, formenv, drawn.angle, drawn.segments)
    return drawn, placed, [*drawn.turned, *notes], drawn.angle


def _judged(drawn: pdf_segments.PageText) -> Judged:
    """Judges the pieces as a whole, and mends each if there is something to mend."""
    whole = " ".join(one.text for one in drawn.segments).replace(HYPHEN, "-")
    found = judged(whole, drawn.num_unmapped)
    if found.text != whole:
        for one in drawn.segments:
            end = HYPHEN if one.text.endswith(HYPHEN) else ""
            one.text = mended(one.text)[0] + end
    return found


def _with_more(found: Judged, placed: list[Segment], notes: list[str]) -> Judged:
    """With the text of fields and notes."""
    return replace(found, text=" ".join([found.text, *(one.text for one in placed), *notes]))
