"""The tokens of a document that an actor reads itself, because it is too long to travel: a thread reads ahead.

The thread opens the document, extracts, cuts and tokenises as a reader does, and stops when enough tokens wait, so that
memory does not grow with the document. Canonical cuts make the tokens those that a reader would have made.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from threading import Condition, Thread

import numpy as np

from configs.settings import InputSettings, SectionSettings
from models.tokenizer import Tokenizer
from pipeline import tokenise
from pipeline.documents import Document
from pipeline.encoding import Piece
from pipeline.extract import Extractor
from pipeline.sections import Section, SectionFinder

AHEAD_TOKENS = 65_536


@dataclass(frozen=True)
class Position:
    """A canonical cut of a document: what to read it on from."""

    tokens: int = 0
    """Before the cut, the begin token among them."""
    offset: int = 0
    """Of the cut in the decompressed content, in bytes; in characters of the text for what is parsed whole."""
    encoding: str | None = None
    """Of the bytes before the cut, None where all of them are ASCII."""


@dataclass(frozen=True)
class _Cut:
    """A `Position`, not yet computed."""

    tokens: int
    piece: Piece
    place: int


class TokenFeed:
    """A `models.feed.Feed`. One thread takes from it; its own thread ends when the document does, or at `close`."""

    def __init__(
        self,
        document: Document,
        settings: InputSettings,
        tokenizer: Tokenizer,
        on_change: Callable[[], None] = lambda: None,
        start: Position = Position(),
        ahead_tokens: int = AHEAD_TOKENS,
        sections: SectionSettings | None = None,
    ) -> None:
        """Begins to read at once. `on_change` is called in the feed's thread when tokens have come, or an end.

        At most `ahead_tokens` and those of one more part wait to be taken. `start` is what `position` said of an
        earlier feed; the tokens are those after it.
        """
        self._document, self._settings, self._tokenizer = document, settings, tokenizer
        self._on_change = on_change
        self._ahead_tokens = ahead_tokens
        self._start = start
        self._waiting: deque[np.ndarray] = deque()
        self._ready = 0
        self._taken = start.tokens
        self._cuts: deque[_Cut] = deque()
        self._finder = SectionFinder(sections) if sections else None
        self._section_ends: list[int] = []
        self._last_cut: _Cut | None = None
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._changed = Condition()
        self._thread = Thread(target=self._run, name="token-feed", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> int:
        """Tokens that `take` can give at once.

        Raises the DocumentError with which the document breaks off, or StorageError, as soon as it is known: what was
        read before it will never be summarised, so no more time goes to it.
        """
        with self._changed:
            if self._error is not None:
                raise self._error
            return self._ready

    @property
    def ended(self) -> bool:
        """Whether no more than the ready ones will come."""
        with self._changed:
            return self._ended

    @property
    def section_end(self) -> int | None:
        """Ready tokens up to the end of a section; None where no section ends among them, or none are looked for."""
        with self._changed:
            ends = (end - self._taken for end in self._section_ends)
            end = next((left for left in ends if left > 0), None)
            return end if end is not None and end <= self._ready else None

    @property
    def sections(self) -> Sequence[Section]:
        """Those found so far; all of them once the document is read."""
        return self._finder.sections if self._finder else ()

    def take(self, count: int) -> np.ndarray:
        """The next `count` tokens (count,) int32, at most `ready` of them."""
        with self._changed:
            assert count <= self._ready, f"{count} of {self._ready} tokens"
            self._ready -= count
            self._taken += count
            taken = list(self._take(count))
            while self._cuts and self._cuts[0].tokens <= self._taken:
                self._last_cut = self._cuts.popleft()
            self._changed.notify()
        return np.concatenate(taken) if taken else np.empty(0, tokenise.TOKEN_DTYPE)

    def position(self) -> Position:
        """The last canonical cut before which all tokens are taken, for a feed that goes on from there.

        The end of a document is none: a document that grows may change the tokens after its last cut.
        """
        with self._changed:
            cut = self._last_cut
        return self._start if cut is None else Position(cut.tokens, cut.piece.offset_at(cut.place), cut.piece.encoding)

    def close(self) -> None:
        """Nobody will ask again. Returns when the thread has ended; a read under way is waited for."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._ready = 0
            self._changed.notify()
        self._thread.join()

    def _take(self, count: int) -> Iterator[np.ndarray]:
        while count:
            first = self._waiting.popleft()
            if len(first) > count:
                self._waiting.appendleft(first[count:])
                first = first[:count]
            count -= len(first)
            yield first

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self._read()
        except BaseException as caught:  # whatever it is, the one who waits for tokens must hear of it
            error = caught
        with self._changed:
            self._error, self._ended = error, True
            closed = self._closed
        if not closed:
            self._on_change()

    def _read(self) -> None:
        start = self._start
        if not start.tokens:
            self._put(tokenise.begin(self._tokenizer), None)
        pieces = Extractor(self._settings).pieces(self._document, start.offset, start.encoding)
        trail = _Trail()
        with closing(pieces):
            count = max(start.tokens, 1)
            cut: _Cut | None = None
            for part in tokenise.cut(trail.follow(pieces)):
                tokens = tokenise.encode(part, self._tokenizer, count, self._finder)
                # Only now is it sure that the text goes on after the part before.
                if not self._put(tokens, cut):
                    return
                count += len(tokens)
                piece, place = trail.after(len(part))
                cut = _Cut(count, piece, place) if piece.is_exact else None

    def _put(self, tokens: np.ndarray, cut: _Cut | None) -> bool:
        """Append tokens, which begin at `cut`, once there is room. False when the feed is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ready < self._ahead_tokens)
            if self._closed:
                return False
            if cut is not None:
                self._cuts.append(cut)
            self._waiting.append(tokens)
            self._ready += len(tokens)
            if self._finder:
                self._section_ends = [section.start for section in self._finder.sections[1:]]
        self._on_change()
        return True


class _Trail:
    """Follows pieces of text on their way to the cutter, which forgets where each stood."""

    def __init__(self) -> None:
        self._pieces: deque[Piece] = deque()
        self._place = 0

    def follow(self, pieces: Iterable[Piece]) -> Iterator[str]:
        for piece in pieces:
            self._pieces.append(piece)
            yield piece.text

    def after(self, chars: int) -> tuple[Piece, int]:
        """So many characters on: in which piece, and where there."""
        self._place += chars
        while self._place > len(self._pieces[0].text):
            self._place -= len(self._pieces.popleft().text)
        return self._pieces[0], self._place
