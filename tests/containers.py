"""Archives and tables of documents, as programs write them."""

import io
import tarfile
import zipfile
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

Parts = dict[str, bytes]


def zip_of(parts: Parts, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return packed.getvalue()


def tar_of(parts: Parts, mode: Literal["w", "w:gz", "w:bz2", "w:xz"] = "w", style: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode, format=style, encoding="utf-8") as archive:
        for name, data in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def parquet_of(columns: dict[str, Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


def arrow_of(columns: dict[str, Any], as_stream: bool = False) -> bytes:
    table, sink = pa.table(columns), io.BytesIO()
    with (pa.ipc.new_stream if as_stream else pa.ipc.new_file)(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()
