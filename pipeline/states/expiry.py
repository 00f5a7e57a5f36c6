"""Which kept states may be removed, and their removal. Their rows stay.

An object may be removed when `expires_at` of the newest row that names it has passed. One that no row names was left by
a run that died, and may be removed when it is a day old; so may snapshots of a run that is complete, which are of
documents that failed, or of actors that came late. Objects of a run that has not committed yet are never removed.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.ledger import commits
from pipeline.ledger.run_folder import runs
from pipeline.states.library import StateLibrary, place_of
from pipeline.storage import objects as storage
from pipeline.storage.listing import Listed

ORPHANED_AFTER = timedelta(days=1)
"""A run's ledger names a state a moment after its object was written."""


@dataclass(frozen=True)
class Removable:
    """An object that may be removed."""

    uri: str
    size_bytes: int
    document_id: str | None
    """None if no row names the object."""


def removable(catalog: StateLibrary, document: str | None = None, whatever_their_time: bool = False) -> list[Removable]:
    """The objects that may be removed now; with `document` only those of the document with exactly this id.

    With `whatever_their_time`, also those that have not expired. Raises ConfigError if there is no such document.
    """
    states = catalog.states if document is None else catalog.of_document(document)
    of_rows = [
        Removable(state.uri, state.found.size_bytes, state.document_id)
        for state in states
        if state.found and (whatever_their_time or state.status == "expired")
    ]
    found = [*of_rows, *(_orphans(catalog, catalog.unnamed) if document is None else ())]
    held = set(_to_be_committed(catalog)) if found else set()
    left_behind = _orphans(catalog, _snapshots_left(catalog)) if document is None else ()
    return [*(each for each in found if place_of(each.uri) not in held), *left_behind]


def remove(objects: Sequence[Removable]) -> None:
    """Remove objects, if they still exist. Raises StorageError after having removed some of them."""
    with ThreadPoolExecutor(storage.READS_AT_ONCE) as threads:
        for _ in threads.map(storage.delete, [each.uri for each in objects]):
            pass


def _snapshots_left(catalog: StateLibrary) -> Iterator[Listed]:
    """With their segments, of runs that nobody will resume."""
    for ledger in runs(catalog.output_uri):
        if commits.is_complete(ledger):
            entries = storage.walk(storage.join(ledger.uri, "snapshots"))
            # A store may have folders of its own.
            yield from (entry for entry in entries if entry.uri.endswith(".safetensors"))


def _orphans(catalog: StateLibrary, entries: Iterable[Listed]) -> Iterator[Removable]:
    for entry in entries:
        modified = None if entry.problem else _modified(entry.uri)
        if modified is not None and modified < catalog.now - ORPHANED_AFTER:
            yield Removable(entry.uri, entry.size_bytes, None)


def _to_be_committed(catalog: StateLibrary) -> Iterator[str]:
    """Places of objects whose rows wait in the ledgers of runs."""
    for ledger in runs(catalog.output_uri):
        if not commits.is_complete(ledger):
            for entry in ledger.entries(["states"]):
                places = [place_of(row["state_uri"]) for row in entry.get("states") or ()]
                yield from (place for place in places if not catalog.names(ledger.run_id, place))


def _modified(uri: str) -> datetime | None:
    """When the object was written; None if it is gone, or its store does not tell."""
    files, path = storage.filesystem(uri)
    try:
        modified: datetime = files.modified(path)
    except (FileNotFoundError, NotImplementedError):
        return None
    return modified
