"""The header of a stored state: what it says of itself, read without its tensors."""

import json
from typing import Any

from configs.errors import StateError
from pipeline.storage import objects

FORMAT = "longhaul.snapshot.2"
LENGTH_BYTES = 8
"""Of a safetensors file, how long its header is, little-endian; then the header, then the tensors."""
MOST_HEADER_BYTES = 100_000_000
"""As safetensors itself has it; more is damage."""


def about(uri: str) -> dict[str, Any]:
    """What an object says of itself. Only its head is read, so that damage behind it is not noticed.

    Raises StateError where it is gone, damaged or of another format, StorageError.
    """
    try:
        with objects.open_read(uri) as stream:
            length = stream.read(LENGTH_BYTES)
            head = stream.read(min(int.from_bytes(length, "little"), MOST_HEADER_BYTES))
        return about_of(length + head)
    except FileNotFoundError as error:
        raise StateError(f"The stored state is not there any more: {uri}.") from error
    except (ValueError, AttributeError) as error:
        raise StateError(f"The stored state is damaged: {error}.") from error


def about_of(data: bytes) -> dict[str, Any]:
    """The metadata of an object, of which its first bytes suffice. Raises StateError for another format."""
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    header = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length])
    about: dict[str, Any] = json.loads(header.get("__metadata__", {}).get("longhaul", "{}"))
    if about.get("format") != FORMAT:
        raise StateError(
            f"This is no stored state of the format {FORMAT}, but {about.get('format', 'something else')}."
        )
    return about
