"""The heartbeats of a run's actors, as its driver reads them every second."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import structlog

from configs.errors import LedgerError, StorageError
from pipeline.ledger.records import Heartbeat
from pipeline.ledger.run_folder import Ledger
from pipeline.storage import objects

log = structlog.get_logger()


class Heartbeats:
    """What is known of all actors. One whose heartbeat cannot be read now keeps the last one that could: a budget must
    not be forgotten over a file that is damaged, nor over a store that stumbles."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, Heartbeat] = {}
        """By the URI of its file."""
        self._heard: dict[str, float] = {}
        """When each actor's meter was first seen where it is, on the monotonic clock."""
        self._unreadable: set[str] = set()
        """Told of once."""
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(objects.READS_AT_ONCE, "heartbeats")

    def __call__(self) -> list[Heartbeat]:
        """The last known heartbeat of each actor."""
        with self._lock:
            try:
                uris = self._ledger.heartbeat_uris()
            except StorageError:
                log.warning("heartbeats_not_listed", run_id=self._ledger.run_id, exc_info=True)
                uris = []
            for uri, heartbeat in zip(uris, self._threads.map(self._read, uris), strict=True):
                if heartbeat is not None:
                    self._hear(uri, heartbeat)
            return list(self._known.values())

    def silent_seconds(self, actor_id: str) -> float:
        """How long an actor's meter has shown the same time, as far as this process has looked."""
        return time.monotonic() - self._heard[actor_id]

    def _hear(self, uri: str, heartbeat: Heartbeat) -> None:
        before, self._known[uri] = self._known.get(uri), heartbeat
        if before is None or before.reading.total_us != heartbeat.reading.total_us:
            self._heard[heartbeat.reading.actor_id] = time.monotonic()

    def _read(self, uri: str) -> Heartbeat | None:
        try:
            heartbeat = self._ledger.heartbeat(uri)
        except (StorageError, LedgerError, FileNotFoundError) as error:
            if uri not in self._unreadable:
                self._unreadable.add(uri)
                log.warning("heartbeat_unreadable", run_id=self._ledger.run_id, uri=uri, reason=str(error))
            return None
        self._unreadable.discard(uri)
        return heartbeat
