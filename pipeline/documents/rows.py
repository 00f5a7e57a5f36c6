"""A row of a table as a document: a record as a line of JSON has it, with a name."""

import io
import json
import math
from abc import abstractmethod
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import BinaryIO, NamedTuple
from uuid import UUID

from configs.errors import DocumentError, EmptyDocumentError, TooLargeError
from configs.settings import InputSettings
from pipeline.documents import pinned
from pipeline.documents.container import Container, Member
from pipeline.schemas.document import Place

TITLE = "title"
"""The column with titles, as the field of JSON lines."""


class Row(NamedTuple):
    """What is read of a row. `text` is None where it has none, or the reason why it cannot be read."""

    number: int
    """From 0."""
    text: str | DocumentError | None
    title: str | None = None
    name: object = None
    """In the column that `input.id_field` names."""


class Table(Container):
    """Rows are read in order, or from a row on."""

    kind: str
    """As `Place.kind`."""
    can_start_again = True
    """Whether rows can be read again without opening the table anew."""

    def __init__(self, settings: InputSettings) -> None:
        self._settings = settings
        self._rows: Iterator[Row] = iter(())
        self._next: int | None = None

    @abstractmethod
    def rows(self, start: int) -> Iterator[Row]:
        """From a row on, or from one before it. Raises a DocumentError where no more can be read."""

    @abstractmethod
    def is_near(self, following: int, wanted: int) -> bool:
        """Whether a row is reached by going on from another rather than by starting again."""

    def members(self) -> Iterator[Member]:
        """As `Container.members`."""
        for row in self.rows(0):
            number = row.number + 1
            try:
                name = _name(row.name) or str(number)
                record = self._record(row)
            except DocumentError as error:
                place = Place(self.kind, None, row.number, 0)
                yield Member(str(number), f"-row{number}", place, 0, pinned.hash_of(str(error).encode()), error)
                continue
            length = len(str(row.text).encode())
            place = Place(self.kind, None, row.number, length)
            yield Member(name, f"-row{number}", place, length, pinned.hash_of(record))

    def open(self, place: Place, etag: str | None) -> BinaryIO | None:
        """As `Container.open`."""
        row = self._row_at(place.offset or 0)
        if row is None or row.text is None or isinstance(row.text, DocumentError):
            return None
        record = self._record(row)
        return io.BytesIO(record) if pinned.hash_of(record) == etag else None

    def _row_at(self, wanted: int) -> Row | None:
        if self._next is None or not self.is_near(self._next, wanted):
            if self._next is not None and not self.can_start_again:
                return None
            self._rows, self._next = self.rows(wanted), wanted
        for row in self._rows:
            self._next = row.number + 1
            if row.number >= wanted:
                return row if row.number == wanted else None
        return None

    def _record(self, row: Row) -> bytes:
        """As `json_records` reads it. Raises a DocumentError."""
        if isinstance(row.text, DocumentError):
            raise row.text
        if row.text is None:
            raise EmptyDocumentError(
                f"Row {row.number + 1} has no text in the column {self._settings.text_field!r}, which "
                "input.text_field names."
            )
        size = len(row.text.encode())
        if size > self._settings.max_document_bytes:
            raise TooLargeError(
                f"Row {row.number + 1} has {size} bytes of text, more than the {self._settings.max_document_bytes} "
                "that input.max_document_bytes allows."
            )
        title = {} if row.title is None else {TITLE: row.title}
        return json.dumps(title | {self._settings.text_field: row.text}, ensure_ascii=False).encode()


def _name(value: object) -> str | None:
    """An id as text; None where it is none."""
    if isinstance(value, float) and not math.isnan(value):
        # Whole numbers in a column with gaps, as pandas writes them.
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal | UUID | date):
        return None
    return str(value)
