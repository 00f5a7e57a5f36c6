"""The heartbeats of a run's actors, as its driver knows them: told by the actors themselves, and read in the ledger."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Protocol

import structlog

from configs.errors import LedgerError, StorageError
from pipeline.ledger.records import Heartbeat
from pipeline.ledger.run_folder import Ledger
from pipeline.storage import objects

log = structlog.get_logger()

TOLD = "actors/"
"""Where actors put their heartbeats in a run's mailbox."""
SECONDS_BETWEEN_TELLING = 2.0
"""How often they do."""


class Mailbox(Protocol):
    """What is needed of `pipeline.cluster.mailbox`."""

    def all(self, prefix: str) -> list[bytes]:
        """Messages whose names begin so."""


class Heartbeats:
    """What is known of all actors. One whose heartbeat cannot be read now keeps the last one that could: a budget must
    not be forgotten over a file that is damaged, nor over a store that stumbles.

    Actors tell the driver every two seconds and write to the ledger less often. Where the mailbox fails, the ledger is
    read at each call."""

    def __init__(self, ledger: Ledger, mailbox: Mailbox | None = None, every_seconds: float = 0.0) -> None:
        """With a mailbox, the ledger is read only `every_seconds`."""
        self._ledger, self._mailbox, self._every_seconds = ledger, mailbox, every_seconds
        self._known: dict[str, Heartbeat] = {}
        """By the actor's id."""
        self._heard: dict[str, float] = {}
        """When each actor's meter was first seen where it is, on the monotonic clock."""
        self._told: dict[str, Heartbeat] = {}
        """Those that the ledger may not have."""
        self._messages: set[bytes] = set()
        self._unreadable: set[str] = set()
        """Told of once."""
        self._look_due = 0.0
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(objects.READS_AT_ONCE, "heartbeats")

    def __call__(self) -> list[Heartbeat]:
        """The last known heartbeat of each actor."""
        with self._lock:
            is_told = self._listen()
            if not is_told or time.monotonic() >= self._look_due:
                self._look()
                self._look_due = time.monotonic() + self._every_seconds
            return list(self._known.values())

    def silent_seconds(self, actor_id: str) -> float:
        """How long an actor's meter has shown the same time, as far as this process has looked."""
        return time.monotonic() - self._heard[actor_id]

    def write(self) -> None:
        """Put into the ledger what actors have told and not written, such as those that were killed, so that their time
        is accounted for. Raises StorageError."""
        with self._lock:
            self._listen()
            for _ in self._threads.map(self._ledger.publish_later_heartbeat, self._told.values()):
                pass
            self._told.clear()

    def _listen(self) -> bool:
        """Returns whether the mailbox could be read."""
        if self._mailbox is None:
            return False
        try:
            messages = set(self._mailbox.all(TOLD))
            # Most actors have told nothing new since the last look.
            for message in messages - self._messages:
                heartbeat = Heartbeat.from_bytes(message)
                if self._hear(heartbeat):
                    self._told[heartbeat.reading.actor_id] = heartbeat
            self._messages = messages
        except Exception as error:  # whatever it is, the ledger has them too, only later
            if TOLD not in self._unreadable:
                self._unreadable.add(TOLD)
                log.warning("mailbox_unreadable", run_id=self._ledger.run_id, reason=repr(error))
            return False
        self._unreadable.discard(TOLD)
        return True

    def _look(self) -> None:
        try:
            uris = self._ledger.heartbeat_uris()
        except StorageError:
            log.warning("heartbeats_not_listed", run_id=self._ledger.run_id, exc_info=True)
            return
        for heartbeat in self._threads.map(self._read, uris):
            if heartbeat is not None:
                self._hear(heartbeat)

    def _hear(self, heartbeat: Heartbeat) -> bool:
        """Returns whether it is newer than what was known."""
        actor_id = heartbeat.reading.actor_id
        before = self._known.get(actor_id)
        if before is not None and heartbeat.reading.read_us < before.reading.read_us:
            return False
        self._known[actor_id] = heartbeat
        if before is None or before.reading.total_us != heartbeat.reading.total_us:
            self._heard[actor_id] = time.monotonic()
        return before is None or heartbeat.reading.read_us > before.reading.read_us

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
