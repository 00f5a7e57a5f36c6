"""Where the tokens of a document come from: all at once, or while it is being read."""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np


class Feed(Protocol):
    """Tokens of one document, in order, some of which may still be on their way. Asked by the engine's thread alone."""

    @property
    def ready(self) -> int:
        """Tokens that `take` can give at once. Raises the DocumentError with which the document breaks off."""

    @property
    def ended(self) -> bool:
        """Whether no more than the ready ones will come."""

    @property
    def section_end(self) -> int | None:
        """Ready tokens up to the end of a section, at least one; None where no section ends among them.

        The last section ends with the document; a feed need not say so.
        """

    @property
    def last_cut(self) -> int | None:
        """Ready tokens up to the document's last canonical cut, 0 if that is where it stands; None while it is not
        known, where it is passed and where there is none.

        It is known before any token behind it is ready.
        """

    def take(self, count: int) -> np.ndarray:
        """The next `count` tokens (count,) int32, at most `ready` of them."""

    def close(self) -> None:
        """Nobody will ask again."""


class ArrayFeed:
    """Tokens that are all there."""

    def __init__(
        self, tokens: np.ndarray, section_ends: Sequence[int] = (), last_cut: int | None = None, start: int = 0
    ) -> None:
        """tokens (L,) int, of which the first `start` are not given out; section_ends, ascending: how many of `tokens`
        there are up to the end of each section; last_cut: how many up to the last canonical cut."""
        self._tokens, self._section_ends = tokens[start:], deque(section_ends)
        self._last_cut = last_cut
        self._taken = start

    @property
    def ready(self) -> int:
        return len(self._tokens)

    @property
    def ended(self) -> bool:
        return True

    @property
    def section_end(self) -> int | None:
        while self._section_ends and self._section_ends[0] <= self._taken:
            self._section_ends.popleft()
        return self._section_ends[0] - self._taken if self._section_ends else None

    @property
    def last_cut(self) -> int | None:
        return None if self._last_cut is None or self._last_cut < self._taken else self._last_cut - self._taken

    def take(self, count: int) -> np.ndarray:
        """As `Feed.take`."""
        self._taken += count
        taken, self._tokens = self._tokens[:count], self._tokens[count:]
        return taken

    def close(self) -> None:
        """Nothing to release."""
        pass
