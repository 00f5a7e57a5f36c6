"""Documents that are longer than the model's context, or than memory holds, in windows that fit.

Each window is a reading of its own for the engine, from an empty state, and is asked all prompts. Their answers are
joined under their ranges, or the model is asked again about those (`Reduction`), until one answer is left. Windows
begin at multiples of what fits: a document has the same ones however it comes, and after it has grown.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace

import numpy as np

from configs.errors import DocumentError, LonghaulError, unexpected
from models.engine.backend import Kernels
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed, Feed
from models.engine.request import (
    WHOLE,
    Answer,
    AnsweredSection,
    Failed,
    Finished,
    Pass,
    ReadState,
    Request,
)
from pipeline.actor.reduction import Reduction, Texts

NOTHING = np.empty(0, np.int32)


class WindowFeed:
    """A `models.engine.feed.Feed` of the next tokens of another, which stays open."""

    def __init__(self, feed: Feed, most: int) -> None:
        """At most so many of them."""
        self._feed, self._left = feed, most

    @property
    def ready(self) -> int:
        return min(self._feed.ready, self._left)

    @property
    def ended(self) -> bool:
        return self._feed.ended or self._feed.ready >= self._left

    @property
    def section_end(self) -> int | None:
        return None

    @property
    def last_cut(self) -> int | None:
        cut = self._feed.last_cut
        return cut if cut is not None and cut <= self._left else None

    def take(self, count: int) -> np.ndarray:
        """As `Feed.take`."""
        self._left -= count
        return self._feed.take(count)

    def close(self) -> None:
        """The document goes on."""


@dataclass(eq=False)
class _Document:
    """From its first window to its last answer."""

    request: Request
    most: int
    """Tokens of a window."""
    start: int = 0
    """Tokens before the window under way, or before the one to come."""
    ends: list[int] = field(default_factory=list)
    """Tokens up to the end of each window that is answered."""
    answers: dict[tuple[int, int], Answer] = field(default_factory=dict)
    """By window and prompt."""
    kept: ReadState | None = None
    is_between: bool = False
    """Whether a window is answered and nobody knows yet whether there is another."""
    so_far: bool = False
    reduction: Reduction | None = None

    @staticmethod
    def of(request: Request, most: int) -> "_Document":
        start = request.start
        if start is None:
            return _Document(request, most)
        answers = {place: answer for place, answer in start.answers.items() if place[0] != WHOLE}
        begun = _Document(request, most, start.window_start, list(start.section_ends), answers)
        begun.is_between = bool(begun.ends) and start.tokens_read == start.window_start
        return begun

    def window(self) -> Request:
        """The window under way, which may have been begun by an earlier reading."""
        begun, start = self.request.start, None
        if begun is not None and begun.window_start == self.start < begun.tokens_read:
            whole = {place: answer for place, answer in begun.answers.items() if place[0] == WHOLE}
            start = ReadState(begun.state, begun.tokens_read - self.start, answers=whole)
        feed = WindowFeed(self.request.feed, self.most - (start.tokens_read if start else 0))
        expected = min(self.most, max(0, self.request.expected_tokens - self.start))
        return replace(self.request, feed=feed, start=start, expected_tokens=expected)

    def outer(self, state: ReadState) -> ReadState:
        """What has been read of the window under way, as the whole document's."""
        return replace(
            state,
            tokens_read=self.start + state.tokens_read,
            section_ends=tuple(self.ends),
            answers=self.answers | dict(state.answers),
            window_start=self.start,
        )

    def end_window(self, finished: Finished) -> None:
        """It is answered."""
        if finished.kept is not None:
            self.kept = self.kept or self.outer(finished.kept)
        self.answers |= {(len(self.ends), prompt): answer for prompt, answer in enumerate(finished.answers)}
        self.start += finished.tokens_read
        self.ends.append(self.start)
        self.is_between, self.so_far = True, self.so_far or finished.so_far

    def windows(self) -> tuple[AnsweredSection, ...]:
        return tuple(
            AnsweredSection(end, tuple(self.answers[window, prompt] for prompt in range(len(self.request.prompts))))
            for window, end in enumerate(self.ends)
        )


