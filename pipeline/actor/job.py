"""One attempt at a document on its way through an actor."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import numpy as np

from configs.errors import DocumentError, StateError
from models.engine.feed import ArrayFeed, Feed
from models.engine.request import ReadState
from models.weights.tokenizer import LIBRARY, Tokenizer
from pipeline.actor.assignment import Assignment
from pipeline.billing.metering import Spent
from pipeline.documents import sections, tokenize
from pipeline.documents.handover import reason
from pipeline.documents.sections import Section
from pipeline.documents.token_feed import TokenFeed
from pipeline.documents.tokenize import Position
from pipeline.ledger.records import Underway, document_key
from pipeline.schemas.attempt import Begun
from pipeline.schemas.document import Document
from pipeline.schemas.tables import Row
from pipeline.states.snapshot import Snapshot


@dataclass(frozen=True)
class Job:
    """A document that waits for the engine or is in it."""

    row: Row
    """A `READ_ROW`."""
    started_at: datetime
    receipt: "Future[Row]"
    batch: str = ""
    """That it came with, by its name in the ledger."""
    claim: int = 1
    """By which of the batch's claims this attempt is begun."""
    attempt: int = 1
    quarantined: bool = False
    """Whether it must have the engine to itself."""
    start: Snapshot | None = None
    """Where an earlier reading stood."""
    parent_uri: str | None = None
    """Of that state."""
    feed: Feed | None = None
    """Set when the engine gets it."""
    admitted_at: datetime | None = None
    """When that was."""

    @property
    def document_id(self) -> str:
        return str(self.row["document_id"])

    @property
    def key(self) -> str:
        return document_key(self.document_id, self.row["source_etag"])

    @property
    def earlier(self) -> list[Begun]:
        """Attempts of earlier starts of the run."""
        return [Begun(**each) for each in self.row["earlier"] or ()]

    @property
    def tokens_resumed(self) -> int:
        """Read before this attempt."""
        return self.start.read_state.tokens_read if self.start else 0

    @property
    def reading(self) -> Row:
        """What reading has shown of the document, as columns of its rows."""
        if isinstance(self.feed, TokenFeed):
            notes = self.feed.notes
            return {"format": self.feed.format, "encoding": notes.encoding, "warnings": list(notes.warnings)}
        return {name: self.row.get(name) for name in ("format", "encoding", "warnings")}

    @property
    def title(self) -> str | None:
        """Title from the reader; without one, from the stored state or the feed."""
        if self.row["title"] is None and self.start is not None:
            return self.start.title
        if self.row["title"] is None and isinstance(self.feed, TokenFeed):
            return self.feed.title
        return self.row["title"]

    @property
    def sections(self) -> list[Row] | None:
        """Found so far, in the shape of the row's."""
        if isinstance(self.feed, TokenFeed):
            return [asdict(section) for section in self.feed.sections]
        return self.row["sections"]

    @property
    def checks_history(self) -> bool:
        """Whether the document has changed since that state: then it must only have grown."""
        return self.start is not None and self.start.source_etag != self.row["source_etag"]

    def starting(self, found: Snapshot, uri: str) -> "Job":
        """The same job, resuming from a stored state. Raises StateError if the job's tokens differ from those read."""
        if self.row["tokens"] is not None:
            cuts = {cut["parts"]: cut["digest"] for cut in self.row["cuts"] or ()}
            if found.position.parts and cuts.get(found.position.parts) != found.position.digest:
                raise StateError("The stored state is of other text than the document has now.")
        return replace(self, start=found, parent_uri=uri)

    def failing(self, error: DocumentError) -> "Job":
        """To become a failure."""
        return replace(self, row=self.row | reason(error) | {"tokens": None})

    def opened(self, assignment: Assignment, tokenizer: Tokenizer, on_change: Callable[[], None]) -> "Job":
        """The same job with its feed: over the tokens that it carries, or one that reads the document from here on and
        calls `on_change` when there is news of it."""
        feed = self._stream(assignment, tokenizer, on_change) if self.row["is_streamed"] else self._array()
        return replace(self, feed=feed, admitted_at=datetime.now(UTC))

    def _stream(self, assignment: Assignment, tokenizer: Tokenizer, on_change: Callable[[], None]) -> TokenFeed:
        position = self.start.position if self.start else Position()
        return TokenFeed(
            Document.from_row(self.row),
            assignment.config.input,
            tokenizer,
            on_change,
            start=position,
            skip=self.tokens_resumed - position.tokens,
            sections=assignment.config.sections,
            found=self.start.sections if self.start else (),
            check_history=self.checks_history,
        )

    def _array(self) -> ArrayFeed:
        cuts = [cut["tokens"] for cut in self.row["cuts"] or ()]
        ends = [section["start"] for section in self.row["sections"] or ()]
        return ArrayFeed(self.row["tokens"], ends[1:], cuts[-1] if cuts else None, self.tokens_resumed)

    def underway(self, spent: Spent, tokens_read: int | None) -> Underway:
        """The attempt as a heartbeat reports it, with the document's tokens read so far."""
        return Underway(
            self.document_id,
            self.row["source_etag"],
            self.attempt,
            round(self.started_at.timestamp() * 1e6),
            spent,
            (tokens_read or self.tokens_resumed) - self.tokens_resumed,
            self.tokens_resumed,
            self.batch,
        )

    def position(self, tokens_read: int | None = None) -> Position:
        """The last cut at or before so many tokens, all of which are taken; None of the whole document."""
        if isinstance(self.feed, TokenFeed):
            return self.feed.position()
        cuts = [cut for cut in self.row["cuts"] or () if tokens_read is None or cut["tokens"] <= tokens_read]
        return Position(**cuts[-1]) if cuts else Position()

    def snapshot(self, read_state: ReadState, assignment: Assignment) -> Snapshot:
        """Of the place where the document stands now."""
        return self._snapshot(read_state, self.position(read_state.tokens_read), assignment)

    def kept(self, read_state: ReadState, assignment: Assignment) -> Snapshot | None:
        """Of the last cut of a document that has been read; None where the state is not of there."""
        position = self.position()
        if position.tokens != read_state.tokens_read or not position.parts:
            return None
        tail = self.feed.tail if isinstance(self.feed, TokenFeed) else self.row["tokens"][position.tokens :]
        return self._snapshot(read_state, position, assignment, tail)

    def _snapshot(
        self, read_state: ReadState, position: Position, assignment: Assignment, tail: np.ndarray | Sequence[int] = ()
    ) -> Snapshot:
        found = [Section(**section) for section in self.sections or ()]
        return Snapshot(
            document_id=self.document_id,
            source_uri=self.row["source_uri"],
            source_etag=self.row["source_etag"],
            state_key=assignment.state_key,
            made_by=self.feed.made_by if isinstance(self.feed, TokenFeed) else self.row["made_by"],
            tokenized_by=LIBRARY,
            settings_sha256=assignment.settings_sha256,
            run_id=assignment.run_id,
            title=self.title or "",
            position=position,
            sections=tuple(sections.before(found, position.tokens)),
            read_state=read_state,
            tail=np.asarray(tail, tokenize.TOKEN_DTYPE),
        )

    def refuse(self, error: Exception) -> None:
        """Raise the error for whoever waits for the receipt, and read no more of the document."""
        self.receipt.set_exception(error)
        if self.feed is not None:
            self.feed.close()


