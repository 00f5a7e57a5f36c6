"""One attempt at a document on its way through an actor."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from datetime import datetime

import numpy as np

from configs.errors import DocumentError, StateError
from models.feed import ArrayFeed, Feed
from models.request import Midway
from pipeline import sections, tokenise
from pipeline.assignment import Assignment, Row, reason
from pipeline.sections import Section
from pipeline.snapshot import Snapshot
from pipeline.token_feed import TokenFeed
from pipeline.tokenise import Position


@dataclass(frozen=True)
class Job:
    """A document that waits for the engine or is in it."""

    row: Row
    """A `READ_ROW`."""
    started_at: datetime
    receipt: "Future[Row]"
    attempt: int = 1
    alone: bool = False
    """Whether it must have the engine to itself."""
    start: Snapshot | None = None
    """Where an earlier reading stood."""
    parent_uri: str | None = None
    """Of that state."""
    feed: Feed | None = None
    """Set when the engine gets it."""

    @property
    def document_id(self) -> str:
        return str(self.row["document_id"])

    @property
    def tokens_resumed(self) -> int:
        """Read before this attempt."""
        return self.start.midway.tokens_read if self.start else 0

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
        """From a stored state. Raises StateError where tokens that travel with the job are not those that were read."""
        if self.row["tokens"] is not None:
            cuts = {cut["parts"]: cut["digest"] for cut in self.row["cuts"] or ()}
            if found.position.parts and cuts.get(found.position.parts) != found.position.digest:
                raise StateError("The stored state is of other text than the document has now.")
        return replace(self, start=found, parent_uri=uri)

    def failing(self, error: DocumentError) -> "Job":
        """To become a failure."""
        return replace(self, row=self.row | reason(error) | {"tokens": None})

    def array_feed(self) -> ArrayFeed:
        """Of a document whose tokens have travelled with it."""
        cuts = [cut["tokens"] for cut in self.row["cuts"] or ()]
        ends = [section["start"] for section in self.row["sections"] or ()]
        return ArrayFeed(self.row["tokens"], ends[1:], cuts[-1] if cuts else None, self.tokens_resumed)

    def position(self, tokens_read: int | None = None) -> Position:
        """The last cut at or before so many tokens, all of which are taken; None of the whole document."""
        if isinstance(self.feed, TokenFeed):
            return self.feed.position()
        cuts = [cut for cut in self.row["cuts"] or () if tokens_read is None or cut["tokens"] <= tokens_read]
        return Position(**cuts[-1]) if cuts else Position()

    def snapshot(self, midway: Midway, assignment: Assignment) -> Snapshot:
        """Of the place where the document stands now."""
        return self._snapshot(midway, self.position(midway.tokens_read), assignment)

    def kept(self, midway: Midway, assignment: Assignment) -> Snapshot | None:
        """Of the last cut of a document that has been read; None where the state is not of there."""
        position = self.position()
        if position.tokens != midway.tokens_read or not position.parts:
            return None
        tail = self.feed.tail if isinstance(self.feed, TokenFeed) else self.row["tokens"][position.tokens :]
        return self._snapshot(midway, position, assignment, tail)

    def _snapshot(
        self, midway: Midway, position: Position, assignment: Assignment, tail: np.ndarray | Sequence[int] = ()
    ) -> Snapshot:
        found = [Section(**section) for section in self.sections or ()]
        return Snapshot(
            document_id=self.document_id,
            source_uri=self.row["source_uri"],
            source_etag=self.row["source_etag"],
            state_key=assignment.state_key,
            settings_sha256=assignment.settings_sha256,
            run_id=assignment.run_id,
            title=self.row["title"],
            position=position,
            sections=tuple(sections.before(found, position.tokens)),
            midway=midway,
            tail=np.asarray(tail, tokenise.TOKEN_DTYPE),
        )


class JobQueue:
    """Jobs on their way into the engine: in their order, but suspects one by one when there is nothing else to do."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        self._alone: str | None = None
        """The suspect that has the engine."""

    def __len__(self) -> int:
        return len(self._jobs) + len(self._suspects)

    @property
    def is_reserved(self) -> bool:
        """Whether a suspect has the engine to itself."""
        return self._alone is not None

    def put(self, job: Job) -> None:
        (self._suspects if job.alone else self._jobs).append(job)

    def admit(self, engine_is_busy: bool) -> list[Job]:
        """Those that may go in now."""
        if self._alone is not None:
            return []
        if self._jobs:
            admitted, self._jobs = list(self._jobs), deque()
            return admitted
        if self._suspects and not engine_is_busy:
            suspect = self._suspects.popleft()
            self._alone = suspect.document_id
            return [suspect]
        return []

    def leave(self, document_id: str) -> None:
        """A document is out of the engine."""
        if document_id == self._alone:
            self._alone = None

    def take_all(self) -> list[Job]:
        """All that have not gone in."""
        jobs = [*self._jobs, *self._suspects]
        self._jobs.clear()
        self._suspects.clear()
        return jobs
