"""Which formats there are, how a document's is recognized, and the parser of each.

A format is recognized by its first bytes where they tell, else by its name. Its module has two functions:
`parse(data, notes, settings)`, the title (None if it has none) and the text as an iterator, headings as in Markdown;
and `made_by(settings)`, what the text depends on beside the document: the parser's version and the settings that count.
"""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import PurePosixPath
from typing import Protocol, cast

from configs.errors import UndecodableError
from configs.settings import InputSettings
from pipeline.formats import encoding
from pipeline.formats.notes import Notes

TEXT = "text"
"""Plain text, which alone is read piece by piece; all else is parsed as a whole."""
PARSED = {"html": "html", "pdf": "pdf", "json": "json_records"}
"""Formats that are parsed as a whole, each with its module in this folder. Modules are imported when they are needed:
some bring large libraries."""
SUFFIXES = {
    ".txt": TEXT,
    ".md": TEXT,
    ".markdown": TEXT,
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".json": "json",
}
BINARY_MAGIC = {
    b"PK\x03\x04": "a ZIP archive, as Word, Excel and EPUB files are",
    b"\xd0\xcf\x11\xe0": "an old Microsoft Office file",
    b"%PDF-": "a PDF, whatever its name says",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
    b"PAR1": "a Parquet file",
    b"\x7fELF": "a program",
    b"BZh": "compressed with bzip2; gzip and zstd are read",
    b"\xfd7zXZ": "compressed with xz; gzip and zstd are read",
}
HTML_START = re.compile(rb"<(?:!doctype\s+html|html)\b", re.IGNORECASE)
XML_DECLARATION = re.compile(rb"\s*<\?xml[^>]*>", re.IGNORECASE)
COMMENT_START, COMMENT_END = b"<!--", b"-->"
HEAD_BYTES = 4096
"""HTML without a suffix must begin within this many bytes."""

Parsed = tuple[str | None, Iterator[str]]
"""Title and text of a document."""


class Parser(Protocol):
    """The module of a format that is parsed as a whole."""

    def parse(self, data: bytes, notes: Notes, settings: InputSettings) -> Parsed:
        """Title and text. Raises a DocumentError or MemoryError, also while the text is iterated."""

    def made_by(self, settings: InputSettings) -> str:
        """What the text depends on."""


def parser(name: str) -> Parser:
    """Of a format in `PARSED`."""
    return cast(Parser, import_module(f"pipeline.formats.{PARSED[name]}"))


def parse(name: str, data: bytes, notes: Notes, settings: InputSettings) -> Parsed:
    """Title and text of a whole document in a format, plain text too. Raises what `Parser.parse` raises."""
    if name == TEXT:
        return None, encoding.decode([data], notes=notes)
    return parser(name).parse(data, notes, settings)


def made_by(name: str, settings: InputSettings) -> str:
    """What the text of documents in a format depends on: another version of a parser may extract another text."""
    return TEXT if name == TEXT else parser(name).made_by(settings)


def makers(settings: InputSettings) -> frozenset[str]:
    """Of all formats."""
    return frozenset(made_by(name, settings) for name in (TEXT, *PARSED))


def by_name(name: str) -> str | None:
    """The format that a name's suffix tells, without a suffix of compression."""
    return SUFFIXES.get(PurePosixPath(name).suffix.lower())


def recognized(name: str, head: bytes) -> str:
    """The format by the first bytes, else by the name (without a suffix of compression), else plain text. Raises
    UndecodableError for formats that nobody can read as text."""
    suffix = by_name(name)
    if suffix is None and head.startswith(b"%PDF-"):
        return "pdf"
    if suffix is None and _begins_as_html(head[:HEAD_BYTES]):
        return "html"
    if suffix in (None, TEXT):
        for magic, what in BINARY_MAGIC.items():
            if head.startswith(magic):
                raise UndecodableError(f"The document is not text but {what}.")
    return suffix or TEXT


def _begins_as_html(head: bytes) -> bool:
    """Whether a doctype or <html> comes first, apart from an XML declaration, comments and white space."""
    declaration = XML_DECLARATION.match(head)
    # One comment at a time: a pattern for any number of comments would backtrack exponentially.
    rest = head[declaration.end() if declaration else 0 :].lstrip()
    while rest.startswith(COMMENT_START):
        _, _, rest = rest[len(COMMENT_START) :].partition(COMMENT_END)
        rest = rest.lstrip()
    return HTML_START.match(rest) is not None
