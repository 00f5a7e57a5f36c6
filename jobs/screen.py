"""Tables on a terminal or in a pipe. Text of documents is shown without control characters."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 120


def console() -> Console:
    """stdout at the terminal's width; a pipe gets lines of one width everywhere."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def table(title: str | None, names: Sequence[str], numbers: Iterable[str] = ()) -> Table:
    """An empty table; columns named in `numbers` are set flush right."""
    made = Table(
        title=title and plain(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, show_edge=False
    )
    right = set(numbers)
    for name in names:
        made.add_column(plain(name), justify="right" if name in right else "left", overflow="fold")
    return made


def plain(value: Any) -> Text:
    """A cell that shows `value` literally: no markup, on one line, nothing that could steer the terminal."""
    text = " ".join(str(value).split())
    return Text("".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text))


def shorten(text: str, limit: int) -> str:
    """The beginning of a text that is longer than `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
