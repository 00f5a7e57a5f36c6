"""Which formats there are, and the parser of each. The module of a format has two functions:
`parse(data, notes, settings)`, the title (None if it has none) and the text as an iterator, headings as in Markdown;
and `made_by(settings)`, what the text depends on beside the document: the parser's version and the settings that count.
"""

from collections.abc import Iterator
from importlib import import_module
from typing import Protocol, cast

from configs.settings import InputSettings
from pipeline.formats import encoding
from pipeline.formats.notes import Notes
from pipeline.formats.recognition import TEXT, by_name, recognized

__all__ = ["PARSED", "TEXT", "by_name", "made_by", "makers", "parse", "parser", "recognized"]

PARSED = {
    "html": "html",
    "edgar": "edgar",
    "pdf": "pdf",
    "json": "json_records",
    "csv": "csv_table",
    "docx": "docx",
    "pptx": "pptx",
    "xlsx": "xlsx",
    "odt": "opendocument",
    "ods": "opendocument",
    "odp": "opendocument",
    "epub": "epub",
    "rtf": "rtf",
    "mail": "mail",
    "mbox": "mbox",
    "mhtml": "mhtml",
    "vtt": "subtitles",
    "srt": "subtitles",
    "xml": "xml_document",
    "notebook": "notebook",
}
"""Formats that are parsed as a whole, each with its module in this folder. Modules are imported when they are needed:
some bring large libraries."""

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
        return None, encoding.decode([data], notes=notes, settings=settings)
    return parser(name).parse(data, notes, settings)


def made_by(name: str, settings: InputSettings) -> str:
    """What the text of documents in a format depends on: another version of a parser may extract another text."""
    return (TEXT if name == TEXT else parser(name).made_by(settings)) + encoding.made_by(settings)


def makers(settings: InputSettings) -> frozenset[str]:
    """Of all formats."""
    return frozenset(made_by(name, settings) for name in (TEXT, *PARSED))
