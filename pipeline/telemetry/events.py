"""What happens in a run, in its driver and in its actors, as those are told who watch it.

Each process tells of its own events. What belongs together is found by run id, number of the start and document id.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from configs.settings import SummarizeConfig


@dataclass(frozen=True)
class Run:
    """One start of a run."""

    run_id: str
    start: int
    """Its number, from 1: a run that was stopped is started again."""
    output_uri: str
    sources: tuple[str, ...]
    """As the settings give them."""
    model: str
    """As `model_id` in the tables."""

    @staticmethod
    def of(config: SummarizeConfig, run_id: str, start: int, output_uri: str) -> "Run":
        """As its settings have it; `output_uri` as the driver resolved it."""
        return Run(run_id, start, output_uri, tuple(config.input.sources), config.model_id)


@dataclass(frozen=True)
class RunStarted:
    """Told by the driver once the run is its own and documents are left."""

    run: Run
    at: datetime
    documents: int
    """That are left."""
    done_before: int
    bytes: int
    """Of the documents that are left."""
    deadline: datetime | None


@dataclass(frozen=True)
class RunStopping:
    """The run ends before its documents do."""

    run_id: str
    reason: str
    """`deadline`, `budget`, `failures` or `interrupt`."""


@dataclass(frozen=True)
class RunCommitted:
    """The tables of the run are there; told also of one that had no documents left, and so was not started."""

    run: Run
    started_at: datetime
    ended_at: datetime
    status: str
    """As in the table `jobs`."""
    stopped_by: str | None
    """As the reason of `RunStopping`; None where the run came to its end."""
    documents: int
    succeeded: int
    failed: int
    left: int
    tokens_read: int
    tokens_decoded: int
    cost: Decimal
    """Of all starts of the run."""
    currency: str


@dataclass(frozen=True)
class RunFailed:
    """An error ended this start of the run."""

    run: Run
    started_at: datetime
    ended_at: datetime
    error_class: str
    error_message: str | None = None
    """Of an error that is meant to be read, such as the name of a store that is gone."""


@dataclass(frozen=True)
class DocumentReceived:
    """The driver heard that what became of a document is in the ledger."""

    run_id: str
    document_id: str
    status: Literal["ok", "failed", "stopped"]
    tokens_read: int
    size_bytes: int
    error_class: str | None
    error_message: str | None


@dataclass(frozen=True)
class Measured:
    """What the driver knows of this start of the run, told every few seconds. What counts up does so from 0."""

    run_id: str
    at: datetime
    progressed_at: datetime
    """When a document or a token was last done."""
    documents_left: int
    """That no receipt has come of."""
    actors: int
    slots: int
    slots_in_use: int
    waiting: int
    """Documents that wait at an actor for a slot."""
    waiting_seconds: float
    """How long the oldest of these has waited."""
    tokens_read: int
    tokens_decoded: int
    passes: int
    snapshots: int
    snapshots_failed: int
    snapshot_bytes: int
    preemptions: int
    """Actors whose node went away."""
    device_seconds: Mapping[str, float]
    """By kind, as in the table `costs`."""
    cost: Decimal
    currency: str
    budget: Decimal | None


@dataclass(frozen=True)
class BudgetShareSpent:
    """This start of the run has cost this share of its budget."""

    run_id: str
    share_percent: int
    cost: Decimal
    budget: Decimal
    currency: str


@dataclass(frozen=True)
class ActorReady:
    """An actor has loaded its model."""

    run_id: str
    actor_id: str
    state_bytes: int
    kernels: str | None


@dataclass(frozen=True)
class PassDone:
    """An actor's engine ran one pass. There are many of these: what takes them must be cheap."""

    kind: Literal["prefill", "decode"]
    tokens_read: int
    tokens_decoded: int


@dataclass(frozen=True)
class AttemptEnded:
    """An actor is through with a document: it finished, failed, or was stopped to be resumed."""

    run: Run
    actor_id: str
    document_id: str
    attempt: int
    outcome: Literal["finished", "failed", "stopped", "fenced"]
    format: str | None
    """Of the document, as it was read."""
    tokens_resumed: int
    """That it had been read before."""
    tokens_read: int
    """By this attempt."""
    tokens_decoded: int
    started_at: datetime
    ended_at: datetime
    device_seconds: Decimal
    cost: Decimal
    currency: str
    finish_reasons: tuple[str, ...] = ()
    """Of its answers."""
    error_class: str | None = None
    error_message: str | None = None
    admitted_at: datetime | None = None
    """When its engine got it; None where it did not come so far."""
    read_at: datetime | None = None
    """When it was read to its end, and only answers were left; None where that is not known."""


@dataclass(frozen=True)
class SnapshotStored:
    """The state of a document that is being read is in storage."""

    run_id: str
    actor_id: str
    document_id: str
    bytes: int


@dataclass(frozen=True)
class SnapshotFailed:
    """A state could not be stored; it is tried again."""

    run_id: str
    actor_id: str
    document_id: str
    error: Exception


@dataclass(frozen=True)
class ActorWindingDown:
    """An actor saves what it is at, since the run stops or its node goes away."""

    run_id: str
    actor_id: str
    reason: str
    """As of `RunStopping`, or `preempted`."""
    documents: int
    """That it is at."""


@dataclass(frozen=True)
class ActorLeft:
    """An actor has saved everything, and its process ends, since its node goes away."""

    run_id: str
    actor_id: str
    tokens_read: int


Event = (
    RunStarted
    | RunStopping
    | RunCommitted
    | RunFailed
    | DocumentReceived
    | Measured
    | BudgetShareSpent
    | ActorReady
    | PassDone
    | AttemptEnded
    | SnapshotStored
    | SnapshotFailed
    | ActorWindingDown
    | ActorLeft
)
