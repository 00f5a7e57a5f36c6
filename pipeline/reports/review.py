"""What a person needs who signs off a batch: documents with their key sentences and answers, and where these are from.

Of the view `latest` alone: what counts today.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from configs.errors import ConfigError
from pipeline.reports import source_texts
from pipeline.reports.source_texts import Key, Passage, SourceText, Span
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.tables import Row

EXTRACT = "extract"
MOVED = "some sentences are not at their places: the text is extracted in another way today"


@dataclass(frozen=True)
class Sentence:
    """A sentence of a document, and its place in bytes of the extracted text."""

    start: int
    end: int
    section: str | None
    score: float | None
    text: str
    """As an extract shows it: on one line, with who says it."""
    passage: Passage | None
    """None where the document could not be read again."""


@dataclass(frozen=True)
class Citation:
    """A sentence of an answer, in bytes of the answer, and what supports it."""

    start: int
    end: int
    source: Sentence


@dataclass(frozen=True)
class Entry:
    """An extract or an answer."""

    prompt: str
    is_extract: bool
    model: str | None
    text: str
    problem: str | None
    """Why it is not to be used."""
    sentences: Sequence[Sentence]
    """Of an extract."""
    citations: Sequence[Citation]
    """Of an answer."""
    unsupported: Sequence[str] | None
    """Numbers and names that the document does not hold; None where they were not looked for."""


@dataclass(frozen=True)
class Section:
    """What was written about a section."""

    title: str | None
    start: int | None
    """In tokens."""
    end: int | None
    entries: Sequence[Entry]


@dataclass(frozen=True)
class Reviewed:
    """A document."""

    document_id: str
    source_uri: str
    title: str
    format: str | None
    tokens: int | None
    num_bytes: int | None
    """Of its text as UTF-8; None where it was not read again."""
    cost: Decimal | None
    """All that the run cost shared out, as far as it is known."""
    currency: str
    is_partial: bool
    """Whether these are summaries so far."""
    finished_at: datetime | None
    run_ids: Sequence[str]
    notices: Sequence[str]
    """What may be wrong with its text."""
    note: str | None
    """Why paragraphs are missing, as a part of a sentence."""
    entries: Sequence[Entry]
    """Of the whole, extracts first."""
    sections: Sequence[Section]

    @property
    def all_entries(self) -> list[Entry]:
        return [*self.entries, *(entry for section in self.sections for entry in section.entries)]

    @property
    def warnings(self) -> int:
        """Of reading, and answers that are not to be used. That a section has no sentence for an extract is none."""
        answers = [entry for entry in self.all_entries if not entry.is_extract]
        whole = [entry for entry in self.entries if entry.is_extract]
        return len(self.notices) + sum(entry.problem is not None for entry in [*whole, *answers])

    @property
    def unsupported(self) -> int | None:
        """None where it was looked for in no answer."""
        found = [len(entry.unsupported) for entry in self.all_entries if entry.unsupported is not None]
        return sum(found) if found else None


@dataclass(frozen=True)
class Review:
    """A batch."""

    output: str
    where: str | None
    made_at: datetime
    num_matching: int
    """Documents, those over the limit included."""
    num_without: int
    """Documents of the last listing without a row."""
    documents: Sequence[Reviewed]


MATCHING = """
    CREATE OR REPLACE TEMP TABLE matching AS
    SELECT document_id, coalesce(sum(len(unsupported)), 0) AS unsupported,
           coalesce(max(len(warnings)), 0)
           + count(answer_error) FILTER (section_index IS NULL OR kind IS DISTINCT FROM 'extract') AS warnings
    FROM latest SEMI JOIN (SELECT DISTINCT document_id FROM latest WHERE ({where}
    )) USING (document_id) GROUP BY document_id
"""
ROWS = """
    SELECT latest.* FROM latest
    JOIN (SELECT * FROM matching ORDER BY unsupported DESC, warnings DESC, document_id LIMIT $most) AS chosen
    USING (document_id)
    ORDER BY chosen.unsupported DESC, chosen.warnings DESC, document_id, section_index NULLS FIRST,
             kind = 'extract' DESC NULLS LAST, prompt_id
"""
COUNTS = """
    SELECT (SELECT count(*) FROM matching) AS num_matching,
           (SELECT count(*) FROM listing ANTI JOIN latest USING (document_id)) AS num_without
