"""The header of a stored state: what it says of itself, read without its tensors."""

import json
from typing import Any

from configs.errors import StateError
from pipeline.storage import objects

FORMAT = "longhaul.snapshot.2"
SEGMENTED = "longhaul.snapshot.3"
"""The same, of a state that has segments beside it, is of a window, or in int8: who does not know of those must not
resume from it."""
LENGTH_BYTES = 8
"""Bytes at the start of a safetensors file that hold the header's length, little-endian. The header follows, then the
tensors."""
MOST_HEADER_BYTES = 100_000_000
"""The limit of safetensors itself; a longer header means that the file is damaged."""


def about(uri: str) -> dict[str, Any]:
    """The metadata of a stored state. Reads the header only, so that damaged tensors go unnoticed.

    Raises StateError if the object is missing, damaged or of another format, and StorageError.
    """
    try:
        with objects.open_read(uri) as stream:
            length = stream.read(LENGTH_BYTES)
            head = stream.read(min(int.from_bytes(length, "little"), MOST_HEADER_BYTES))
        return about_of(length + head)
    except FileNotFoundError as error:
        raise StateError(f"The stored state does not exist any more: {uri}.") from error
    except (ValueError, AttributeError) as error:
        raise StateError(f"The stored state is damaged: {error}.") from error


def about_of(data: bytes) -> dict[str, Any]:
    """The metadata of a stored state from the object's first bytes. Raises StateError for another format."""
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    header = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length])
    about: dict[str, Any] = json.loads(header.get("__metadata__", {}).get("longhaul", "{}"))
    if about.get("format") not in (FORMAT, SEGMENTED):
        found = about.get("format", "something else")
        raise StateError(f"This is not a stored state of the format {FORMAT} or {SEGMENTED}, but {found}.")
    return about
