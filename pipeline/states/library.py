"""The states that an output keeps or has kept: the rows of the table `states` beside the objects that exist.

An object is identified by its path below OUTPUT/_states, so that an output may be moved or copied as a whole. Several
rows may name one object: the same content read again by the same model, for other prompts. The newest row counts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

from configs.errors import ConfigError
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.tables import Row
from pipeline.states.kept import FOLDER
from pipeline.storage import objects as storage
from pipeline.storage.listing import Listed

MAX_CANDIDATES = 10
ROWS = "SELECT * EXCLUDE (dt) FROM states ORDER BY created_at DESC, run_id DESC"
Status = Literal["kept", "expired", "removed"]
BY_USE: Sequence[Status] = ("kept", "expired", "removed")


@dataclass(frozen=True)
class KeptState:
    """A state that is kept, or was kept."""

    place: str
    """Path of its object below OUTPUT/_states."""
    row: Row
    """The newest row that names it."""
    found: Listed | None
    """Its object; None if it was removed."""
    status: Status
    """`kept`, `expired` (may be removed at any time, but still exists) or `removed`."""

    @property
    def document_id(self) -> str:
        return str(self.row["document_id"])

    @property
    def uri(self) -> str:
        """Where its object is, or was."""
        return self.found.uri if self.found else str(self.row["state_uri"])


class StateLibrary:
    """What an output holds at one moment; one listing tells which objects are there."""

    def __init__(self, output_uri: str) -> None:
        """Raises ConfigError if no run has written to the output, and StorageError."""
        self.now = datetime.now(UTC)
        self.warehouse = Warehouse(output_uri)
        self.output_uri = self.warehouse.uri
        self._rows = self.warehouse.rows(ROWS)
        objects = {place_of(entry.uri): entry for entry in storage.walk(storage.join(self.output_uri, FOLDER))}
        newest: dict[str, Row] = {}
        for row in self._rows:
            newest.setdefault(place_of(row["state_uri"]), row)
        self.states = tuple(self._state(place, row, objects.get(place)) for place, row in newest.items())
        """The newest first."""
        self.unnamed = tuple(entry for place, entry in objects.items() if place not in newest)
        """Objects that no row names."""

    def of_document(self, document_id: str) -> list[KeptState]:
        """States of the document with exactly this id. Raises ConfigError if there are none, naming similar ids."""
        found = [state for state in self.states if state.document_id == document_id]
        if not found:
            raise ConfigError(self._no_document(document_id))
        return found

    def like(self, text: str) -> list[KeptState]:
        """States of the document with this id, else of all whose ids contain the text. Raises ConfigError if there are
        none."""
        exactly = [state for state in self.states if state.document_id == text]
        found = exactly or [state for state in self.states if text and text in state.document_id]
        if not found:
            raise ConfigError(self._no_document(text))
        return found

    def find(self, text: str) -> KeptState:
        """The state named by a document's id, a URI, or a part of either; for a document the newest that still exists.

        Raises ConfigError if there is none, or more than one.
        """
        named = [state for state in self.states if state.document_id == text] or [
            state for state in self.states if text == state.row["state_uri"] or text.endswith(state.place)
        ]
        if named:
            return _most_useful(named)
        documents = {state.document_id for state in self.states if text in state.document_id}
        found = [_most_useful(state for state in self.states if state.document_id == each) for each in documents]
        found += [state for state in self.states if text in state.place and state.document_id not in documents]
        if len(found) != 1:
            raise ConfigError(self._not_one(text, found))
        return found[0]

    def lineage(self, state: KeptState) -> list[str]:
        """URIs of the states that it was resumed from, the last one first."""
        found: list[str] = []
        seen, place = {state.place}, state.place
        while (parent := self._parents.get(place)) is not None and place_of(parent) not in seen:
            found.append(parent)
            place = place_of(parent)
            seen.add(place)
        return found

    def names(self, run_id: str, place: str) -> bool:
        """Whether a row of this run names the object."""
        return (run_id, place) in self._named

    @cached_property
    def _parents(self) -> Mapping[str, str | None]:
        """Parents by path. A state that was read again from itself is not its own parent."""
        parents: dict[str, str | None] = {}
        for row in self._rows:
            place, parent = place_of(row["state_uri"]), row["parent_uri"]
            if parent is None or place_of(parent) != place:
                parents.setdefault(place, parent)
        return parents

    @cached_property
    def _named(self) -> set[tuple[str, str]]:
        return {(row["run_id"], place_of(row["state_uri"])) for row in self._rows}

    def _state(self, place: str, row: Row, found: Listed | None) -> KeptState:
        expired: Status = "expired" if row["expires_at"] <= self.now else "kept"
        return KeptState(place, row, found, expired if found else "removed")

    def _no_document(self, text: str) -> str:
        problem = f"{text!r}: no state of such a document is or was kept in {self.output_uri}"
        ids = sorted({state.document_id for state in self.states if text and text in state.document_id})
        return _with_candidates(f"{problem}; ids that hold this, of which one can be given:", ids) if ids else problem

    def _not_one(self, text: str, found: Sequence[KeptState]) -> str:
        if not found:
            return (
                f"{text}: no document and no state of that name in {self.output_uri}; `list --all` shows what there is"
            )
        names = [f"{state.document_id}  {state.place}" for state in found]
        return _with_candidates(f"{text}: {len(found)} states are meant by that; give more of one:", names)


def _with_candidates(problem: str, names: Sequence[str]) -> str:
    more = [f"and {len(names) - MAX_CANDIDATES} more"] if len(names) > MAX_CANDIDATES else []
    return "\n  ".join([problem, *names[:MAX_CANDIDATES], *more])


def newest_of_each(states: Iterable[KeptState]) -> list[KeptState]:
    """Of each document the first that is kept, of those that are given the newest first."""
    newest: dict[str, KeptState] = {}
    for state in states:
        if state.status == "kept":
            newest.setdefault(state.document_id, state)
    return list(newest.values())


def place_of(uri: str) -> str:
    """Of a state's object below the folder of states; the URI itself where it is elsewhere."""
    return uri.rpartition(f"/{FOLDER}/")[2]


def _most_useful(states: Iterable[KeptState]) -> KeptState:
    """Of those given the newest first, the newest that is there."""
    return min(states, key=lambda state: BY_USE.index(state.status))