"""


def review(warehouse: Warehouse, where: str | None = None, most: int = 200) -> Review:
    """The documents of which a row of `latest` fulfills `where`, those first in which there is most to check: of
    `most` of them.

    Raises ConfigError for wrong SQL, StorageError.
    """
    try:
        warehouse.sql(MATCHING.format(where=where or "true"))
    except ConfigError as error:
        if where is None:
            raise
        raise ConfigError(f"--where {where}: {error}") from error
    rows = warehouse.rows(ROWS, most=most)
    texts = source_texts.read(warehouse, rows, _spans(rows))
    documents = [_reviewed(list(its), texts) for _, its in groupby(rows, lambda row: row["document_id"])]
    return Review(warehouse.uri, where, datetime.now(UTC), documents=documents, **warehouse.rows(COUNTS)[0])


def _spans(rows: Iterable[Row]) -> dict[Key, set[Span]]:
    """What is to be read again, of documents with any."""
    spans: dict[Key, set[Span]] = defaultdict(set)
    for row in rows:
        for place in (*(row["sentences"] or ()), *(row["citations"] or ())):
            spans[row["run_id"], row["document_id"]].add((place["start"], place["end"]))
    return spans


def _reviewed(rows: Sequence[Row], texts: Mapping[Key, SourceText]) -> Reviewed:
    """A document, of all of its rows."""
    newest = max(rows, key=lambda row: (row["finished_at"] or datetime.min.replace(tzinfo=UTC), row["run_id"]))
    its = [texts[key] for key in {(row["run_id"], row["document_id"]) for row in rows} if key in texts]
    entries = [(row["section_index"], _entry(row, texts)) for row in rows]
    costs = [
        cost for row in rows if (cost := row["cost"] if row["full_cost"] is None else row["full_cost"]) is not None
    ]
    return Reviewed(
        document_id=newest["document_id"],
        source_uri=newest["source_uri"] or newest["document_id"],
        title=newest["title"] or newest["document_id"],
        format=newest["format"],
        tokens=newest["tokens_total"] if newest["tokens_total"] is not None else newest["tokens_read"],
        num_bytes=next((text.num_bytes for text in its if text.num_bytes is not None), None),
        cost=sum(costs, Decimal(0)) if costs else None,
        currency=newest["currency"] or "USD",
        is_partial=any(row["status"] == "partial" for row in rows),
        finished_at=newest["finished_at"],
        run_ids=sorted({row["run_id"] for row in rows}),
        notices=newest["warnings"] or (),
        note=_note(its, [entry for _, entry in entries]),
        entries=[entry for index, entry in entries if index is None],
        sections=list(_sections(rows, [entry for _, entry in entries])),
    )


def _note(texts: Iterable[SourceText], entries: Iterable[Entry]) -> str | None:
    problems = sorted({text.problem for text in texts if text.problem})
    if problems:
        return "; ".join(problems)
    return MOVED if any(not place.passage for entry in entries for place in _places(entry)) else None


def _places(entry: Entry) -> Iterator[Sentence]:
    yield from entry.sentences
    yield from (citation.source for citation in entry.citations)


def _sections(rows: Sequence[Row], entries: Sequence[Entry]) -> Iterator[Section]:
    of_sections = [each for each in zip(rows, entries, strict=True) if each[0]["section_index"] is not None]
    for _, its in groupby(of_sections, lambda each: each[0]["section_index"]):
        first, *others = its
        row = first[0]
        all_entries = [first[1], *(entry for _, entry in others)]
        yield Section(row["section_title"], row["section_start"], row["section_end"], all_entries)


def _entry(row: Row, texts: Mapping[Key, SourceText]) -> Entry:
    text = texts.get((row["run_id"], row["document_id"]), SourceText())
    citations = row["citations"] or ()
    return Entry(
        prompt=row["prompt_id"] or "",
        is_extract=row["kind"] == EXTRACT,
        model=row["model_id"],
        text=row["summary"] or "",
        problem=row["answer_error"],
        sentences=list(_sentences(row, text)),
        citations=[Citation(each["answer_start"], each["answer_end"], _sentence(each, text)) for each in citations],
        unsupported=None if row["unsupported"] is None else [each for each in row["unsupported"] if each.strip()],
    )


def _sentences(row: Row, text: SourceText) -> Iterator[Sentence]:
    places = row["sentences"] or ()
    # Who says it stands in the list alone.
    bullets = [line.removeprefix("- ") for line in (row["summary"] or "").split("\n")]
    for number, place in enumerate(places):
        found = _sentence(place, text)
        yield replace(found, text=bullets[number]) if len(bullets) == len(places) else found


def _sentence(place: Mapping[str, Any], text: SourceText) -> Sentence:
    passage = text.passages.get((place["start"], place["end"]))
    if passage and _words(passage.sentence) != _words(place["text"]):
        passage = None
    return Sentence(place["start"], place["end"], place["section"], place["score"], place["text"], passage)


def _words(text: str) -> str:
    return " ".join(text.split())
