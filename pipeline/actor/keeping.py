"""Which states outlive the run: those of documents that cost more to read again than their states to store.

That a document grows, or is asked about, before its state expires is taken as certain.
"""

from collections.abc import Callable
from decimal import Decimal
from functools import partial

from models.engine.request import Finished
from pipeline.actor.assignment import Assignment
from pipeline.actor.gauge import ActorGauge
from pipeline.actor.job import Job
from pipeline.schemas.tables import Row
from pipeline.states import kept as states

GIB = 2**30
DAYS_PER_MONTH = 30


class Keeping:
    """Belongs to the engine's thread."""

    def __init__(self, assignment: Assignment, actor: ActorGauge, state_bytes: int) -> None:
        self._assignment, self._actor = assignment, actor
        self._smallest = state_bytes

    def may_be_worth(self, job: Job) -> bool:
        """Whether a document's state may be worth storing, before it is read; True while length or speed is unknown."""
        if self._assignment.ttl_days is None:
            return False
        return bool(job.row["is_streamed"]) or self._is_worth(job.position().tokens, self._smallest)

    def storing(self, job: Job, finished: Finished) -> Callable[[], Row] | None:
        """A function that stores the state of a document that was read; None if the state is not to be kept."""
        kept = job.kept(finished.kept, self._assignment) if finished.kept is not None else None
        if kept is None:
            return None
        size_bytes = sum(array.nbytes for array in kept.read_state.state.values())
        if not self._is_worth(kept.read_state.tokens_read, size_bytes):
            return None
        return partial(states.keep, self._keeper(), kept, finished.tokens_read, job.parent_uri)

    def _keeper(self) -> states.Keeper:
        told = self._assignment
        assert told.ttl_days is not None, "nothing is kept without a time to live"
        return states.Keeper(told.output_uri, told.config.model.uri, told.model_revision, told.ttl_days)

    def _is_worth(self, tokens: int, size_bytes: int) -> bool:
        told, reading = self._assignment, self._actor.cost_of_reading(tokens)
        cost = storage_cost(size_bytes, told.ttl_days or 0.0, told.config.states.storage_gib_month)
        return tokens > 0 and (reading is None or reading >= cost)


def storage_cost(size_bytes: int, days: float, gib_month: Decimal) -> Decimal:
    """Of keeping so many bytes for so long."""
    return gib_month * size_bytes / GIB * Decimal(days) / DAYS_PER_MONTH