class JobQueue:
    """Jobs on their way into the engine: in their order, what is quarantined one by one when there is nothing else."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._quarantined: deque[Job] = deque()
        self._reserved_for: str | None = None
        """What has the engine to itself."""

    def __len__(self) -> int:
        return len(self._jobs) + len(self._quarantined)

    @property
    def is_reserved(self) -> bool:
        """Whether a document has the engine to itself."""
        return self._reserved_for is not None

    def put(self, job: Job) -> None:
        """Queue a job."""
        (self._quarantined if job.quarantined else self._jobs).append(job)

    def admit(self, engine_is_busy: bool) -> list[Job]:
        """Those that may go in now."""
        if self._reserved_for is not None:
            return []
        if self._jobs:
            admitted, self._jobs = list(self._jobs), deque()
            return admitted
        if self._quarantined and not engine_is_busy:
            job = self._quarantined.popleft()
            self._reserved_for = job.document_id
            return [job]
        return []

    def started(self) -> list[datetime]:
        """When each that has not gone in came."""
        return [job.started_at for job in (*self._jobs, *self._quarantined)]

    def leave(self, document_id: str) -> None:
        """A document is out of the engine."""
        if document_id == self._reserved_for:
            self._reserved_for = None

    def take_all(self) -> list[Job]:
        """All that have not gone in."""
        jobs = [*self._jobs, *self._quarantined]
        self._jobs.clear()
        self._quarantined.clear()
        return jobs
