"""What an actor counts of its own events, for those who watch it."""

from collections import Counter
from threading import Lock

from pipeline.telemetry.events import ActorWindingDown, Event, PassDone, SnapshotFailed, SnapshotStored


class Counts:
    """A sink. `totals` are columns of `Figures`."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def take(self, event: Event) -> None:
        """Count it, in whatever thread."""
        with self._lock:
            match event:
                case PassDone():
                    self._counts["passes"] += 1
                case SnapshotStored():
                    self._counts["snapshots"] += 1
                    self._counts["snapshot_bytes"] += event.bytes
                case SnapshotFailed():
                    self._counts["snapshots_failed"] += 1
                case ActorWindingDown(reason="preempted"):
                    self._counts["preempted"] = 1

    def close(self) -> None:
        """Nothing is held."""

    def totals(self) -> dict[str, int]:
        """Since the actor began."""
        with self._lock:
            return dict(self._counts)
