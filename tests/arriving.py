"""A document that arrives while it is being read."""

import numpy as np

from models.engine.feed import ArrayFeed


class Arriving(ArrayFeed):
    """Tokens that arrive `at_once` at a time, so that the length is not known before the end."""

    def __init__(self, tokens: np.ndarray, at_once: int, start: int = 0, section_ends: tuple[int, ...] = ()) -> None:
        super().__init__(tokens, section_ends, start=start)
        self._at_once, self._arrived = at_once, start

    @property
    def ready(self) -> int:
        self._arrived = min(self._arrived + self._at_once, self._taken + super().ready)
        return self._arrived - self._taken

    @property
    def ended(self) -> bool:
        return self._arrived == self._taken + super().ready
