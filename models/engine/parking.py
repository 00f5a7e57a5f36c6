"""Documents that wait on the host while the backend's memory has no room for them.

Where memory grows with tokens, documents whose lengths nobody knows yet may come to more than there is. Then the
youngest is parked: its sequence is exported and closed, and goes on where it stood once there is room again. The oldest
is never parked while there are others, so that one document after the other comes to its end, and nothing is read
twice.
"""

from collections.abc import Callable

from configs.errors import TooLargeError
from models.engine.backend import Backend
from models.engine.slots import ActiveDocument

TOO_LARGE = "The document and an answer need more memory than there is."


class Parking:
    """Makes room among the documents in the slots."""

    def __init__(self, backend: Backend, documents: list[ActiveDocument]) -> None:
        """`documents` are those in the slots, the oldest first, as they come and go."""
        self._backend, self._documents = backend, documents

    @property
    def is_empty(self) -> bool:
        """Whether no document is parked."""
        return all(document.parked is None for document in self._documents)

    def resume(self, need: Callable[[ActiveDocument], int]) -> None:
        """Those for which there is room again, the oldest first; `need` are the tokens that one may come to soon."""
        for document in [each for each in self._documents if each.parked is not None]:
            if not self._backend.room_for(need(document)):
                return
            document.handle = self._backend.open(document.granted, document.parked)
            document.parked = None

    def make_room(self, tokens: int, document: ActiveDocument) -> bool:
        """Whether there is room for so many tokens more, of the document or of an answer to it, once the youngest are
        parked; False where it is parked itself. None of them may have answers under way.

        Raises TooLargeError where there is none though it is alone.
        """
        while not self._backend.room_for(tokens):
            *others, youngest = [each for each in self._documents if each.parked is None]
            if not others:
                raise TooLargeError(TOO_LARGE)
            youngest.parked = self._backend.export(youngest.handle)
            self._backend.close(youngest.handle)
            if youngest is document:
                return False
        return True
