"""Which documents' states an actor saves, and when: by how much work would be lost."""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import partial

from models.engine.summarizer import Summarizer
from pipeline.actor.assignment import Assignment
from pipeline.actor.job import Job
from pipeline.actor.ledger_writer import LedgerWriter, Saved
from pipeline.billing.metering import Meter, Spent
from pipeline.states.segments import Segment

WORTH = 50
"""A document is saved only where reading it again would take so many times what saving it does: the overhead of all
snapshots then stays under 2 % of what is read."""
RECENT = 0.3
"""Weight of the last snapshot in what one is thought to take."""


class Snapshots:
    """Belongs to the engine's thread; the meter hears from others when a state is stored."""

    def __init__(self, assignment: Assignment, meter: Meter, engine: Summarizer, writer: LedgerWriter) -> None:
        self._assignment, self._meter, self._engine, self._writer = assignment, meter, engine, writer
        # A device-second of an actor with several CPUs is less of its time.
        self._most_at_stake_us = (
            assignment.config.snapshot.max_lost_device_seconds * 1e6 / assignment.rates.num_devices(assignment.device)
        )
        self._being_written: dict[Hashable, Spent] = {}
        self._taken: dict[Hashable, tuple[int, tuple[Segment, ...]]] = {}
        """Documents of which a snapshot may be stored, with the segments that the last one has, and where the window
        began that those are of: what they hold is not copied again."""
        self._cost_us = 0.0

    def take_due(self, jobs: Mapping[str, Job]) -> None:
        """Save documents, those with most unsaved time first, until what is unsaved is within the limit."""
        at_stake = self._at_stake()
        total = sum(at_stake.values())
        if total <= self._most_at_stake_us:
            return
        for document, microseconds in sorted(at_stake.items(), key=lambda item: item[1], reverse=True):
            if total <= self._most_at_stake_us or microseconds <= WORTH * self._cost_us:
                break
            if document in jobs and self._take(jobs[str(document)]):
                total -= microseconds

    def take_all(self, jobs: Mapping[str, Job]) -> None:
        """Save every document that has unsaved time, those with most of it first."""
        at_stake = self._at_stake()
        for document in sorted(at_stake, key=lambda document: at_stake[document], reverse=True):
            if at_stake[document] and document in jobs:
                self._take(jobs[str(document)])

    def forget(self, document_id: str) -> bool:
        """A document has left; whether a state of it may be stored."""
        return self._taken.pop(document_id, None) is not None

    def _at_stake(self) -> dict[Hashable, int]:
        """Microseconds, counting what is being written as saved."""
        return {
            document: spent.microseconds - max(spent.saved, self._being_written.get(document, Spent()).microseconds)
            for document, spent in self._meter.documents().items()
        }

    def _take(self, job: Job) -> bool:
        """False where the document cannot be saved just now."""
        document = job.document_id
        if document in self._being_written or document not in self._engine.in_slots:
            return False
        window = self._engine.window_start(document)
        segments = self._segments(job, window)
        read_state = self._engine.read_state(document, segments[-1].stop if segments else 0)
        copying_us = self._meter.spend("snapshot")
        if read_state is None:
            return False
        taken = replace(job.snapshot(read_state, self._assignment), segments=segments)
        self._being_written[document] = self._meter.documents()[document]
        self._taken[document] = window, segments
        in_int8 = self._assignment.config.snapshot.dtype == "int8"
        self._writer.save(taken, partial(self._done, document, window, copying_us), in_int8)
        return True

    def _segments(self, job: Job, window: int) -> tuple[Segment, ...]:
        """That hold what has been read of the window which begins there."""
        begun = (job.start.read_state.window_start, job.start.segments) if job.start else (0, ())
        of_window, segments = self._taken.get(job.document_id, begun)
        return segments if of_window == window else ()

    def _done(self, document: Hashable, window: int, copying_us: int, saved: Saved | None) -> None:
        """In a thread of the writer."""
        if saved is not None and document in self._taken:
            self._taken[document] = window, saved.segments
        then = self._being_written.pop(document)
        if saved is not None:
            self._meter.save(document, then)
            cost = copying_us + saved.cpu_seconds * 1e6
            self._cost_us += (RECENT if self._cost_us else 1.0) * (cost - self._cost_us)
