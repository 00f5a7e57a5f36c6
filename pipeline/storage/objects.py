"""All access to storage: the local disk, S3 and whatever else fsspec opens.

A URI is an absolute path for a file on the local disk, else `scheme://...`. Both are unescaped: `a b#c?.txt` is written
as it is. Endpoints and credentials come from the environment only (AWS_ENDPOINT_URL_S3, AWS_PROFILE, keys, instance
roles): no secret is ever an argument, so none can be pickled.

Errors: StorageError for a bucket, credentials, an endpoint or a disk that would fail for any object. What is wrong with
one object stays an OSError for the caller to report: FileNotFoundError, PermissionError.

Transient faults of S3 are retried in `pipeline.storage.s3`, for every operation. The local disk is not retried, and the
file systems of other stores have retries of their own.
"""

import io
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO
from uuid import uuid4

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import ConfigError, StorageError
from pipeline.storage import disk, remote, s3
from pipeline.storage.listing import Listed, walk_disk
from pipeline.storage.translation import translated

SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
READS_AT_ONCE = 16
fsspec.register_implementation("sample", "pipeline.storage.samples.Samples")
SCHEMES = ("", "file", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "sample")
"""Schemes that documents may be read from. None of them sends requests to arbitrary hosts, as http does: a manifest
could make the cluster send requests inside its own network."""


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URI and the path in it. Raises StorageError for a scheme that cannot be opened."""
    scheme, rest = split(uri)
    if is_local(uri):
        return fsspec.filesystem("file"), os.path.abspath(os.path.expanduser(rest))
    try:
        with translated(uri):
            is_s3 = scheme in s3.Files.protocol
            files = s3.open_files() if is_s3 else fsspec.filesystem(scheme, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise StorageError(f"{uri}: {scheme}:// cannot be opened here ({error}); s3:// and paths can") from error
    return files, files._strip_protocol(f"{scheme}://{rest}")


def split(uri: str) -> tuple[str, str]:
    """The scheme of a URI, in lower case, and what follows it; for a path that has none, "" and the path."""
    scheme = SCHEME.match(uri)
    return (scheme[1].lower(), uri[scheme.end() :]) if scheme else ("", uri)


def refuse_scheme(uri: str) -> None:
    """Raises ValueError if documents may not be read from a URI's scheme, or if it names no bucket."""
    scheme, rest = split(uri)
    if scheme not in SCHEMES:
        raise ValueError(f"documents are not read from {scheme}://; fetch them to s3://, gs://, abfs:// or a directory")
    if not is_local(uri) and not rest.strip("/"):
        raise ValueError(f"name a bucket, as in {scheme}://bucket/folder/")


def is_within(uri: str, neighbor: str) -> bool:
    """Whether an object is below the directory of another, symbolic links followed, or in its bucket; both as returned
    by `resolve`. A file that is not below the directory by name is never touched. Raises ValueError for an invalid
    path."""
    if is_local(uri) != is_local(neighbor):
        return False
    if not is_local(uri):
        return _bucket(uri) == _bucket(neighbor)
    directory = os.path.dirname(neighbor)
    real = os.path.realpath(directory)
    return (_is_below(uri, directory) or _is_below(uri, real)) and _is_below(os.path.realpath(uri), real)


def _is_below(path: str, directory: str) -> bool:
    return os.path.commonpath([path, directory]) == directory


def _bucket(uri: str) -> tuple[str, str]:
    scheme, rest = split(uri)
    return scheme, rest.partition("/")[0]


def is_local(uri: str) -> bool:
    """Whether a URI names a file on the local disk: a path, or file://."""
    return split(uri)[0] in ("", "file")


def resolve(uri: str) -> str:
    """The canonical form of a URI: absolute for a path on the local disk, without a slash at the end."""
    files, path = filesystem(uri)
    return path if is_local(uri) else str(files.unstrip_protocol(path))


def join(uri: str, *parts: str) -> str:
    """`uri/part/part`. A part that is itself absolute or a URI replaces what is before it; `..` goes up one level, but
    never out of the bucket, the first name after `scheme://`."""
    for part in parts:
        if SCHEME.match(part) or part.startswith("/"):
            uri = part
        elif is_local(uri):
            uri = os.path.normpath(f"{split(uri)[1]}/{part}")
        else:
            scheme, rest = split(uri)
            bucket, _, path = rest.lstrip("/").partition("/")
            # A normalized absolute path has no `..` left.
            path = os.path.normpath("/" + f"{path}/{part}".lstrip("/"))
            uri = f"{scheme}://{bucket}{path}".rstrip("/")
    return uri


def publish(uri: str, data: bytes | memoryview) -> None:
    """Write an object atomically, replacing an existing one. Raises StorageError."""
    files, path = filesystem(uri)
    with translated(uri, whole_store=True):
        if is_local(uri):
            disk.publish(path, data)
        else:
            files.pipe_file(path, bytes(data))


def create(uri: str, data: bytes | memoryview) -> bool:
    """Write an object atomically if it does not exist. Raises StorageError.

    Returns whether the object now holds this data. Comparing the data is the only way to tell a write of ours whose
    response was lost, and which was retried, from someone else's. So a writer that must know whether it was first puts
    an id of its own into the data: two writers of the same bytes both get True. False means that another object exists
    and nothing was changed.

    Exactly one of many writers wins on a disk, on an S3 that honors If-None-Match, and wherever else fsspec's
    mode="create" is atomic (gs, abfs); other file systems check, then write. On a disk without hard links the object is
    empty for a moment.
    """
    data = bytes(data)
    files, path = filesystem(uri)
    with translated(uri, whole_store=True):
        created = disk.create(path, data) if is_local(uri) else remote.create(files, path, data)
        # aiohttp retries a PUT when a connection breaks, so a refusal may be due to our own first try.
        return created or _holds(uri, data)


