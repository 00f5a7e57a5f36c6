"""The text of a PDF, page by page, as a person reads it: columns one after another, without running heads.

What is drawn is read by PDFium, laid out (`pdf_layout`), and joined to paragraphs. A page that is a picture, or whose
text is rubbish, is read by OCR where that is possible. Damaged files that PDFium cannot open are tried with pypdf.
"""

from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from itertools import chain, islice

import numpy as np

from configs.errors import CorruptError, EncryptedError
from configs.settings import InputSettings
from pipeline.formats import ocr
from pipeline.formats.notes import Notes
from pipeline.formats.pdf_fallback import FallbackFile
from pipeline.formats.pdf_file import PdfFile
from pipeline.formats.pdf_furniture import Page, without_furniture
from pipeline.formats.pdf_layout import Line
from pipeline.formats.pdf_outline import with_headings
from pipeline.formats.pdf_pages import PageReader
from pipeline.formats.pdf_paragraphs import Paragraphs
from pipeline.formats.pdf_tally import Tally
from pipeline.formats.text_gate import judged
from pipeline.formats.titles import checked

VERSION = 1
"""Of what this module makes of PDFium's characters: raise it when the text changes."""
TITLE_SIZE = 1.25
"""Of the size of the first page's text: a title is at least as large."""
LONGEST_TITLE = 200


def made_by(settings: InputSettings) -> str:
    """What the text depends on: another version may extract another text."""
    parsers = f"pdf {VERSION} pdfium {version('pypdfium2')} pypdf {version('pypdf')}"
    return " ".join(filter(None, (parsers, ocr.made_by(settings))))


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and text, a page at a time. Raises EncryptedError, CorruptError, EmptyDocumentError, UndecodableError,
    TimeLimitError, MemoryError, and all but the first also while the pages are read."""
    try:
        file = PdfFile(data)
    except (CorruptError, EncryptedError) as refusal:
        return _by_other_parser(data, notes, settings, refusal)
    if not file.num_pages:
        raise CorruptError("The PDF has no pages; it may be cut short.")
    tally = Tally(file.num_pages, settings, notes)
    pages = PageReader(file, data, settings, tally).pages()
    first = list(islice(pages, 1))
    title = checked(file.title()) or (_largest(first[0].lines) if first else None)
    return title, _text(file, chain(first, pages), tally)


def _by_other_parser(
    data: bytes, notes: Notes, settings: InputSettings, refusal: CorruptError | EncryptedError
) -> tuple[str | None, Iterator[str]]:
    try:
        file = FallbackFile(data)
    except (CorruptError, EncryptedError):
        raise refusal from None
    notes.warnings.append("The PDF has flaws: it was read by a parser that knows nothing of columns.")
    return checked(file.title), _judged(file, Tally(file.num_pages, settings, notes))


def _judged(file: FallbackFile, tally: Tally) -> Iterator[str]:
    for number in range(file.num_pages):
        try:
            found = judged(file.text(number))
        except CorruptError as error:
            tally.add_damaged(error)
            continue
        tally.add(found)
        if found.text.strip() and not found.rubbish:
            yield found.text + "\n"
    tally.end()


def _text(file: PdfFile, pages: Iterator[Page], tally: Tally) -> Iterator[str]:
    """Paragraphs, each with a line end, page by page; one that goes on comes with the next page."""
    with closing(file):
        bookmarks = file.bookmarks()
        paragraphs = Paragraphs()
        for page in without_furniture(pages):
            text = "".join(f"{paragraph}\n" for paragraph in _paragraphs(paragraphs, page, bookmarks))
            if text:
                yield text
        rest = "".join(f"{paragraph}\n" for paragraph in paragraphs.end())
        if rest:
            yield rest
        tally.end()


def _paragraphs(paragraphs: Paragraphs, page: Page, bookmarks: dict[int, list[tuple[int, str]]]) -> Iterator[str]:
    """Those that end on a page, among them its headings, and its notes."""
    lines, headings = with_headings(page.lines, bookmarks.get(page.number, ()))
    start = 0
    for place in [*sorted(headings), len(lines)]:
        yield from paragraphs.add(lines[start:place])
        if place < len(lines):
            yield from paragraphs.end()
            yield lines[place].text
        start = place + 1
    if page.notes:
        yield from paragraphs.end()
        yield from page.notes


def _largest(lines: list[Line]) -> str | None:
    """The largest text of the first page, if it stands out and can be a title."""
    if not lines:
        return None
    usual = float(np.median([line.size for line in lines for _ in range(1 + len(line.text) // 20)]))
    largest = max(line.size for line in lines)
    if largest < TITLE_SIZE * usual:
        return None
    chosen = [place for place, line in enumerate(lines) if line.size > 0.95 * largest]
    if chosen != list(range(chosen[0], chosen[-1] + 1)) or any(lines[place].num_cells > 1 for place in chosen):
        return None
    title = checked(" ".join(lines[place].text for place in chosen))
    return title if title and len(title) <= LONGEST_TITLE and len(title) > 3 else None
