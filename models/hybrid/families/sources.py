"""Which published tensors make up one of ours."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Names = Mapping[str, "str | Pieces"]
"""Our names, of a tensor or of all that a module holds, and the published ones that stand for them."""


class Pieces(NamedTuple):
    """Published tensors that lie one after another along our rows."""

    names: tuple[str, ...]
    rows: tuple[int, ...]
    """Of each."""


class Source(NamedTuple):
    """A published tensor, whole or part of one of ours."""

    name: str
    shape: tuple[int, ...]


def sources(names: Names, ours: str, shape: tuple[int, ...]) -> list[Source]:
    """What our tensor of that name and shape consists of, in order."""
    prefix = next(prefix for prefix in _prefixes(ours) if prefix in names)
    rest, published = ours[len(prefix) :], names[prefix]
    if isinstance(published, str):
        return [Source(published + rest, shape)]
    return [
        Source(name + rest, (rows, *shape[-1:]) if len(shape) > 1 else (rows,))
        for name, rows in zip(*published, strict=True)
    ]


def _prefixes(name: str) -> Iterable[str]:
    """The name and the modules around it, from within."""
    while name:
        yield name
        name = name.rpartition(".")[0]
