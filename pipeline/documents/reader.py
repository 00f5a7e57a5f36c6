"""Reads documents: fetched, extracted, cut and tokenized, in this process and without a time limit."""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from configs.errors import LonghaulError, ModelError, unexpected
from configs.settings import InputSettings, ModelSettings, SectionSettings
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.documents.extract import Extracted, Extractor
from pipeline.documents.extracts import ExtractPrompts, Extracts
from pipeline.documents.handover import reason
from pipeline.documents.sections import SectionFinder
from pipeline.documents.tokenize import Passage
from pipeline.formats import registry
from pipeline.formats.trail import Piece
from pipeline.schemas.document import Document
from pipeline.schemas.tables import Row

MOST_COMPARED_BYTES = 64 * 2**20
"""Of a text with which answers are compared: a longer one would take minutes of a CPU more for that."""


@dataclass(frozen=True)
class ReaderSettings:
    """Everything that a reader needs; it is pickled to other processes."""

    input: InputSettings
    model: ModelSettings
    sections: SectionSettings | None = None
    extracts: ExtractPrompts | None = None
    """To be made here; None where there are none, or an actor makes them."""

    def reader(self) -> "Reader":
        """With its tokenizer, where there is one; else each document says that there is none."""
        made = Reader(self)
        with suppress(ModelError):
            _ = made.tokenizer
        return made


class Reader:
    """Reads and tokenizes documents. Use one for many: the records of a compressed JSON lines file take a single pass
    in order."""

    def __init__(self, settings: ReaderSettings) -> None:
        self.settings = settings
        self._extractor = Extractor(settings.input)

    def read(self, row: Row) -> Row:
        """A `READ_ROW`. Any error, also of the tokenizer or the store, is recorded in the row.

        The row of a document with more text than `input.inline_bytes` is a handle. So is that of plain text with a
        state to resume from, which is not read here. Raises only MemoryError.
        """
        try:
            _ = self.tokenizer
            return row | self._read(Document.from_row(row), has_state=row["state_uri"] is not None)
        except LonghaulError as error:
            return row | reason(error)
        except MemoryError:
            raise
        except Exception as error:  # whatever it is, one document must not end the run
            return row | reason(unexpected(error))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Loaded once. Raises ModelError."""
        return Tokenizer.of_run(self.settings.model)

    def _read(self, document: Document, has_state: bool) -> Row:
        extracted = self._extractor.read(document)
        made: Row = {}
        is_skipped = has_state and extracted.kind == registry.TEXT
        with closing(extracted):
            if self.settings.extracts:
                passages, made = self._with_extracts(extracted, self.settings.extracts)
                passages = None if is_skipped else passages
            else:
                passages = None if is_skipped else self._passages(extracted)
        made_by = registry.made_by(extracted.kind, self.settings.input)
        tokenized = {} if passages is None else self._tokenized(passages)
        row = {
            "title": extracted.title,
            "format": extracted.format,
            "is_streamed": passages is None,
            "made_by": made_by,
            "encoding": extracted.notes.encoding,
            "warnings": extracted.notes.warnings,
        }
        return row | tokenized | made

    def _passages(self, extracted: Extracted) -> list[Passage] | None:
        """All of a text, or None where it is too long to travel."""
        passages = _within(self.settings.input.inline_bytes, extracted.pieces)
        if passages is None and extracted.kind != registry.TEXT:
            # The actor will parse it again, with neighbors that a loop or a crash would harm: here it shows first.
            deque(extracted.pieces, maxlen=0)
        return passages

    def _with_extracts(self, extracted: Extracted, prompts: ExtractPrompts) -> tuple[list[Passage] | None, Row]:
        """All of a text, or None where it is too long to travel; and what is made of it, read to its end."""
        extracts, held, size = Extracts(prompts), list[Passage](), 0
        for passage, sections in self._with_sections(tokenize.passages(extracted.pieces), prompts):
            size += len(passage.text.encode())
            held.append(passage)
            if size > self.settings.input.inline_bytes:
                held.clear()
            if prompts.has_extracts or size <= MOST_COMPARED_BYTES:
                extracts.feed(passage.text, sections)
            elif extracted.kind == registry.TEXT and not held:
                break  # what is parsed must show here that it can be
        is_compared = size <= MOST_COMPARED_BYTES
        made = {"extracts": json.dumps(extracts.rows()), "passages": extracts.passages if is_compared else None}
        return held if size <= self.settings.input.inline_bytes else None, made

    def _with_sections(
        self, passages: Iterator[Passage], prompts: ExtractPrompts
    ) -> Iterator[tuple[Passage, Sequence[int]]]:
        """Each passage with the places in it where sections begin, if extracts are made of these."""
        if not prompts.of_sections:
            yield from ((passage, ()) for passage in passages)
            return
        assert self.settings.sections is not None
        finder, passed = SectionFinder(self.settings.sections), deque[Passage]()

        def passing() -> Iterator[Passage]:
            for passage in passages:
                passed.append(passage)
                yield passage

        for _ in tokenize.parts(passing(), self.tokenizer, finder, max_tokens=self.settings.input.max_document_tokens):
            yield passed.popleft(), finder.begun

    def _tokenized(self, passages: Iterable[Passage]) -> Row:
        sections = self.settings.sections
        finder = SectionFinder(sections) if sections else None
        most = self.settings.input.max_document_tokens
        parts = list(tokenize.parts(passages, self.tokenizer, finder, max_tokens=most))
        return {
            "tokens": np.concatenate([part.tokens for part in parts]),
            "sections": [asdict(section) for section in finder.sections] if finder else None,
            "cuts": [asdict(part.start) for part in parts[1:] if part.start],
        }


def _within(max_bytes: int, pieces: Iterator[Piece]) -> list[Passage] | None:
    """All of a text, or None as soon as it is known to be more than `max_bytes` of UTF-8."""
    size = 0

    def up_to_the_limit() -> Iterator[Piece]:
        nonlocal size
        for piece in pieces:
            size += len(piece.text.encode())
            if size > max_bytes:
                return
            yield piece

    passages = list(tokenize.passages(up_to_the_limit()))
    return passages if size <= max_bytes else None
