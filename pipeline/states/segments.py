"""What each token adds to a state, stored once: a snapshot adds a segment of what is new, and names those before it.

SNAPSHOT/START-STOP-CONTENT.safetensors, beside SNAPSHOT.safetensors: the arrays that grow, of the sequence's tokens
from START on and before STOP. A segment is written before the snapshot that names it. Its name tells its content, so
that of two actors that take each other for dead neither overwrites what the other's snapshot names. What no snapshot
names any more goes with the document's snapshot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from configs.errors import StateError
from models.engine.backend import SavedState, grows
from pipeline.states import int8
from pipeline.storage import objects

SUFFIX = ".safetensors"
NAMED_BY = 16
"""Digits of its checksum that a segment is named by."""


@dataclass(frozen=True)
class Segment:
    """One object, as snapshots name it."""

    start: int
    """Tokens of the sequence before it."""
    stop: int
    """Tokens of the sequence up to its end."""
    size_bytes: int
    checksum: str
    """SHA-256 of the object."""

    def uri(self, snapshot_uri: str) -> str:
        """Beside a snapshot that names it."""
        name = f"{self.start:010d}-{self.stop:010d}-{self.checksum[:NAMED_BY]}{SUFFIX}"
        return objects.join(snapshot_uri.removesuffix(SUFFIX), name)


def parted(state: SavedState) -> tuple[SavedState, SavedState]:
    """What is of constant size, and what grows."""
    constant = {name: array for name, array in state.items() if not grows(name)}
    return constant, {name: array for name, array in state.items() if grows(name)}


def append(snapshot_uri: str, before: Sequence[Segment], growing: SavedState, since: int) -> tuple[Segment, ...]:
    """Store what the tokens from `since` on have added, behind the segments `before`; nothing where nothing is new.

    Returns all segments. Raises StorageError.
    """
    stop = since + max((array.shape[1] for array in growing.values()), default=0)
    if stop == since:
        return tuple(before)
    assert since == (before[-1].stop if before else 0), "nothing is left out between two segments"
    data = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in growing.items()})
    segment = Segment(since, stop, len(data), sha256(data).hexdigest())
    objects.publish(segment.uri(snapshot_uri), data)
    return *before, segment


def joined(snapshot_uri: str, segments: Sequence[Segment]) -> SavedState:
    """The arrays whole, in memory for them and one segment. Raises StateError where one is missing, damaged or not
    where the one before ends, and StorageError."""
    whole: dict[str, np.ndarray] = {}
    end = 0
    for segment in segments:
        if segment.start != end:
            raise StateError(f"The stored state lacks its tokens from {end} to {segment.start}.")
        end = segment.stop
        for name, array in _read(segment, snapshot_uri).items():
            if name not in whole:
                shape = list(array.shape)
                shape[1] = segments[-1].stop
                whole[name] = np.empty(shape, array.dtype)
            whole[name][:, segment.start : segment.stop] = array
    return whole


def _read(segment: Segment, snapshot_uri: str) -> SavedState:
    uri = segment.uri(snapshot_uri)
    try:
        data = objects.read_bytes(uri)
    except FileNotFoundError as error:
        raise StateError(f"A segment of the stored state does not exist any more: {uri}.") from error
    if sha256(data).hexdigest() != segment.checksum:
        raise StateError(f"A segment of the stored state is damaged: {uri}.")
    try:
        return int8.unpacked(safetensors.numpy.load(data))
    except SafetensorError as error:
        raise StateError(f"A segment of the stored state is damaged: {uri} ({error}).") from error
