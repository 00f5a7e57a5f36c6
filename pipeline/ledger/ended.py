"""Which attempts came to an end, of the actors that had begun a batch which has come again.

Asked only then: what an actor wrote is read once by each actor that takes over from it, and looked at anew for what it
may have written since.
"""

from collections.abc import Iterable
from threading import Lock

from pipeline.ledger.records import Entry, Place, place_of
from pipeline.ledger.run_folder import Ledger
from pipeline.storage import objects

COLUMNS = ("document_id", "source_etag", "batch", "attempt", "actor_id", "outcome", "tokens_resumed", "tokens_read")


class EndedAttempts:
    """Of one run; for several threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, list[Entry]] = {}
        """By segment."""
        self._lock = Lock()

    def of(self, actor_ids: Iterable[str]) -> dict[Place, Entry]:
        """Read these actors' entries, with the columns in `COLUMNS`. Raises StorageError."""
        with self._lock:
            segments = [uri for actor_id in actor_ids for uri in self._ledger.segments(actor_id)]
            new = [uri for uri in segments if uri not in self._known]
            for uri, table in zip(new, objects.read_tables(new, COLUMNS), strict=True):
                self._known[uri] = table.to_pylist()
            return {place_of(entry): entry for uri in segments for entry in self._known[uri]}
