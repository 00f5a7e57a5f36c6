"""What tests of formats share: a document read as a run reads it."""

from pathlib import Path

from configs.settings import InputSettings
from pipeline.formats import registry
from pipeline.formats.notes import Notes

CASES = Path(__file__).parents[4] / "shared" / "cases"


def read(name: str, data: bytes, **settings: object) -> tuple[str | None, list[str], list[str]]:
    """Title, lines that are not empty, and warnings."""
    chosen = InputSettings(sources=("unused",), **settings)
    notes = Notes()
    title, texts = registry.parse(registry.recognized(name, data), data, notes, chosen)
    lines = [line for line in "".join(texts).split("\n") if line.strip()]
    return title, lines, notes.warnings
