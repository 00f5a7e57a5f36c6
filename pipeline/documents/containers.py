"""Which objects hold several documents: by name whether to look, then by content; and opening them."""

import sys
import tarfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from configs.errors import TooLargeError
from configs.settings import InputSettings
from pipeline.documents import arrow_table, compression, csv_rows
from pipeline.documents.arrow_table import ArrowTable, ParquetTable
from pipeline.documents.container import HEAD_BYTES, Container, buffered
from pipeline.documents.csv_rows import CsvTable
from pipeline.documents.json_lines import JsonLines
from pipeline.documents.tar_archive import TarArchive
from pipeline.documents.zip_archive import ZipArchive
from pipeline.formats import foreign, recognition

JSON_LINES = {".jsonl", ".ndjson"}
CSV = {".csv", ".tsv"}
ARROW = {".arrow", ".arrows", ".ipc", ".feather"}
TAR = {".tar", ".tgz", ".taz", ".tbz", ".tbz2", ".txz", ".tlz", ".tzst"}
NAMES = {*JSON_LINES, *CSV, *ARROW, *TAR, ".parquet", ".pq", ".parq", ".zip"}
"""Suffixes of what is looked into: to do that with every object would cost a request for each document of a listing."""
ARROW_STREAM_MAGIC = b"\xff\xff\xff\xff"
IN_MEMORY_BYTES = 16 * 1024 * 1024
KINDS: dict[str, Callable[[BinaryIO, InputSettings], Container]] = {
    "jsonl": JsonLines,
    "csv": CsvTable,
    "parquet": ParquetTable,
    "arrow": ArrowTable,
    "zip": ZipArchive,
    "tar": TarArchive,
}
AT_RANDOM = {"parquet", "arrow", "zip"}
"""Kinds that are not read from their start to their end."""


def may_be(name: str) -> bool:
    """Whether an object, or a file in an archive, is looked into, by its name."""
    return _suffix(name) in NAMES


def find(
    stream: BinaryIO, name: str, settings: InputSettings, most_bytes: int | None = None
) -> tuple[str, Container] | None:
    """The kind of a container, by its content and where that leaves a choice by its name, and the container; None if
    it is a document. `stream` is its decompressed content, which belongs to the container, else is closed.

    Raises a DocumentError for one that cannot be opened. `most_bytes` is for one in an archive, which may have to be
    unpacked.
    """
    with ExitStack() as unless_it_is_one:
        content = unless_it_is_one.enter_context(buffered(stream))
        kind = _kind(content.peek(1)[:HEAD_BYTES], _suffix(name), settings)
        container = _open(kind, content, settings, most_bytes) if kind else None
        if kind is None or container is None:
            return None
        if isinstance(container, ZipArchive) and container.is_document():
            container.close()
            return None
        unless_it_is_one.pop_all()
        return kind, container


def open_as(kind: str, stream: BinaryIO, settings: InputSettings, is_inner: bool) -> Container:
    """A container of a kind that `find` has told, in an archive or not. Raises what that raises."""
    return _open(kind, buffered(stream), settings, sys.maxsize if is_inner else None)


def _open(kind: str, content: BinaryIO, settings: InputSettings, most_bytes: int | None) -> Container:
    try:
        if kind in AT_RANDOM and (most_bytes is not None or not content.seekable()):
            content = _unpacked(content, most_bytes)
        return KINDS[kind](content, settings)
    except BaseException:
        content.close()
        raise


def _unpacked(content: BinaryIO, most_bytes: int | None) -> BinaryIO:
    """A copy on the disk, or if it is small in memory."""
    copy = SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115  # its container closes it
    with content:
        while piece := content.read(compression.CHUNK_BYTES):
            copy.write(piece)
            if most_bytes is not None and copy.tell() > most_bytes:
                copy.close()
                raise TooLargeError(
                    f"The archive in the archive has more than {most_bytes} bytes, input.max_expansion times the size "
                    "of all."
                )
    copy.seek(0)
    return cast(BinaryIO, copy)


def _suffix(name: str) -> str:
    """Without that of compression."""
    lower = name.lower()
    packed = next((suffix for suffix in compression.SUFFIXES if lower.endswith(suffix)), "")
    return PurePosixPath(lower.removesuffix(packed)).suffix


def _kind(head: bytes, suffix: str, settings: InputSettings) -> str | None:
    if head.startswith(recognition.ZIP_MAGIC):
        return "zip"
    if foreign.is_tar(head) or (suffix in TAR and _is_old_tar(head)):
        return "tar"
    if head.startswith(arrow_table.PARQUET_MAGIC) and b"\0" in head:
        return "parquet"
    if head.startswith(arrow_table.ARROW_MAGIC + b"\0") or (suffix in ARROW and head.startswith(ARROW_STREAM_MAGIC)):
        return "arrow"
    if suffix in JSON_LINES:
        return "jsonl"
    if suffix in CSV and csv_rows.has_text(head, settings):
        return "csv"
    return None


def _is_old_tar(head: bytes) -> bool:
    """From before there was a magic, or of nothing but an end mark."""
    block = head[: tarfile.BLOCKSIZE]
    if len(block) == tarfile.BLOCKSIZE and not block.strip(b"\0"):
        return True
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True
