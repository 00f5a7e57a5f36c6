"""What of an output no run needs any more, by age and size, and its removal. The tables are never touched.

- The ledger of a run that is committed in full: claims, segments, heartbeats, manifests. Its run.json, quote and starts
  stay, and a mark that refuses to resume it.
- Snapshots of a run that stopped and that nobody has resumed: its documents are then read from their start.
- Kept states that have expired, as `pipeline.states.expiry` says.

Where the rest is still too large, the oldest of these go whatever their age, and of the states those that have not
expired too. What is younger than a day stays in any case, and so does everything of a run whose driver is at work.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from configs.errors import ConfigError
from pipeline.ledger import commits, lease
from pipeline.ledger.run_folder import Ledger, runs
from pipeline.states import expiry
from pipeline.states.library import StateLibrary
from pipeline.storage import objects

YOUNGEST = timedelta(days=1)
LONG_AGO = datetime.min.replace(tzinfo=UTC)
KEPT_NAMES = ("run.json", "quote.json", "pruned.json")
KEPT_FOLDER = "starts"

Kind = Literal["ledger", "snapshots", "states"]


@dataclass(frozen=True)
class Prunable:
    """What goes together or stays."""

    kind: Kind
    name: str
    """Of the run, or of a state's document; empty for states that have expired, which go together."""
    last_used: datetime
    uris: tuple[str, ...]
    size_bytes: int

    def is_due(self, age: timedelta, older_than: timedelta) -> bool:
        """By age alone. A state has a time of its own."""
        return not self.name if self.kind == "states" else age >= older_than


def prunable(output_uri: str, older_than: timedelta, max_bytes: int | None = None) -> list[Prunable]:
    """What may go now, the oldest first; `max_bytes` is what may be left of all that could be pruned one day.

    Raises ConfigError where no run has written to the output, and StorageError.
    """
    now = datetime.now(UTC)
    found = sorted([*_of_runs(output_uri), *_states(output_uri)], key=lambda each: each.last_used)
    total = sum(each.size_bytes for each in found)
    going = []
    for each in found:
        age = now - each.last_used
        is_too_much = max_bytes is not None and total > max_bytes and age >= YOUNGEST
        if is_too_much or each.is_due(age, max(older_than, YOUNGEST)):
            going.append(each)
            total -= each.size_bytes
    return going


def prune(output_uri: str, going: Sequence[Prunable]) -> None:
    """Remove them. Raises StorageError after having removed some."""
    for each in going:
        if each.kind == "ledger":
            # First, so that nobody resumes what is half gone.
            Ledger(output_uri, each.name).mark_pruned()
        with ThreadPoolExecutor(objects.READS_AT_ONCE) as threads:
            for _ in threads.map(objects.delete, each.uris):
                pass


def _of_runs(output_uri: str) -> Iterator[Prunable]:
    for ledger in runs(output_uri):
        is_complete = commits.is_complete(ledger)
        listed = [each for each in objects.walk(ledger.uri) if is_complete or "/snapshots/" in each.uri]
        kept = objects.join(ledger.uri, KEPT_FOLDER)
        files = [
            each for each in listed if each.uri.rsplit("/", 1)[1] not in KEPT_NAMES and not each.uri.startswith(kept)
        ]
        if files and not lease.is_at_work(ledger):
            size = sum(each.size_bytes for each in files)
            uris = tuple(each.uri for each in files)
            yield Prunable("ledger" if is_complete else "snapshots", ledger.run_id, _last_used(ledger), uris, size)


def _last_used(ledger: Ledger) -> datetime:
    marker = commits.newest(ledger)
    committed = [datetime.fromisoformat(marker["committed_at"])] if marker and "committed_at" in marker else []
    return max([_last_start(ledger), *committed])


def _last_start(ledger: Ledger) -> datetime:
    return max(lease.starts(ledger).values(), default=LONG_AGO)


def _states(output_uri: str) -> Iterator[Prunable]:
    try:
        catalog = StateLibrary(output_uri)
    except ConfigError:
        # Runs have begun here, and none has been committed.
        return
    kept = {state.uri: state for state in catalog.states if state.status == "kept"}
    found = expiry.removable(catalog, whatever_their_time=True)
    expired = [each for each in found if each.uri not in kept]
    if expired:
        uris, size = tuple(each.uri for each in expired), sum(each.size_bytes for each in expired)
        yield Prunable("states", "", LONG_AGO, uris, size)
    for each in found:
        if (state := kept.get(each.uri)) is not None:
            yield Prunable("states", state.document_id, state.row["created_at"], (each.uri,), each.size_bytes)
