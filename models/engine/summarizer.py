"""What an actor needs of whatever reads and answers for it: a model in this process, or something else."""

from collections.abc import Hashable
from typing import Protocol

from models.engine.backend import Kernels
from models.engine.request import Pass, ReadState, Request


class Summarizer(Protocol):
    """Reads documents and answers prompts about them. `models.engine.engine.Engine` does, with a model in this process.

    Used by one thread.
    """

    @property
    def kernels(self) -> Kernels | None:
        """What runs its model; None where it has none."""

    @property
    def state_bytes(self) -> int:
        """Of one document's state, at its smallest."""

    def submit(self, request: Request) -> None:
        """Queue a document. It is admitted when there is room for it."""

    @property
    def busy(self) -> bool:
        """Whether a document is being read or asked about, or waits for its turn."""

    @property
    def in_slots(self) -> dict[Hashable, int]:
        """The documents that have been admitted, each with the tokens read of it, those before its start included."""

    def step(self, read: bool = True) -> Pass:
        """One pass. Without `read` no document is admitted or read further; answers under way are finished."""

    def window_start(self, id: Hashable) -> int:
        """Tokens of an admitted document before those of its sequence, where it is read in windows; else 0."""

    def read_state(self, id: Hashable, since: int = 0) -> ReadState | None:
        """A copy of an admitted document's state; None where it has no state to resume from just now. Of the arrays
        that grow with the tokens only what those of its sequence from `since` on have added."""

    def conclude(self, id: Hashable) -> None:
        """Ask about an admitted document what has been read of it so far, and read no more of it."""

    def withdraw(self, id: Hashable) -> None:
        """Forget a document, admitted or waiting, and its answers."""