class Windows:
    """A `models.engine.summarizer.Summarizer` around an engine that has a longest document."""

    def __init__(self, engine: Engine, texts: Texts, reduces: bool) -> None:
        """`reduces`: whether the model is asked about its answers, until there is one."""
        self._engine, self._texts, self._reduces = engine, texts, reduces
        self._documents: dict[Hashable, _Document] = {}
        self._finished: list[Finished] = []
        self._failed: list[Failed] = []

    @property
    def kernels(self) -> Kernels | None:
        return self._engine.kernels

    @property
    def state_bytes(self) -> int:
        return self._engine.state_bytes

    @property
    def busy(self) -> bool:
        return bool(self._engine.busy or self._documents or self._finished or self._failed)

    @property
    def in_slots(self) -> dict[Hashable, int]:
        """Those between two windows too."""
        found = {id: document.start for id, document in self._documents.items() if document.ends}
        for id, tokens in self._engine.in_slots.items():
            document = self._documents.get(id)
            found[id] = tokens + (document.start if document else 0)
        return found

    def submit(self, request: Request) -> None:
        """As `Summarizer.submit`."""
        most = self._engine.longest(request.prompts)
        if most is None or most < 1:
            self._engine.submit(request)
            return
        document = self._documents[request.id] = _Document.of(request, most)
        if not document.is_between:
            self._engine.submit(document.window())

    def window_start(self, id: Hashable) -> int:
        """As `Summarizer.window_start`."""
        document = self._documents.get(id)
        return document.start if document else 0

    def read_state(self, id: Hashable, since: int = 0) -> ReadState | None:
        """As `Summarizer.read_state`; between two windows there is no state, and answers are all that is kept."""
        document = self._documents.get(id)
        if document is None:
            return self._engine.read_state(id, since)
        if document.is_between or document.reduction or id not in self._engine.in_slots:
            return document.outer(ReadState({}, 0))
        state = self._engine.read_state(id, since)
        return state and document.outer(state)

    def conclude(self, id: Hashable) -> None:
        """As `Summarizer.conclude`; answers about earlier windows are then joined, and not asked about again."""
        document = self._documents.get(id)
        if document is None:
            self._engine.conclude(id)
        elif document.reduction is None and self.in_slots.get(id):
            document.so_far = True
            if self._engine.in_slots.get(id):
                self._engine.conclude(id)
            else:
                self._engine.withdraw(id)
                document.is_between = True

    def withdraw(self, id: Hashable) -> None:
        """As `Summarizer.withdraw`."""
        if document := self._documents.pop(id, None):
            document.request.feed.close()
        self._engine.withdraw(id)

    def step(self, read: bool = True) -> Pass:
        """As `Summarizer.step`."""
        self._go_on(read)
        done = self._engine.step(read) if self._engine.busy else Pass("wait", {}, 0, ())
        for finished in done.finished:
            self._ended(finished)
        for failed in done.failed:
            self._fail(failed.id, failed.tokens_read, failed.error)
        self._go_on(read)
        left, self._finished = tuple(self._finished), []
        failures, self._failed = tuple(self._failed), []
        return replace(done, finished=left, failed=failures)

    def _ended(self, finished: Finished) -> None:
        """A window is answered, or answers about answers are there."""
        document = self._documents.get(finished.id)
        if document is None:
            self._finished.append(finished)
        elif document.reduction is None:
            document.end_window(finished)
        else:
            document.reduction.keep(finished.answers)
            self._reduce(document, document.reduction)

    def _go_on(self, read: bool) -> None:
        """With the next window of documents that have one, to the end of others."""
        for document in [each for each in self._documents.values() if each.is_between]:
            feed = document.request.feed
            try:
                # In this order: what comes in between is not the end.
                ended, ready = feed.ended, feed.ready
            except Exception as error:  # whatever it is, it is this document's
                self._fail(document.request.id, 0, error)
                continue
            if document.so_far or (ended and not ready):
                document.is_between = False
                self._end(document)
            elif read and ready:
                document.is_between = False
                self._engine.submit(document.window())

    def _end(self, document: _Document) -> None:
        """All that will be read of it is answered."""
        windows = document.windows()
        document.request.feed.close()
        if len(windows) == 1:
            self._leave(document, windows[0].answers, ())
        elif self._reduces and not document.so_far:
            document.reduction = Reduction(self._texts, document.request.prompts, windows, document.most)
            self._reduce(document, document.reduction)
        else:
            self._leave(document, (), windows)

    def _reduce(self, document: _Document, reduction: Reduction) -> None:
        if (answers := reduction.answers()) is not None:
            self._leave(document, answers, document.windows())
            return
        try:
            prompts = reduction.prompts()
        except DocumentError as error:
            self._fail(document.request.id, 0, error)
            return
        # The answers are read as a part of the prompt: they are no tokens of the document.
        self._engine.submit(Request(document.request.id, ArrayFeed(NOTHING), prompts))

    def _leave(self, document: _Document, answers: tuple[Answer, ...], windows: tuple[AnsweredSection, ...]) -> None:
        request = document.request
        del self._documents[request.id]
        self._finished.append(
            Finished(request.id, document.start, answers, (), document.so_far, document.kept, windows=windows)
        )

    def _fail(self, id: Hashable, tokens_read: int, error: Exception) -> None:
        known = error if isinstance(error, LonghaulError) else unexpected(error)
        document = self._documents.pop(id, None)
        if document is not None:
            document.request.feed.close()
        self._failed.append(Failed(id, tokens_read + (document.start if document else 0), known))
