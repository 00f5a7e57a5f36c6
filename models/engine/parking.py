"""Which documents are in the backend's memory, and how much of it each may take.

Where memory grows with tokens, documents whose lengths nobody knows yet may come to more than there is. Then the
youngest is parked: its sequence is exported and closed, and goes on where it stood once there is room again. The oldest
is never parked while there are others, so that one document after the other comes to its end, and nothing is read
twice.
"""

from collections.abc import Sequence

from configs.errors import TooLargeError
from models.engine.backend import Backend, SavedState, grows
from models.engine.room import Room
from models.engine.slots import ActiveDocument, AnswerTry

TOO_LARGE = "The document and an answer need more memory than there is."


class Parking:
    """Makes room among the documents in the slots."""

    def __init__(
        self, backend: Backend, room: Room, documents: Sequence[ActiveDocument], tries: Sequence[AnswerTry]
    ) -> None:
        """`documents` and answers under way are those in the slots, the oldest first, as they come and go."""
        self._backend, self._room, self._documents, self._tries = backend, room, documents, tries
        self._waits = self._waited = False
        """Whether a document cannot go on until answers under way leave room; and whether one could not in the last
        pass."""

    @property
    def is_short(self) -> bool:
        """Whether documents in the slots wait for room."""
        return self._waited or any(document.parked is not None for document in self._documents)

    def resume(self) -> ActiveDocument | None:
        """Those that are parked go on, the oldest first, where there is room again. Returns one for which there is none
        though it has all to itself."""
        self._waited, self._waits = self._waits, False
        parked = [document for document in self._documents if document.parked is not None]
        for document in parked:
            soon = self._room.to_resume(document.request, document.granted)
            if not self._backend.room_for(soon):
                is_alone = len(parked) == len(self._documents) and document is parked[0] and not self._tries
                return document if is_alone else None
            document.handle = self._backend.open(document.granted, document.parked)
            document.parked = None
        return None

    def has_room(self, document: ActiveDocument, tokens: int) -> bool:
        """For so many tokens more of a document or of an answer to it, now that others are parked if need be; it may
        be parked itself. Raises TooLargeError where it has all to itself."""
        while not self._backend.room_for(tokens):
            if self._tries:
                # They leave room when they end, and their documents are not to be parked meanwhile.
                self._waits = True
                return False
            *others, youngest = [each for each in self._documents if each.parked is None]
            if not others:
                raise TooLargeError(TOO_LARGE)
            youngest.parked = self._backend.export(youngest.handle)
            self._backend.close(youngest.handle)
            if youngest is document:
                return False
        return True

    def may_come_to(self, document: ActiveDocument, tokens: int) -> bool:
        """Whether there is room for the document to have been read so far, of which it takes more if need be. Raises
        TooLargeError where it has all to itself."""
        missing = self._room.at(document.request, tokens) - document.granted
        if missing <= 0:
            return True
        generous = self._room.growth(document.request, document.granted, missing)
        if self._backend.room_for(generous):
            self._grant(document, generous)
        elif self.has_room(document, missing):
            self._grant(document, missing)
        else:
            return False
        return True

    def give_back(self, document: ActiveDocument, tokens: int) -> None:
        """What it was expected to come to beyond its end, which is there, is for others."""
        surplus = document.granted - self._room.at(document.request, tokens)
        if surplus > 0:
            self._grant(document, -surplus)

    def export(self, document: ActiveDocument, since: int) -> SavedState:
        """As `Backend.export`, of a document that may be parked."""
        if document.parked is None:
            return self._backend.export(document.handle, since)
        return {name: each[:, since:] if grows(name) else each for name, each in document.parked.items()}

    def close(self, document: ActiveDocument) -> None:
        """As `Backend.close`, of a document that may be parked."""
        if document.parked is None:
            self._backend.close(document.handle)

    def _grant(self, document: ActiveDocument, more: int) -> None:
        self._backend.extend(document.handle, more)
        document.granted += more
