"""An earlier attempt at a document, as the next one needs to know it."""

from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Begun:
    """An attempt that was begun, in this start of the run or an earlier one."""

    attempt: int
    """From 1."""
    actor_id: str
    node_id: str
    """Ray's, of the actor's node."""
    tokens_before: int
    """Which it did not need to read."""
    has_ended: bool
    """In good order: nobody died of it."""


BEGUN = pa.struct(
    [
        ("attempt", pa.int32()),
        ("actor_id", pa.string()),
        ("node_id", pa.string()),
        ("tokens_before", pa.int64()),
        ("has_ended", pa.bool_()),
    ]
)
