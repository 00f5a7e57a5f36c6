"""Manifests: files that name documents and give them ids, and what a manifest may name.

A manifest is used only if it is given as a source: someone who may write below a prefix must not make the cluster read
other places. For the same reason an entry outside of the manifest's directory or bucket, or with a scheme that
documents are not read from, becomes a failure without being opened or looked up.
"""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from configs.credentials import masked, refuse_credentials
from configs.errors import ConfigError, StorageError
from pipeline.storage import objects
from pipeline.storage.listing import Listed

SUFFIXES = (".manifest.parquet", ".manifest.jsonl")
STATS_AT_ONCE = 16


def is_manifest(uri: str) -> bool:
    """By its name."""
    return uri.lower().endswith(SUFFIXES)


def entries(manifest: str, allow_outside: bool) -> Iterator[tuple[str, Listed]]:
    """The document_id and the object of each row. One that is missing, or may not be named, has its `problem` set; so
    has a row that names none, under the manifest's URI and the row's number.

    Raises ConfigError where no row names any, StorageError.
    """
    rows = list(_rows(manifest))
    if rows and all(row.problem for row in rows):
        raise ConfigError(f"input.sources: {rows[0].problem}, and so does every other row")
    with ThreadPoolExecutor(STATS_AT_ONCE) as threads:
        for row, entry in zip(rows, threads.map(partial(_entry, manifest, allow_outside), rows), strict=True):
            yield row.document_id, entry


class _Row(NamedTuple):
    document_id: str
    uri: str = ""
    problem: str = ""
    """Why it names nothing."""


def _entry(manifest: str, allow_outside: bool, row: _Row) -> Listed:
    if row.problem:
        return Listed(manifest, problem=f"{row.problem[0].upper()}{row.problem[1:]}.")
    uri = objects.join(manifest.rpartition("/")[0], row.uri)
    try:
        refuse_credentials(uri)
        objects.refuse_scheme(uri)
        uri = objects.resolve(uri)
        is_allowed = allow_outside or objects.is_within(uri, manifest)
    except (ValueError, StorageError) as error:
        return Listed(masked(_escaped(uri)), problem=f"The manifest {manifest} names what cannot be opened: {error}.")
    if not is_allowed:
        where = "directory" if objects.is_local(manifest) else "bucket"
        problem = f"It lies outside of the {where} of the manifest {manifest}; input.allow_outside=true permits it."
        return Listed(_escaped(uri), problem=problem)
    try:
        return objects.stat(uri)
    except (OSError, ValueError) as error:
        return Listed(_escaped(uri), problem=f"The manifest {manifest} names what cannot be opened: {error}.")


def _rows(manifest: str) -> Iterator[_Row]:
    """Numbers are ids too. Raises StorageError."""
    for number, row in enumerate(_raw_rows(manifest), start=1):
        place = f"row {number} of the manifest {manifest}"
        name, uri = ((row.get(key) if isinstance(row, dict) else None) for key in ("document_id", "uri"))
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)
        if isinstance(row, ValueError):
            yield _Row(f"{manifest}#row{number}", problem=f"{place} is no JSON: {row}")
        elif not all(isinstance(value, str) and value for value in (name, uri)):
            yield _Row(f"{manifest}#row{number}", problem=f"{place} needs text in document_id and uri")
        else:
            yield _Row(_escaped(str(name)), str(uri))


def _raw_rows(manifest: str) -> Iterable[Any]:
    """Of a row that cannot be read, the error."""
    if manifest.lower().endswith(".parquet"):
        rows: list[Any] = objects.read_table(manifest).to_pylist()
        return rows
    return [_loaded(line) for line in objects.read_bytes(manifest).splitlines() if line.strip()]


def _loaded(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        return error
    except RecursionError as error:
        return ValueError(str(error))


def _escaped(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can hold and no table."""
    return text.encode("utf-8", "backslashreplace").decode()
