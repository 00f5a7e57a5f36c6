"""Which kept states may be removed, and their removal. Their rows stay.

An object may go when `expires_at` of the newest row that names it has passed. One that no row names is what a run left
that died, and may go when it is a day old. None goes that the ledger of a run names which has still to commit it.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.ledger import commits
from pipeline.ledger.run_folder import runs
from pipeline.states.library import StateLibrary, place_of
from pipeline.storage import objects as storage

ORPHANED_AFTER = timedelta(days=1)
"""A run's ledger names a state a moment after its object is there."""


@dataclass(frozen=True)
class Removable:
    """An object that may go."""

    uri: str
    size_bytes: int
    document_id: str | None
    """None where no row names it."""


def removable(catalog: StateLibrary, document: str | None = None, whatever_their_time: bool = False) -> list[Removable]:
    """The objects that may go now; with `document` those of the document of exactly this id alone.

    `whatever_their_time`: also those that have not expired. Raises ConfigError where there is no such document.
    """
    states = catalog.states if document is None else catalog.of_document(document)
    of_rows = [
        Removable(state.uri, state.found.size_bytes, state.document_id)
        for state in states
        if state.found and (whatever_their_time or state.status == "expired")
    ]
    found = [*of_rows, *(_orphans(catalog) if document is None else ())]
    held = set(_to_be_committed(catalog)) if found else set()
    return [each for each in found if place_of(each.uri) not in held]


def remove(objects: Sequence[Removable]) -> None:
    """One that is gone already is fine. Raises StorageError; what went before it is gone."""
    with ThreadPoolExecutor(storage.READS_AT_ONCE) as threads:
        for _ in threads.map(storage.delete, [each.uri for each in objects]):
            pass


def _orphans(catalog: StateLibrary) -> Iterator[Removable]:
    for entry in catalog.unnamed:
        modified = None if entry.problem else _modified(entry.uri)
        if modified is not None and modified < catalog.now - ORPHANED_AFTER:
            yield Removable(entry.uri, entry.size_bytes, None)


def _to_be_committed(catalog: StateLibrary) -> Iterator[str]:
    """Places of objects whose rows wait in the ledgers of runs."""
    for ledger in runs(catalog.output_uri):
        if not commits.is_complete(ledger):
            for entry in ledger.entries():
                places = [place_of(row["state_uri"]) for row in entry.get("states") or ()]
                yield from (place for place in places if not catalog.names(ledger.run_id, place))


def _modified(uri: str) -> datetime | None:
    """None where it has just gone, or its store does not say."""
    files, path = storage.filesystem(uri)
    try:
        modified: datetime = files.modified(path)
    except (FileNotFoundError, NotImplementedError):
        return None
    return modified
