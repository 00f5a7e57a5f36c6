"""The visible text of HTML, as browsers would show it, with its headings written as in Markdown."""

import re
from collections.abc import Iterator

from lxml import etree

from configs.errors import CorruptError, EmptyDocumentError
from configs.settings import InputSettings
from pipeline.formats import encoding
from pipeline.formats.notes import Notes

DECLARED_ENCODING = re.compile(
    rb"""(?:<meta[^>]+charset|<\?xml[^>]+encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE
)
DECLARED_WITHIN_BYTES = 2048

UNSEEN = {
    *("script", "style", "noscript", "template", "nav", "svg", "math", "iframe", "object", "canvas", "audio", "video"),
    *("button", "select", "textarea", "datalist", "title"),
}
INLINE = {
    *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i"),
    *("img", "input", "ins", "kbd", "label", "mark", "q", "rp", "rt", "ruby", "s", "samp", "small", "span"),
    *("strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr"),
}
CELLS = {"td", "th"}
HTML_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
"""Written as in Markdown, so that the model and `pipeline.documents.sections` recognize them."""


def made_by(settings: InputSettings) -> str:
    """What the text depends on: another version may extract another text."""
    return f"html lxml {etree.__version__} libxml2 {'.'.join(map(str, etree.LIBXML_VERSION))}"


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and lines of visible text. Raises UndecodableError, CorruptError, EmptyDocumentError, MemoryError."""
    declared = DECLARED_ENCODING.search(data[:DECLARED_WITHIN_BYTES])
    codec = encoding.codec_of(declared[1].decode("ascii")) if declared else None
    text = "".join(encoding.decode([data], codec, notes))
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    root = _parsed(text, parser) if text.strip() else None
    if any(entry.type == etree.ErrorTypes.ERR_RESOURCE_LIMIT for entry in parser.error_log):
        raise CorruptError("The HTML is nested too deeply to be read: thousands of elements within each other.")
    if root is None:
        raise EmptyDocumentError("The document is empty: there is no text in the HTML.")
    return root.findtext(".//title"), (line + "\n" for line in _lines(root))


def _parsed(text: str, parser: etree.HTMLParser) -> etree._Element | None:
    try:
        return etree.fromstring(text.encode(), parser)
    except etree.XMLSyntaxError as error:
        if error.code == etree.ErrorTypes.ERR_NO_MEMORY:
            raise MemoryError("while HTML was parsed") from error
        raise CorruptError(f"The HTML cannot be parsed ({error}).") from error


def _lines(root: etree._Element) -> Iterator[str]:
    """Visible text, each paragraph, heading, list item and table row on a line of its own; headings as in Markdown."""
    line: list[str] = []
    unseen: etree._Element | None = None
    preformatted = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        tag = element.tag
        if unseen is None and event == "start" and (tag in UNSEEN or element.get("hidden") is not None):
            unseen = element
        if unseen is None:
            if tag in CELLS:
                line.append(" ")
            elif tag == "pre" or tag == "br" or (tag not in INLINE and not preformatted):
                yield from _flush(line, preformatted > 0)
            preformatted += (event == "start") - (event == "end") if tag == "pre" else 0
            if event == "start" and tag in HTML_HEADINGS:
                line.append(HTML_HEADINGS[tag])
            if event == "start" and element.text:
                line.append(element.text)
        if event == "end":
            if unseen is element:
                unseen = None
                line.append(" ")
            if unseen is None and element.tail:
                line.append(element.tail)
    yield from _flush(line, False)


def _flush(line: list[str], preformatted: bool) -> Iterator[str]:
    text = "".join(line)
    line.clear()
    if text.strip("# \t\r\n\f\v\xa0"):
        yield text.strip("\n") if preformatted else " ".join(text.split())
