"""The tokens and title of a long document that an actor streams itself: a thread reads ahead.

The thread opens the document, extracts, cuts and tokenizes as a reader does, and pauses while enough tokens wait,
so that memory does not grow with the document. Thanks to canonical cuts, the tokens are those that a reader would make.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from threading import Condition, Thread

import numpy as np

from configs.errors import LonghaulError, StateError, TimeLimitError, unexpected
from configs.settings import InputSettings, SectionSettings
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.documents.extract import Extractor, Opened
from pipeline.documents.sections import Section, SectionFinder
from pipeline.documents.tokenize import START, Part, Passage, Position
from pipeline.formats import registry
from pipeline.formats.notes import Notes
from pipeline.formats.trail import Piece
from pipeline.schemas.document import Document

AHEAD_TOKENS = 65_536
TOO_SLOW = "Reading the document got no further for {seconds:g} s, the limit that input.max_document_seconds sets."


class TokenFeed:
    """A `models.engine.feed.Feed` for one consumer thread. Its own thread ends at the document's end, or some time
    after `close`: it may be waiting for the store."""

    def __init__(
        self,
        document: Document,
        settings: InputSettings,
        tokenizer: Tokenizer,
        on_change: Callable[[], None] = lambda: None,
        start: Position = START,
        skip: int = 0,
        ahead_tokens: int = AHEAD_TOKENS,
        sections: SectionSettings | None = None,
        found: Sequence[Section] = (),
        check_history: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Starts reading at once. `on_change` is called in the feed's thread when tokens are ready or the feed has
        ended.

        At most `ahead_tokens` and one more part wait to be taken; one more part is held back, to recognize the last
        one. `start` is the `position` of an earlier feed; the tokens are those after it, without the first `skip`.
        `found` are the sections up to `start`, from `sections.before`. With `check_history`, the document may have
        changed since: its text is read from the beginning, and no token is ready until it is verified that the text up
        to `start` is unchanged. The text of parsed documents is always verified. `clock` returns seconds.
        """
        assert not (check_history and skip), "tokens behind a cut may have changed, and there is no check of them"
        self._document, self._settings, self._tokenizer = document, settings, tokenizer
        self._on_change = on_change
        self._ahead_tokens = ahead_tokens
        self._start, self._check_history = start, check_history
        self._to_skip = skip
        self._waiting: deque[np.ndarray] = deque()
        self._ready = 0
        self._taken = start.tokens + skip
        self._position = start
        self._cuts: deque[Position] = deque()
        self._last_cut: int | None = None
        self._tail = np.empty(0, tokenize.TOKEN_DTYPE)
        self._finder = SectionFinder(sections, found) if sections else None
        self._section_ends: deque[int] = deque()
        self._num_sections = max(1, len(found))
        self._ended = self._closed = False
        self._clock, self._moved_at = clock, clock()
        """When the thread last made progress, or had a reason to wait."""
        self._title: str | None = None
        self._error: LonghaulError | None = None
        self.made_by = ""
        """What the text depends on, from `registry.makers`; set before the first token is ready."""
        self.format: str | None = None
        self.notes = Notes()
        """What reading from the start on has shown so far."""
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="token-feed", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> int:
        """Number of tokens that `take` can return at once.

        Raises a DocumentError or StorageError as soon as reading fails, even if tokens are left: the document will not
        be summarized, so no more time is spent on it. Raises StateError if the document up to the start has changed,
        TimeLimitError if the thread makes no progress.
        """
        with self._changed:
            if self._error is None and self._hangs():
                seconds = self._settings.max_document_seconds
                self._error, self._ended = TimeLimitError(TOO_SLOW.format(seconds=seconds)), True
            if self._error is not None:
                raise self._error
            return self._ready

    @property
    def ended(self) -> bool:
        """Whether no tokens beyond the ready ones will come."""
        with self._changed:
            return self._ended

    @property
    def section_end(self) -> int | None:
        """Number of ready tokens up to the end of a section; None if no section ends among them."""
        with self._changed:
            end = self._section_ends[0] - self._taken if self._section_ends else None
            return end if end is not None and end <= self._ready else None

    @property
    def last_cut(self) -> int | None:
        """As `Feed.last_cut`."""
        with self._changed:
            return None if self._last_cut is None or self._last_cut < self._taken else self._last_cut - self._taken

    @property
    def tail(self) -> np.ndarray:
        """The tokens (N,) int32 from the document's last cut to its end; empty until it is known."""
        with self._changed:
            return self._tail

    @property
    def sections(self) -> Sequence[Section]:
        """The sections found so far; all of them once the document is read."""
        return self._finder.sections if self._finder else ()

    @property
    def title(self) -> str | None:
        """The document's title, once its first words are read; None if the feed starts after them."""
        return self._title

    def take(self, count: int) -> np.ndarray:
        """The next `count` tokens (count,) int32, at most `ready` of them."""
        with self._changed:
            assert count <= self._ready, f"{count} of {self._ready} tokens"
            if self._is_full():
                self._moved_at = self._clock()
            self._ready -= count
            self._taken += count
            taken = list(self._take(count))
            self._pass()
            self._changed.notify()
        return np.concatenate(taken) if taken else np.empty(0, tokenize.TOKEN_DTYPE)

    def position(self) -> Position:
        """The last canonical cut before which all tokens were taken, for a feed that resumes from there.

        The end of a document is not a cut: if the document grows, the tokens after its last cut may change.
        """
        with self._changed:
            return self._position

    def close(self) -> None:
        """Drop the feed. Returns at once; what the thread still reads is discarded."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._ready = 0
            self._changed.notify()

    def _is_full(self) -> bool:
        return self._ready >= self._ahead_tokens

    def _hangs(self) -> bool:
        still = self._clock() - self._moved_at
        return not (self._ended or self._closed or self._is_full()) and still > self._settings.max_document_seconds

    def _take(self, count: int) -> Iterator[np.ndarray]:
        while count:
            first = self._waiting.popleft()
            if len(first) > count:
                self._waiting.appendleft(first[count:])
                first = first[:count]
            count -= len(first)
            yield first

    def _run(self) -> None:
        error: LonghaulError | None = None
        try:
            self._read()
        except LonghaulError as caught:
            error = caught
        except BaseException as caught:  # whatever it is, the one who waits for tokens must hear of it
            error = unexpected(caught)
        with self._changed:
            # The consumer that was told of a time limit has already given up.
            is_wanted = not (self._closed or self._ended)
            if is_wanted:
                self._error, self._ended = error, True
        if is_wanted:
            self._on_change()

    def _read(self) -> None:
        with closing(Extractor(self._settings).open(self._document)) as opened:
            self.format, self.notes = opened.format, opened.notes
            self.made_by = registry.made_by(opened.kind, self._settings)
            # An offset in a parser's output means nothing for another parser, or another field.
            is_parsed = opened.kind != registry.TEXT
            check_history = self._check_history or (is_parsed and self._start.parts > 0)
            start = START if check_history else self._start
            texts = tokenize.passages(self._moving(self._pieces(opened, start)), start)
            if self._put_all(self._after_history(texts) if check_history else texts) and self._to_skip:
                raise StateError(f"The document ends {self._to_skip} tokens before the position of its state.")

    def _put_all(self, texts: Iterator[Passage]) -> bool:
        """False if the feed is closed."""
        most = self._settings.max_document_tokens
        held: Part | None = None
        for part in tokenize.parts(texts, self._tokenizer, self._finder, self._start.tokens, most):
            # Only now is it certain that the previous part was not the last.
            if held is not None and not self._put(held):
                return False
            held = part
        # If nothing is new, the document ends at the cut that it was read up to.
        return self._put(held or Part(self._tail, self._start), is_last=True)

    def _pieces(self, opened: Opened, start: Position) -> Iterator[Piece]:
        """The text from `start` on; sets the title if that is the document's beginning."""
        if start != START:
            return opened.pieces(start.offset, start.encoding)
        extracted = opened.read()
        self._title = extracted.title
        return extracted.pieces

    def _moving(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            self._moved_at = self._clock()
            yield piece

    def _after_history(self, texts: Iterator[Passage]) -> Iterator[Passage]:
        """The passages from the start on, once it is verified that those before are unchanged."""
        last: Passage | None = None
        for passage in islice(texts, self._start.parts):
            last = passage
            if self._closed:
                return
        num_parts = last.parts + 1 if last else 0
        if num_parts < self._start.parts:
            raise StateError(
                "The document's history has changed since its state was kept: it has become shorter "
                f"({num_parts} parts of some {tokenize.PART_CHARS} characters, where there were {self._start.parts})."
            )
        if (tokenize.chained(last.digest, last.text) if last else "") != self._start.digest:
            raise StateError(
                "The document's history has changed since its state was kept: its text differs within the first "
                f"{self._start.tokens} tokens ({self._start.parts} parts)."
            )
        yield from texts

    def _put(self, part: Part, is_last: bool = False) -> bool:
        """Append a part once there is room. False if the feed is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._is_full())
            if self._closed or self._ended:
                return False
            self._moved_at = self._clock()
            if part.start is not None:
                self._cuts.append(part.start)
                if is_last and part.start.tokens:
                    self._last_cut, self._tail = part.start.tokens, part.tokens
            skipped = min(self._to_skip, len(part.tokens))
            self._to_skip -= skipped
            self._waiting.append(part.tokens[skipped:])
            self._ready += len(part.tokens) - skipped
            if self._finder:
                self._section_ends.extend(section.start for section in self._finder.sections[self._num_sections :])
                self._num_sections = len(self._finder.sections)
            self._pass()
        self._on_change()
        return True

    def _pass(self) -> None:
        """Drop cuts and section ends before the next token."""
        while self._cuts and self._cuts[0].tokens <= self._taken:
            self._position = self._cuts.popleft()
        while self._section_ends and self._section_ends[0] <= self._taken:
            self._section_ends.popleft()
