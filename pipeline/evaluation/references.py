"""Documents to evaluate on: JSON lines with `id`, `text`, a reference and a group."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from configs.errors import ConfigError
from pipeline.training.summarized import NUM_FOLDS, lines

GROUPS = ("group", "kind")
REFERENCES = ("references", "summaries", "reference", "summary")
LENGTHS = ((20_000, "under 20K"), (60_000, "20K to 60K"), (200_000, "60K to 200K"))
LONGEST = "200K and more"


@dataclass(frozen=True)
class Referenced:
    """A document and the summary that a person wrote: the first one, if there are several."""

    id: str
    group: str
    title: str
    text: str
    reference: str

    @property
    def length(self) -> str:
        """Which bucket of lengths it falls into, by characters."""
        return next((name for most, name in LENGTHS if len(self.text) < most), LONGEST)

    @property
    def fold(self) -> int:
        """Of ten, as in training."""
        return int(sha256(self.id.encode()).hexdigest(), 16) % NUM_FOLDS


def referenced(paths: Sequence[Path], largest_characters: int | None = None) -> Iterator[Referenced]:
    """The documents of JSON lines that have a reference. Raises ConfigError for lines without `id` and `text`."""
    for path in paths:
        for number, row in enumerate(lines(path), start=1):
            if not isinstance(row.get("id"), str) or not isinstance(row.get("text"), str):
                raise ConfigError(f"{path}, line {number}: `id` and `text` are needed, both strings.")
            reference = next((row[name] for name in REFERENCES if row.get(name)), None)
            if reference is None or (largest_characters is not None and len(row["text"]) > largest_characters):
                continue
            first = reference if isinstance(reference, str) else reference[0]
            group = next((str(row[name]) for name in GROUPS if row.get(name)), path.name.partition(".")[0])
            yield Referenced(row["id"], group, row.get("title") or "", row["text"], first)