def can_create(uri: str) -> bool:
    """Whether a store honors conditional writes, which `create` relies on. Tried with an object below `uri` that is
    deleted afterwards. Raises StorageError."""
    probe = join(uri, f"probe-{uuid4().hex}")
    try:
        return create(probe, b"first") and not create(probe, b"second")
    finally:
        delete(probe)


def _holds(uri: str, data: bytes) -> bool:
    try:
        return stat(uri).size_bytes == len(data) and read_bytes(uri) == data
    except (FileNotFoundError, IsADirectoryError):
        return False


def publish_table(uri: str, table: pa.Table) -> None:
    """Write a Parquet file atomically, with zstd and statistics. Raises StorageError."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    publish(uri, memoryview(sink.getvalue()))


def refuse_file(field: str, uri: str) -> None:
    """Raises ConfigError where a setting that names a place for many objects is a file on this machine."""
    if is_local(uri) and os.path.isfile(filesystem(uri)[1]):
        raise ConfigError(f"{field} = {uri!r} is a file: give a directory, or an s3:// prefix")


def read_bytes(uri: str) -> bytes:
    """The whole object, in one request. Raises FileNotFoundError, PermissionError, StorageError."""
    files, path = filesystem(uri)
    if is_local(uri):
        with open(path, "rb") as file:
            return file.read()
    with translated(uri):
        data: bytes = files.cat_file(path)
    return data


def read_table(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """All or some columns of a Parquet file, also such within others (`costs.list.element.kind`).

    Raises FileNotFoundError, PermissionError, StorageError (also if it is not Parquet, or lacks a column).
    """
    try:
        with open_read(uri) as stream:
            file = pq.ParquetFile(stream)
            for name in columns or ():
                file.schema_arrow.field(name.partition(".")[0])
            return file.read(columns=columns and list(columns))
    except (pa.ArrowException, KeyError) as error:
        raise StorageError(f"{uri} is not a readable Parquet file ({error}); delete it or write it again") from error


def read_tables(uris: Sequence[str], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Many Parquet files in the given order, fetched several at a time and no further ahead. Raises what `read_table`
    raises."""
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        ahead: deque[Future[pa.Table]] = deque()
        for uri in uris:
            ahead.append(threads.submit(read_table, uri, columns))
            if len(ahead) == READS_AT_ONCE:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def open_read(uri: str, etag: str = "") -> BinaryIO:
    """A seekable stream that fetches as it is read. In a store with ETags, the object must have the given `etag`, if
    any, and must not be replaced while it is read.

    Raises FileNotFoundError, PermissionError, StorageError and, here or while reading, Replaced, an OSError.
    """
    if is_local(uri):
        return open(filesystem(uri)[1], "rb")
    return io.BufferedReader(remote.File(uri, *filesystem(uri), etag), io.DEFAULT_BUFFER_SIZE)


def exists(uri: str) -> bool:
    """Whether there is an object, or anything below a prefix. Raises StorageError."""
    files, path = filesystem(uri)
    if is_local(uri):
        return os.path.exists(path)
    try:
        with translated(uri, whole_store=True):
            files.info(path)
    except FileNotFoundError:
        return False
    return True


def delete(uri: str) -> None:
    """Delete one object if it exists. Raises StorageError."""
    files, path = filesystem(uri)
    try:
        with translated(uri, whole_store=True):
            files.rm_file(path)
    except FileNotFoundError:
        pass


def list_files(uri: str, suffix: str = "", depth: int | None = None) -> list[str]:
    """Sorted URIs of the readable objects below a prefix that end in `suffix`, at most `depth` names deep. Raises
    StorageError."""
    return sorted(entry.uri for entry in walk(uri, depth) if entry.uri.endswith(suffix) and not entry.problem)


def list_folders(uri: str) -> list[str]:
    """Sorted names of the folders directly below a prefix. Lists nothing deeper. Raises StorageError."""
    files, path = filesystem(uri)
    try:
        with translated(uri, whole_store=True):
            found = files.ls(path, detail=True)
    except FileNotFoundError:
        return []
    return sorted(info["name"].rstrip("/").rsplit("/", 1)[1] for info in found if info["type"] == "directory")


def stat(uri: str) -> Listed:
    """One object, with `problem` set if it is missing or unreadable. Raises StorageError."""
    files, path = filesystem(uri)
    if is_local(uri):
        return next(walk_disk(path, 0), None) or Listed(path, problem="There is no such file.")
    uri = str(files.unstrip_protocol(path))
    try:
        with translated(uri):
            info = files.info(path)
    except FileNotFoundError:
        return Listed(uri, problem="There is no such object in the store.")
    except PermissionError:
        return Listed(uri, problem="The store does not permit reading this object.")
    if info["type"] == "directory":
        return Listed(uri, problem="This is a directory, not a document.")
    return remote.entry(files, info)


def walk(uri: str, depth: int | None = None) -> Iterator[Listed]:
    """The object at `uri` or all objects below it, unordered, at most `depth` names deep. Raises StorageError.

    Symbolic links are followed. What cannot be read (a loop, a dangling link, no permission, a pipe) is returned with
    its `problem` set. Yields nothing if there is nothing at `uri`.
    """
    files, path = filesystem(uri)
    if is_local(uri):
        yield from walk_disk(path, depth)
        return
    with translated(uri, whole_store=True):
        found = files.find(path, maxdepth=depth, detail=True)
    # Consoles represent an empty folder as an object whose name ends in a slash.
    yield from (remote.entry(files, info) for info in found.values() if not info["name"].endswith("/"))
