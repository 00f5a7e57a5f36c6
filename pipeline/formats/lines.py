"""How paragraphs, headings and rows of tables are written: each on a line of its own."""

from collections.abc import Iterable

DEEPEST = 6


def paragraph(text: str) -> str:
    """With a line end; empty if there is nothing to say."""
    line = " ".join(text.split())
    return line + "\n" if line else ""


def heading(level: int, text: str) -> str:
    """As in Markdown, with an empty line before it; empty if there is nothing to say."""
    line = paragraph(text)
    return "\n" + "#" * max(1, min(level, DEEPEST)) + " " + line if line else ""


def row(cells: Iterable[str]) -> str:
    """Cells apart, without the empty ones at the end; empty if all are."""
    texts = [" ".join(cell.split()) for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    return " | ".join(texts) + "\n" if texts else ""
