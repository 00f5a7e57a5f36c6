"""A document, from the listing to its summary."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa


class Place(NamedTuple):
    """Where a document is in what holds several."""

    kind: str
    """What holds it: `jsonl`, `csv`, `parquet` or `arrow`, of records; `zip` or `tar`, of files."""
    name: str | None = None
    """Of a file in an archive; None for a record."""
    offset: int | None = None
    """Of a line, its first byte in the decompressed content, and so of a file in a tar archive; of a file in a ZIP
    archive that of its header; of a row its number, from 0."""
    length: int | None = None
    """In bytes: of a line, its end included; of a row, that of its text; of a file, as it lies in its archive."""


@dataclass(frozen=True)
class Document:
    """One row of a run's manifest: where a document is and which content it had when it was listed."""

    document_id: str
    """Stable: the URI, or what a manifest says; of what an object holds, that with `#` and the row's id or the name in
    the archive."""
    source_uri: str
    """URI of the object that holds it, unescaped, as fsspec opens it."""
    source_etag: str
    """Changes with the content: the store's ETag. Without one, `blake2b:...` of the bytes, or for a large local file
    `ends:...` of its size, modification time and both ends. Of a file in a ZIP archive `crc32:...` and its size."""
    size_bytes: int
    """Size as stored, before decompression; of a record that of its line or text."""
    within: tuple[Place, ...] = ()
    """Where it is in the object, if that holds several documents; in what that holds, if it lies deeper."""
    error_class: str | None = None
    """Set if the listing already found that it cannot be read."""
    error_message: str | None = None

    @property
    def is_record(self) -> bool:
        """Whether it is a line or a row."""
        return bool(self.within) and self.within[-1].name is None

    @property
    def table(self) -> str | None:
        """The kind of table that it is a row of; None if it is none."""
        return self.within[-1].kind if self.is_record and self.within[-1].kind != "jsonl" else None

    @property
    def name(self) -> str:
        """The name of the file that it is, or is in: in an archive, or the object's URI."""
        return next((place.name for place in reversed(self.within) if place.name is not None), self.source_uri)

    def as_row(self) -> dict[str, Any]:
        """As a row of MANIFEST."""
        return vars(self) | {"within": [place._asdict() for place in self.within]}

    @staticmethod
    def from_row(row: dict[str, Any]) -> "Document":
        """The inverse of `as_row`; other columns are ignored."""
        within = tuple(Place(**place) for place in row["within"] or ())
        return Document(**{name: row[name] for name in MANIFEST.names} | {"within": within})


_PLACE = pa.struct([("kind", pa.string()), ("name", pa.string()), ("offset", pa.int64()), ("length", pa.int64())])

MANIFEST = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("source_etag", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("within", pa.list_(_PLACE)),
        pa.field("error_class", pa.string()),
        pa.field("error_message", pa.string()),
    ]
)
