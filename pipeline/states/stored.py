"""A snapshot in storage: its object, and segments of what grows with the tokens."""

from dataclasses import replace
from typing import NamedTuple

from configs.errors import StateError
from pipeline.states import int8, segments, snapshot
from pipeline.states.segments import Segment
from pipeline.states.snapshot import Snapshot
from pipeline.storage import objects


class Stored(NamedTuple):
    """What storing a snapshot came to."""

    segments: tuple[Segment, ...]
    """That it now has."""
    num_bytes: int
    """That were written."""


def store(uri: str, taken: Snapshot, in_int8: bool = False) -> Stored:
    """Overwrite the snapshot of a document. Of what grows, the read state has what is new since `taken.segments`, which
    becomes a segment of its own before the object names it.

    Raises StorageError.
    """
    read_state = taken.read_state
    constant, growing = segments.parted(read_state.state)
    if in_int8:
        constant, growing = int8.packed(constant), int8.packed(growing)
    written = segments.append(uri, taken.segments, growing, read_state.since)
    whole = replace(read_state, state=constant, since=0)
    data = snapshot.to_bytes(replace(taken, read_state=whole, segments=written))
    objects.publish(uri, data)
    return Stored(written, len(data) + sum(segment.size_bytes for segment in written[len(taken.segments) :]))


def load(uri: str) -> Snapshot:
    """A snapshot or a kept state, whole. Raises StateError if it or a part of it is gone or damaged, and
    StorageError."""
    try:
        found = snapshot.from_bytes(objects.read_bytes(uri))
    except FileNotFoundError as error:
        raise StateError(f"The stored state does not exist any more: {uri}.") from error
    if not found.segments:
        return found
    state = {**found.read_state.state, **segments.joined(uri, found.segments)}
    return replace(found, read_state=replace(found.read_state, state=state))
