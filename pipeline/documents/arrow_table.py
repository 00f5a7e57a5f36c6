"""Parquet and Arrow files with a column of text: each row is a document."""

import io
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import CorruptError, DocumentError, UndecodableError
from configs.settings import InputSettings
from pipeline.documents.rows import TITLE, Row, Table

PARQUET_MAGIC, ARROW_MAGIC = b"PAR1", b"ARROW1"
BUFFER_BYTES = 4 * 1024 * 1024
"""Read ahead of each column."""
BATCH_BYTES = 8 * 1024 * 1024
MOST_ROWS, FEWEST_ROWS = 1024, 1
BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, IndexError)


class _Columns:
    """Which of a table's columns are read."""

    def __init__(self, schema: pa.Schema, settings: InputSettings) -> None:
        """Raises UndecodableError where there is no column with text."""
        self.text = settings.text_field
        _require_text(schema, settings)
        wanted = [self.text, settings.id_field] + [TITLE] * (_is_text(schema, TITLE) and self.text != TITLE)
        self.names = [name for name in dict.fromkeys(wanted) if len(schema.get_all_field_indices(name)) == 1]
        self.indices = [schema.get_field_index(name) for name in self.names]
        self._id = settings.id_field

    def rows(self, batch: pa.RecordBatch, number: int, start: int) -> Iterator[Row]:
        """Of a batch whose first row has a number, those from the number `start` on."""
        columns = {name: batch.column(name) for name in self.names}
        for index in range(max(0, start - number), batch.num_rows):
            found = {name: _value(column, index) for name, column in columns.items()}
            text, title = found[self.text], found.get(TITLE)
            if isinstance(text, UnicodeDecodeError):
                text = UndecodableError(f"Row {number + index + 1} is not valid UTF-8 at its byte {text.start}.")
            yield Row(number + index, text, title if isinstance(title, str) else None, found.get(self._id))


class ParquetTable(Table):
    """Read by row groups, and of them the columns that are needed."""

    kind = "parquet"

    def __init__(self, stream: BinaryIO, settings: InputSettings) -> None:
        """`stream` must be seekable. Raises CorruptError, UndecodableError."""
        super().__init__(settings)
        self._stream = stream
        try:
            self._file = pq.ParquetFile(_Source(stream), buffer_size=BUFFER_BYTES)
            self._columns = _Columns(self._file.schema_arrow, settings)
        except BROKEN as error:
            raise _damaged("Parquet file", error) from error
        about = self._file.metadata
        counts = [about.row_group(group).num_rows for group in range(about.num_row_groups)]
        self._starts = list(accumulate(counts, initial=0))

    def rows(self, start: int) -> Iterator[Row]:
        """As `Table.rows`."""
        try:
            for group in range(self._group_of(start), len(self._starts) - 1):
                yield from self._rows_of(group, start)
        except BROKEN as error:
            raise _damaged("Parquet file", error) from error

    def is_near(self, following: int, wanted: int) -> bool:
        """As `Table.is_near`."""
        return following <= wanted and self._group_of(following) == self._group_of(wanted)

    def close(self) -> None:
        """As `Container.close`."""
        self._file.close()
        self._stream.close()

    def _group_of(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1

    def _rows_of(self, group: int, start: int) -> Iterator[Row]:
        about = self._file.metadata.row_group(group)
        place = self._starts[group]
        batches = self._file.iter_batches(
            batch_size=_rows_at_once(about), row_groups=[group], columns=self._columns.names, use_threads=False
        )
        for batch in batches:
            yield from self._columns.rows(batch, place, start)
            place += batch.num_rows


class ArrowTable(Table):
    """An IPC file, such as Feather writes, or an IPC stream: read by record batches."""

    kind = "arrow"

    def __init__(self, stream: BinaryIO, settings: InputSettings) -> None:
        """`stream` must be seekable. Raises CorruptError, UndecodableError."""
        super().__init__(settings)
        self._stream = stream
        self._is_file = stream.read(len(ARROW_MAGIC)) == ARROW_MAGIC
        try:
            self._columns = _Columns(self._reader().schema, settings)
        except BROKEN as error:
            raise _damaged("Arrow file", error) from error

    def rows(self, start: int) -> Iterator[Row]:
        """As `Table.rows`."""
        place = 0
        try:
            for batch in self._batches():
                yield from self._columns.rows(batch, place, start)
                place += batch.num_rows
        except BROKEN as error:
            raise _damaged("Arrow file", error) from error

    def is_near(self, following: int, wanted: int) -> bool:
        """As `Table.is_near`."""
        return following <= wanted

    def close(self) -> None:
        """As `Container.close`."""
        self._stream.close()

    def _reader(self, options: pa.ipc.IpcReadOptions | None = None) -> Any:
        self._stream.seek(0)
        source = pa.PythonFile(_Source(self._stream), "r")
        return (pa.ipc.open_file if self._is_file else pa.ipc.open_stream)(source, options=options)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        reader = self._reader(pa.ipc.IpcReadOptions(included_fields=self._columns.indices, use_threads=False))
        batches = map(reader.get_batch, range(reader.num_record_batches)) if self._is_file else reader
        for batch in batches:
            for column in batch.columns:
                _require_sound(column)
            yield batch


class _Source:
    """A stream of which no more is asked for than it has: a damaged file would ask for all of the memory."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        stream.seek(0)

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._stream.tell())
        return self._stream.read(left if size < 0 else min(size, left))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        """The table closes the stream."""


def _rows_at_once(about: Any) -> int:
    """Of a row group, by the bytes of its rows, so that a batch of long texts takes no more memory than one of short
    ones."""
    each = max(1, about.total_byte_size // max(1, about.num_rows))
    return int(max(FEWEST_ROWS, min(MOST_ROWS, BATCH_BYTES // each)))


def _require_text(schema: pa.Schema, settings: InputSettings) -> None:
    if _is_text(schema, settings.text_field):
        return
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    found = len(schema.get_all_field_indices(settings.text_field))
    problem = {0: "has no column", 1: "has no text in its column"}.get(found, "has more than one column")
    raise UndecodableError(
        f"The table {problem} {settings.text_field!r}, which input.text_field names. Its columns are: "
        f"{columns[:MOST_NAMES]}."
    )


MOST_NAMES = 1000


def _is_text(schema: pa.Schema, name: str) -> bool:
    if len(schema.get_all_field_indices(name)) != 1:
        return False
    kind = schema.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    # All nulls are of no type.
    return is_text or pa.types.is_null(kind)


def _value(column: pa.Array, index: int) -> Any:
    """A value, or why it cannot be one of Python's."""
    try:
        return column[index].as_py()
    except ValueError as error:
        return error


def _require_sound(column: pa.Array) -> None:
    """The readers of IPC check nothing, and what they read of a damaged file ends the process. Raises ArrowInvalid."""
    column.validate()
    as_bytes = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}.get(column.type)
    # As text, one row that is not valid UTF-8 would fail the others with it.
    (column.view(as_bytes) if as_bytes else column).validate(full=True)


def _damaged(what: str, error: BaseException) -> DocumentError:
    return CorruptError(f"The {what} is damaged or cut short ({str(error)[:MOST_NAMES]}).")
