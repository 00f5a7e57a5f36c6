"""Reads documents again for what stands around places in their text, which are given in bytes of its UTF-8."""

import re
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

from configs.errors import LonghaulError, TooLargeError, unexpected
from configs.settings import MIB, InputSettings
from pipeline.documents.extract import Extractor
from pipeline.documents.handover import reason
from pipeline.formats import registry
from pipeline.schemas.document import Document
from pipeline.schemas.tables import Row

MOST_TEXT_BYTES = 32 * MIB
AROUND_BYTES = 800
"""Before and behind a place, where its paragraph is longer."""
CUT = "\N{HORIZONTAL ELLIPSIS}"
BLANK_LINE = re.compile(rb"\n[ \t]*\n")
LINE_END = re.compile(rb"\n")
AS_WRITTEN = (registry.TEXT, "json")
"""Formats whose text is as a person broke it into lines; of all others a paragraph is a line."""


@dataclass(frozen=True)
class PassageSettings:
    """What a `ReaderProcess` reads passages by."""

    input: InputSettings

    def reader(self) -> "PassageReader":
        """Made once in its process."""
        return PassageReader(self.input)


class PassageReader:
    """Reads passages of documents. Use one for many, as an `Extractor`."""

    def __init__(self, settings: InputSettings) -> None:
        self._extractor = Extractor(settings)

    def read(self, row: Row) -> Row:
        """`row`, a document with `spans`, pairs of a first byte and the one behind the last, with a passage for each
        and the length of its text. A passage is what its paragraph holds before the span, the span's own text, and what
        follows; None outside the text. An error is recorded in the row. Raises only MemoryError.
        """
        try:
            return row | self._read(Document.from_row(row), row["spans"])
        except LonghaulError as error:
            return row | reason(error)
        except MemoryError:
            raise
        except Exception as error:  # whatever it is, one document must not end a review
            return row | reason(unexpected(error))

    def _read(self, document: Document, spans: Iterable[tuple[int, int]]) -> Row:
        held = bytearray()
        with closing(self._extractor.read(document)) as extracted:
            # To its end: that it has not changed is known only there.
            for piece in extracted.pieces:
                held += piece.text.encode()
                if len(held) > MOST_TEXT_BYTES:
                    raise TooLargeError(f"The document has more than {MOST_TEXT_BYTES // MIB} MiB of text.")
        paragraph_end = BLANK_LINE if extracted.kind in AS_WRITTEN else LINE_END
        text = bytes(held)
        found = [_passage(text, start, end, paragraph_end) for start, end in spans]
        return {"text_bytes": len(text), "passages": found}


def _passage(text: bytes, start: int, end: int, paragraph_end: re.Pattern[bytes]) -> tuple[str, str, str] | None:
    if not 0 <= start < end <= len(text):
        return None
    return _before(text, start, paragraph_end), _decoded(text[start:end]), _after(text, end, paragraph_end)


def _before(text: bytes, start: int, paragraph_end: re.Pattern[bytes]) -> str:
    first = max(0, start - AROUND_BYTES)
    ends = [found.end() for found in paragraph_end.finditer(text, first, start)]
    if ends or not first:
        return _decoded(text[max(ends, default=0) : start]).lstrip()
    return CUT + _decoded(text[first:start]).partition(" ")[2]


def _after(text: bytes, end: int, paragraph_end: re.Pattern[bytes]) -> str:
    last = min(len(text), end + AROUND_BYTES)
    found = paragraph_end.search(text, end, last)
    if found or last == len(text):
        return _decoded(text[end : found.start() if found else last]).rstrip()
    return _decoded(text[end:last]).rpartition(" ")[0] + CUT


def _decoded(part: bytes) -> str:
    """A part that may begin or end within a character."""
    return part.decode(errors="ignore")
