"""The one place that touches storage: the local disk, S3 and whatever else fsspec opens.

A URI is an absolute path for a file on the local disk, else `scheme://...`; both unescaped, so that `a b#c?.txt` is
written just so. Where a store is and who may use it comes from the environment alone (AWS_ENDPOINT_URL_S3, AWS_PROFILE,
keys, instance roles): nothing secret is an argument, so nothing secret can be pickled.

Errors: StorageError for a bucket, credentials, an endpoint or a disk that fails whatever object is asked for.
What is wrong with one object stays an OSError for the caller to name: FileNotFoundError, PermissionError.

Faults of S3 that pass by themselves are waited out in `pipeline.storage.s3`, for every operation. The disk is not tried
again, and file systems of other stores bring retries of their own.
"""

import io
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO
from uuid import uuid4

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from configs.errors import StorageError
from pipeline.storage import disk, remote, s3
from pipeline.storage.listing import Listed, walk_disk
from pipeline.storage.translation import translated

SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
READS_AT_ONCE = 16
fsspec.register_implementation("sample", "pipeline.storage.samples.Samples")
SCHEMES = ("", "file", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "sample")
"""That documents are read from. None that asks any server for anything, as http does: what names documents could make
the cluster ask its own network."""


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
    """Raises ValueError where documents are not read from what a URI begins with."""
    scheme = split(uri)[0]
    if scheme not in SCHEMES:
        raise ValueError(f"documents are not read from {scheme}://; fetch them to s3://, gs://, abfs:// or a directory")


def is_within(uri: str, neighbor: str) -> bool:
    """Whether an object is below the directory of another, symbolic links followed, or in its bucket; both as `resolve`
    gives them. What is not below it by name is not looked at. Raises ValueError for what is no path."""
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
    """Whether a URI is of the local disk: a path, or file://."""
    return split(uri)[0] in ("", "file")


def resolve(uri: str) -> str:
    """The one spelling of a URI: an absolute path on the local disk, no slash at the end."""
    files, path = filesystem(uri)
    return path if is_local(uri) else str(files.unstrip_protocol(path))


def join(uri: str, *parts: str) -> str:
    """`uri/part/part`; a part that is itself absolute or a URI starts over, and `..` goes up, but never out of the
    bucket, the first name after `scheme://`."""
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
    """Write an object that appears whole or not at all. Raises StorageError."""
    files, path = filesystem(uri)
    with translated(uri, whole_store=True):
        if is_local(uri):
            disk.publish(path, data)
        else:
            files.pipe_file(path, bytes(data))


def create(uri: str, data: bytes | memoryview) -> bool:
    """Write an object that appears whole or not at all, where there is none. Raises StorageError.

    True where what is there is now this data: that alone tells a write whose answer was lost, and which was sent again,
    from another's. So who must know that it was first puts an id of its own into the data; of two writers of the
    same bytes both are told True. False, and nothing changed, where there was another object.

    Of many writers one wins on a disk, on an S3 that honors If-None-Match, and wherever else fsspec's mode="create" is
    atomic (gs, abfs); other file systems look, then write. On a disk without hard links the object is empty for a
    moment before it is whole.
    """
    data = bytes(data)
    files, path = filesystem(uri)
    with translated(uri, whole_store=True):
        created = disk.create(path, data) if is_local(uri) else remote.create(files, path, data)
        # aiohttp too sends a PUT again when a connection breaks, so that nobody knows whether it was sent once.
        return created or _holds(uri, data)


def can_create(uri: str) -> bool:
    """Whether a store refuses to write over an object where that is asked of it, which `create` relies on. Tried with
    an object below `uri`, which is gone afterwards. Raises StorageError."""
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
    """Write a Parquet file, zstd with statistics, that appears whole or not at all. Raises StorageError."""
    publish(uri, _parquet(table))


def create_table(uri: str, table: pa.Table) -> bool:
    """As `create`, a Parquet file with zstd and statistics; an id in the table tells its writer from others."""
    return create(uri, _parquet(table))


def _parquet(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return memoryview(sink.getvalue())


def read_bytes(uri: str) -> bytes:
    """An object whole, in one request. Raises FileNotFoundError, PermissionError, StorageError."""
    files, path = filesystem(uri)
    if is_local(uri):
        with open(path, "rb") as file:
            return file.read()
    with translated(uri):
        data: bytes = files.cat_file(path)
    return data


def read_table(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file, whole or some of its columns.

    Raises FileNotFoundError, PermissionError, StorageError (also where it is no Parquet).
    """
    try:
        with open_read(uri) as stream:
            return pq.read_table(stream, columns=columns and list(columns), partitioning=None)
    except pa.ArrowException as error:
        raise StorageError(f"{uri} is no readable Parquet file ({error}); delete it or write it again") from error


def read_tables(uris: Sequence[str], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Many Parquet files in their order, fetched several at a time. Raises what `read_table` raises."""
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        yield from threads.map(lambda uri: read_table(uri, columns), uris)


def open_read(uri: str, etag: str = "") -> BinaryIO:
    """A seekable stream that fetches as it goes; the object is not exchanged meanwhile, and must have the ETag that is
    given, in a store that has any.

    Raises FileNotFoundError, PermissionError, StorageError, and here and in reading Replaced, an OSError.
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
    """Remove one object; one that is not there is fine. Raises StorageError."""
    files, path = filesystem(uri)
    try:
        with translated(uri, whole_store=True):
            files.rm_file(path)
    except FileNotFoundError:
        pass


def list_files(uri: str, suffix: str = "") -> list[str]:
    """Sorted URIs of the objects below a prefix, none where there is no such prefix. Raises StorageError."""
    return sorted(entry.uri for entry in walk(uri) if entry.uri.endswith(suffix) and not entry.problem)


def list_folders(uri: str) -> list[str]:
    """Sorted names of the folders right below a prefix, none where there is no such prefix. Raises StorageError.

    Nothing that lies deeper is listed.
    """
    files, path = filesystem(uri)
    try:
        with translated(uri, whole_store=True):
            found = files.ls(path, detail=True)
    except FileNotFoundError:
        return []
    return sorted(info["name"].rstrip("/").rsplit("/", 1)[1] for info in found if info["type"] == "directory")


def stat(uri: str) -> Listed:
    """One object, with `problem` set where it is missing or unreadable. Raises StorageError."""
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
    """The object at `uri` or all objects below it, in no order; at most `depth` names deep. Raises StorageError.

    Symbolic links are followed. What cannot be read (a loop, a link to nowhere, no permission, a pipe) is an Entry
    with its `problem`. Nothing at `uri` gives nothing.
    """
    files, path = filesystem(uri)
    if is_local(uri):
        yield from walk_disk(path, depth)
        return
    with translated(uri, whole_store=True):
        found = files.find(path, maxdepth=depth, detail=True)
    # An object whose name ends in a slash is how consoles draw an empty folder.
    yield from (remote.entry(files, info) for info in found.values() if not info["name"].endswith("/"))
