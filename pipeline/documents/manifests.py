"""Manifests: files that name documents and give them ids, and what a manifest may name.

A manifest is used only if it is given as a source: someone who may write below a prefix must not make the cluster read
other places. For the same reason an entry outside of the manifest's directory or bucket, or with a scheme that
documents are not read from, becomes a failure without being opened or looked up.
"""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

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
    """The document_id and the object of each row. One that is missing, or may not be named, has its `problem` set.

    Raises ConfigError where the manifest cannot be followed, StorageError.
    """
    rows = list(_rows(manifest))
    with ThreadPoolExecutor(STATS_AT_ONCE) as threads:
        found = threads.map(partial(_entry, manifest, allow_outside), [uri for _, uri in rows])
        for (document_id, _), entry in zip(rows, found, strict=True):
            yield document_id, entry


def _entry(manifest: str, allow_outside: bool, named: str) -> Listed:
    uri = objects.join(manifest.rpartition("/")[0], named)
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


def _rows(manifest: str) -> Iterator[tuple[str, str]]:
    """document_id and uri of each row. Raises ConfigError."""
    for number, row in enumerate(_raw_rows(manifest), start=1):
        values = [row.get(name) if isinstance(row, dict) else None for name in ("document_id", "uri")]
        if not all(isinstance(value, str) and value for value in values):
            raise ConfigError(
                f"input.sources: row {number} of the manifest {manifest} needs text in document_id and uri"
            )
        yield _escaped(values[0]), values[1]  # type: ignore[arg-type, misc]


def _raw_rows(manifest: str) -> Iterable[Any]:
    if manifest.lower().endswith(".parquet"):
        rows: list[Any] = objects.read_table(manifest).to_pylist()
        return rows
    try:
        return [json.loads(line) for line in objects.read_bytes(manifest).splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"input.sources: the manifest {manifest} is not valid JSON lines: {error}") from error


def _escaped(text: str) -> str:
    """Without halves of surrogate pairs, which JSON can hold and no table."""
    return text.encode("utf-8", "backslashreplace").decode()
