"""Documents with summaries that people wrote: JSON lines with `id`, `text` and `summary` or `summaries`."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from configs.errors import ConfigError, DocumentError, UnreadableError
from pipeline.documents import content
from pipeline.sentences.splitter import sentence_bounds

LARGEST_EXPANSION = 1000
"""Times that a compressed file may grow."""
NUM_FOLDS = 10
ITEM = re.compile(r"^\s*-\s+", re.MULTILINE)


def fold_of(identity: str) -> int:
    """Of a document, by its id: from 0 to 9, of which 0 is for validation."""
    return int(hashlib.sha256(identity.encode()).hexdigest(), 16) % NUM_FOLDS


@dataclass(frozen=True)
class Summarized:
    """One document and what people wrote about it."""

    id: str
    kind: str
    title: str
    text: str
    references: tuple[str, ...]

    @property
    def num_words(self) -> int:
        """Of the first reference."""
        return len(self.references[0].split())

    @property
    def fold(self) -> int:
        """From 0 to 9, of which 0 is for validation."""
        return fold_of(self.id)


@dataclass(frozen=True)
class Choice:
    """Which documents of a kind are learned from."""

    most: int
    least_characters: int = 0
    most_characters: int = 200_000
    least_words: int = 1
    """Of the summary."""


CHOICES = {
    "chapters": Choice(260, least_words=80),
    "specs": Choice(520, 9_000, least_words=25),
    "stories": Choice(100),
    "meetings": Choice(200, 9_000),
    "papers": Choice(80),
    "books": Choice(60, most_characters=700_000),
    "guides": Choice(25),
    "msdocs": Choice(80, 12_000),
}


OWN_SUMMARY = {"stories": "Summary", "papers": "Abstract", "specs": "Executive Summary"}
"""The heading of the summary at the front, by the kind that a document is made of."""
REPORTS, NEWS = "reports", "news"
NEWS_PER_LESSON = 3
"""Of so many that are made one is learned from: of more, the other kinds suffer."""


def lines(uri: Path | str) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines, compressed or not, on a disk or in a store. Raises ConfigError where it is
    none."""
    try:
        with content.open_document(str(uri), LARGEST_EXPANSION) as stored:
            for number, line in enumerate(stored, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ConfigError(
                        f"{uri}, line {number}: an object is needed, not {line.strip()[:40].decode(errors='replace')}"
                    )
                yield row
    except UnreadableError as error:
        raise ConfigError(f"{uri} cannot be read: {error}") from error
    except (ValueError, DocumentError, OSError) as error:
        raise ConfigError(f"{uri} is no file of JSON lines: {error}") from error


def documents(data: Path) -> list[Summarized]:
    """Of a folder laid out like shared/data/train: those to learn from, in an order that does not depend on the files'.

    Raises ConfigError where there is none.
    """
    by_kind: dict[str, list[Summarized]] = defaultdict(list)
    for path in sorted([*data.glob("*.jsonl"), *data.glob("*.jsonl.zst")]):
        for document in _of_file(path):
            by_kind[document.kind].append(document)
    chosen = [each for kind, found in sorted(by_kind.items()) for each in _choose(found, CHOICES[kind])]
    if not chosen:
        raise ConfigError(f"{data} holds no documents with summaries: give the folder of the JSON lines.")
    return chosen


def with_own_summaries(documents: Iterable[Summarized]) -> Iterator[Summarized]:
    """Made of those: documents that sum themselves up at the front, by turns as reports do, under a heading, and as
    news does, without. What stands there is another's summary of the same text if there is one, else every other
    sentence of the summary that is asked for."""
    for number, document in enumerate(each for each in documents if each.kind in OWN_SUMMARY):
        if len(document.references) > 1:
            front = document.references[1]
        else:
            sentences = [document.references[0][start:end] for start, end in sentence_bounds(document.references[0])]
            front = " ".join(" ".join(sentences[::2]).split())
        if number % 2:
            kind, text = NEWS, f"{document.title}\n\n{front}\n\n{document.text}"
        else:
            heading = OWN_SUMMARY[document.kind]
            kind, text = REPORTS, f"{document.title}\n\n# {heading}\n\n{front}\n\n# Introduction\n\n{document.text}"
        # Of the same fold as what it is made of: the fold follows from the name.
        yield replace(document, kind=kind, text=text)


def learned(documents: Sequence[Summarized]) -> list[Summarized]:
    """What is learned from: the documents, and some made of them whose front sums them up without saying so."""
    made = [each for each in with_own_summaries(documents) if each.kind == NEWS]
    return [*documents, *made[::NEWS_PER_LESSON]]


def about(documents: Iterable[Summarized]) -> dict[str, int]:
    """How many documents of each kind."""
    return dict(sorted(Counter(document.kind for document in documents).items()))


def write(documents: Iterable[Summarized], path: Path) -> None:
    """As JSON lines, whole chapters for instance, which the folder holds in sections."""
    with path.open("w", encoding="utf-8") as stored:
        for document in documents:
            row = {"id": document.id, "group": document.kind, "title": document.title, "text": document.text}
            stored.write(json.dumps(row | {"references": document.references}) + "\n")


def _choose(found: list[Summarized], choice: Choice) -> list[Summarized]:
    fitting = [
        document
        for document in found
        if choice.least_characters <= len(document.text) <= choice.most_characters
        and document.num_words >= choice.least_words
    ]
    return sorted(fitting, key=lambda document: hashlib.sha256(document.id.encode()).hexdigest())[: choice.most]


def _of_file(path: Path) -> Iterator[Summarized]:
    name = path.name.partition(".")[0]
    if name == "textbooks":
        yield from _chapters(lines(path))
        return
    for row in lines(path):
        kind = _kind(name, row)
        references = tuple(row.get("summaries") or [row["summary"]]) if row.get("summary") else ()
        if kind and references and not row.get("extractive"):
            yield Summarized(row["id"], kind, row.get("title") or "", row["text"], references)


def _kind(name: str, row: dict[str, Any]) -> str | None:
    """None for what is no pair of a document and its summary."""
    identity = row["id"]
    if name == "stories_meetings":
        whole = None if "/q" in identity else "meetings"
        return "stories" if identity.startswith("squality") else whole
    if name == "science":
        return None if identity.startswith("scitldr") else "papers"
    if name == "guides":
        return "guides" if identity.startswith("rust") else None
    return name if name in CHOICES else None


def _chapters(rows: Iterable[dict[str, Any]]) -> Iterator[Summarized]:
    """Sections of a textbook joined to chapters, and their summaries too."""
    chapters: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        chapters[row["group"]].append(row)
    for group, sections in chapters.items():
        sections.sort(key=lambda row: row["order"])
        text = "\n\n".join(f"# {row['title'].rsplit(' / ', 1)[-1]}\n\n{row['text']}" for row in sections)
        summary = "\n".join(row["summary"] for row in sections if row.get("summary"))
        title = sections[0]["title"].split(" / ")
        if summary:
            yield Summarized(
                group, "chapters", title[-2] if len(title) > 1 else title[0], text, (ITEM.sub("", summary),)
            )
