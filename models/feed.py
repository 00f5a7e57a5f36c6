"""Where the tokens of a document come from: all at once, or while it is being read."""

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

    def take(self, count: int) -> np.ndarray:
        """The next `count` tokens (count,) int32, at most `ready` of them."""

    def close(self) -> None:
        """Nobody will ask again."""


class ArrayFeed:
    """Tokens that are all there."""

    def __init__(self, tokens: np.ndarray) -> None:
        """tokens (L,) int."""
        self._tokens = tokens

    @property
    def ready(self) -> int:
        return len(self._tokens)

    @property
    def ended(self) -> bool:
        return True

    def take(self, count: int) -> np.ndarray:
        taken, self._tokens = self._tokens[:count], self._tokens[count:]
        return taken

    def close(self) -> None:
        pass
