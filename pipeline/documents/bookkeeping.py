"""Objects that lie among documents and are none: the output of our own runs, and what other programs leave as markers.

A directory that holds the output of yesterday's run is a fine source, and so is one that Spark or Hadoop wrote. What
was given by name is a document, whatever it looks like: an empty one becomes a failure row.
"""

import re
from collections.abc import Collection, Iterable

import structlog

from pipeline.schemas.tables import LISTING_FOLDER, TABLES
from pipeline.storage.listing import Listed

log = structlog.get_logger()

RUN = re.compile(r"(?P<output>.*)/_runs/(?:_commands/[^/]+/\d+\.json|[^/]+/run\.json)$")
"""What every output holds, from a run's first second on. Beside it are other folders that begin with an underscore."""
MARKER = re.compile(r"(?:^|/)(?:_SUCCESS|[^/]+_\$folder\$)$")
"""Of a finished job, as Spark writes it; of a folder, as Hadoop does."""
METADATA = re.compile(r"/_(?:common_)?metadata$")
TABLE = re.compile(r"\.(?:parquet|parq|pq)$", re.IGNORECASE)


def without(entries: Collection[Listed], given: Collection[str]) -> list[Listed]:
    """The entries that may be documents. `given` are URIs that stand in `input.sources` by themselves.

    Logs once for each output, and once for all markers, what is passed over.
    """
    outputs = sorted({found["output"] for entry in entries if (found := RUN.match(entry.uri))})
    kept = _without_metadata(entries, given)
    for output in outputs:
        own = re.compile(rf"{re.escape(output)}/(?:_\w+/|{LISTING_FOLDER}/part-|(?:{'|'.join(TABLES)})/dt=)")
        passed = {entry.uri for entry in kept if entry.uri not in given and own.match(entry.uri)}
        kept = [entry for entry in kept if entry.uri not in passed]
        log.info("output_passed_over", output_uri=output, objects=len(passed))
    empty = [entry.uri for entry in kept if not (entry.size_bytes or entry.problem or entry.uri in given)]
    folders = _folders(entry.uri for entry in kept) if empty else set()
    markers = {uri for uri in empty if uri in folders or MARKER.search(uri)}
    if markers:
        log.info("markers_passed_over", objects=len(markers), example=min(markers))
    return [entry for entry in kept if entry.uri not in markers]


def _without_metadata(entries: Collection[Listed], given: Collection[str]) -> list[Listed]:
    """Without what Spark and Dask write beside the files of a table: an index of them, without rows."""
    found = {entry.uri for entry in entries if entry.uri not in given and METADATA.search(entry.uri)}
    tables = {entry.uri.rpartition("/")[0] for entry in entries if TABLE.search(entry.uri)} if found else set()
    return [entry for entry in entries if not (entry.uri in found and _is_above(entry.uri.rpartition("/")[0], tables))]


def _is_above(folder: str, folders: Collection[str]) -> bool:
    return any(f"{each}/".startswith(f"{folder}/") for each in folders)


def is_passed_over(name: str, size_bytes: int) -> bool:
    """Whether a file in an archive is none of its documents: hidden, of macOS beside each file, or an empty marker."""
    parts = name.split("/")
    if parts[0] == "__MACOSX" or any(part.startswith(".") and part not in (".", "..") for part in parts):
        return True
    return not size_bytes and MARKER.search(name) is not None


def _folders(uris: Iterable[str]) -> set[str]:
    """All that something lies below."""
    found: set[str] = set()
    for uri in uris:
        folder = uri.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found
