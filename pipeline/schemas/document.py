"""A document, from the listing to its summary."""

from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Document:
    """One row of a run's manifest: where a document is and which content it had when it was listed."""

    document_id: str
    """Stable: the URI, `URI#id` for a line of a JSON lines file, or what a manifest says."""
    source_uri: str
    """URI of the object that holds it, unescaped, as fsspec opens it."""
    source_etag: str
    """Changes with the content: the store's ETag. Without one, `blake2b:...` of the bytes, or for a large local file
    `ends:...` of its size, modification time and both ends."""
    size_bytes: int
    """Size as stored, before decompression; for a JSON line that of the line."""
    record_offset: int | None = None
    """For a JSON line: its first byte in the decompressed object."""
    record_length: int | None = None
    """For a JSON line: its length in bytes, line end included."""
    error_class: str | None = None
    """Set if the listing already found that it cannot be read."""
    error_message: str | None = None

    def as_row(self) -> dict[str, Any]:
        """As a row of MANIFEST."""
        return asdict(self)

    @staticmethod
    def from_row(row: dict[str, Any]) -> "Document":
        """The inverse of `as_row`; other columns are ignored."""
        return Document(**{name: row[name] for name in MANIFEST.names})


MANIFEST = pa.schema(
    [
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("source_uri", pa.string(), nullable=False),
        pa.field("source_etag", pa.string(), nullable=False),
        pa.field("size_bytes", pa.int64(), nullable=False),
        pa.field("record_offset", pa.int64()),
        pa.field("record_length", pa.int64()),
        pa.field("error_class", pa.string()),
        pa.field("error_message", pa.string()),
    ]
)
