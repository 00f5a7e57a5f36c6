"""The visible text of HTML, as browsers would show it, with its headings written as in Markdown."""

import re
from collections.abc import Iterator
from importlib.metadata import version

from lxml import etree

from configs.errors import CorruptError, EmptyDocumentError
from configs.settings import InputSettings
from pipeline.formats import encoding, html_lines, html_math
from pipeline.formats.html_visibility import Visibility
from pipeline.formats.notes import Notes

DECLARED_ENCODING = re.compile(
    rb"""(?:<meta\b[^<>]*?[\s;"'/]charset|<\?xml[^<>]+encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)
COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
DECLARED_WITHIN_BYTES = 8192
NO_MAIN_TEXT = "No main text was found in the page; all of its text was read."


def made_by(settings: InputSettings) -> str:
    """What the text depends on: another version may extract another text."""
    parsed_by = f"html 2 lxml {etree.__version__} libxml2 {'.'.join(map(str, etree.LIBXML_VERSION))}"
    return parsed_by if settings.html == "all" else f"{parsed_by} main trafilatura {version('trafilatura')}"


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and lines of visible text. Raises UndecodableError, CorruptError, EmptyDocumentError, MemoryError."""
    declared = DECLARED_ENCODING.search(COMMENT.sub(b"", data[:DECLARED_WITHIN_BYTES]))
    codec = encoding.codec_of(declared[1].decode("ascii")) if declared else None
    source = "".join(encoding.decode([data], codec, notes, settings)).encode()
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    root = _parsed(source, parser) if source.strip() else None
    if any(entry.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT for entry in parser.error_log):
        raise CorruptError("The HTML is nested too deeply to be read: thousands of elements within each other.")
    if root is None:
        raise EmptyDocumentError("The document is empty: there is no text in the HTML.")
    read, left_out = _main(root, notes) if settings.html == "main" else (root, set())
    visibility, formulas = Visibility(root, source), html_math.formulas(root, source)
    return _title(root), (line + "\n" for line in html_lines.lines(read, visibility, formulas, left_out))


def _parsed(source: bytes, parser: etree.HTMLParser) -> etree._Element | None:
    try:
        return etree.fromstring(source, parser)
    except etree.XMLSyntaxError as error:
        if error.code == etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError("while HTML was parsed") from error
        raise CorruptError(f"The HTML cannot be parsed ({error}).") from error


def _main(root: etree._Element, notes: Notes) -> tuple[etree._Element, set[etree._Element]]:
    """What holds the main text, and what is left out of it."""
    from pipeline.formats import main_text  # it brings large libraries, and few ask for it

    if found := main_text.find(root):
        return found
    notes.warnings.append(NO_MAIN_TEXT)
    return root, set()


def _title(root: etree._Element) -> str | None:
    """That of the page, not that of a drawing in it."""
    titles = (title for title in root.iter("title") if next(title.iterancestors("svg"), None) is None)
    return next((title.text for title in titles), None)
