"""Answers about the windows of a document, put together: what a run writes, or what the model reads again."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

BETWEEN = "\n\n"


class Part(NamedTuple):
    """An answer about a range of a document."""

    start: int
    """Tokens of the document before the range."""
    end: int
    """Tokens of the document up to its end."""
    text: str


def joined(parts: Sequence[Part]) -> str:
    """The answers in their order, each under its range, which counts tokens from 1."""
    return BETWEEN.join(f"[Tokens {part.start + 1:,} to {part.end:,}]\n{part.text}" for part in parts)


def grouped(parts: Sequence[Part], fit: Callable[[Sequence[Part]], bool]) -> list[list[Part]]:
    """Neighbors that fit together; each alone where none do."""
    groups: list[list[Part]] = []
    for part in parts:
        if groups and fit([*groups[-1], part]):
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups
