"""Documents to evaluate on: JSON lines with `id`, `text`, a reference and a group."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import structlog

from configs.errors import ConfigError
from pipeline.formats.encoding import without_surrogates
from pipeline.training.summarized import fold_of, lines

log = structlog.get_logger()

GROUPS = ("group", "kind")
REFERENCES = ("references", "summaries", "reference", "summary")
LENGTHS = ((20_000, "under 20K"), (60_000, "20K to 60K"), (200_000, "60K to 200K"))
LONGEST = "200K and more"
LENGTH_NAMES = (*(name for _, name in LENGTHS), LONGEST)


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
        return fold_of(self.id)


def referenced(uris: Sequence[str], largest_characters: int | None = None) -> Iterator[Referenced]:
    """The documents of JSON lines that have a reference, of files on a disk or in a store; the log counts the others.

    Raises ConfigError for a file of anything else, and for lines without `id` and `text`.
    """
    for uri in uris:
        without = too_large = 0
        for number, row in enumerate(lines(uri), start=1):
            document = _document(row, uri, number)
            if document is None:
                without += 1
            elif largest_characters is not None and len(document.text) > largest_characters:
                too_large += 1
            else:
                yield document
        if without or too_large:
            log.info("documents_left_out", uri=uri, without_reference=without, too_large=too_large)


def _document(row: Mapping[str, Any], uri: str, number: int) -> Referenced | None:
    """None where it has no reference."""
    identity = row.get("id")
    if not isinstance(identity, str | int) or not isinstance(row.get("text"), str):
        raise ConfigError(f"{uri}, line {number}: `id` and `text` are needed, `text` as a string.")
    found = next((row[name] for name in REFERENCES if row.get(name)), None)
    references = found if isinstance(found, list) else [found or ""]
    if not all(isinstance(each, str) for each in references):
        raise ConfigError(f"{uri}, line {number}: a reference is a string, or a list of strings.")
    reference = next((each for each in references if each.strip()), None)
    if reference is None:
        return None
    group = next(
        (str(row[name]) for name in GROUPS if row.get(name) is not None), PurePosixPath(uri).name.partition(".")[0]
    )
    # JSON can hold half of a surrogate pair, which is no text.
    text, title, reference = map(without_surrogates, (row["text"], str(row.get("title") or ""), reference))
    return Referenced(str(identity), group, title, text, reference)
