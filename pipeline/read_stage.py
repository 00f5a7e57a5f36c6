"""The readers' stage: manifest rows in, the same rows with tokens out. Plain functions; Ray runs them as CPU tasks."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from functools import cache
from typing import Any

import pyarrow as pa

from configs.errors import DocumentError, LonghaulError, ModelError, StorageError
from configs.settings import InputSettings, ModelSettings, SectionSettings
from models.tokenizer import Tokenizer
from pipeline import tokenise
from pipeline.assignment import READ_ROW
from pipeline.documents import Document
from pipeline.extract import Extractor
from pipeline.sections import SectionFinder

Row = dict[str, Any]


def read_batch(
    batch: pa.Table, settings: InputSettings, model: ModelSettings, sections: SectionSettings | None = None
) -> pa.Table:
    """Fetch, extract and tokenise. A document that cannot be read keeps its row, with the reason and no tokens.

    Where there is no tokenizer, that is the reason of all of them. Of a document with more text than
    `input.inline_bytes` no more is read than that; its row is a handle.
    """
    rows = batch.to_pylist()
    try:
        extractor, tokenizer = _extractor(settings), _tokenizer(model.tokenizer, model.uri)
    except ModelError as error:
        return pa.Table.from_pylist([row | _reason(error) for row in rows], READ_ROW)
    read = [_read(row, extractor, tokenizer, settings.inline_bytes, sections) for row in rows]
    return pa.Table.from_pylist(read, READ_ROW)


def _read(
    row: Row, extractor: Extractor, tokenizer: Tokenizer, inline_bytes: int, sections: SectionSettings | None
) -> Row:
    if row["error_class"] is not None:
        return row
    try:
        extracted = extractor.read(Document.from_row(row))
        with closing(extracted.text):
            pieces = _within(inline_bytes, extracted.text)
        finder = SectionFinder(sections) if sections else None
        tokens = None if pieces is None else tokenise.tokens(pieces, tokenizer, finder)
        found = [asdict(section) for section in finder.sections] if finder else None
        return row | {
            "title": extracted.title,
            "tokens": tokens,
            "is_streamed": tokens is None,
            "sections": None if tokens is None else found,
        }
    except (DocumentError, StorageError) as error:
        return row | _reason(error)


def _within(max_bytes: int, text: Iterator[str]) -> list[str] | None:
    """All pieces of a text, or None as soon as they are more than `max_bytes` of UTF-8."""
    pieces, size = [], 0
    for piece in text:
        pieces.append(piece)
        size += len(piece.encode())
        if size > max_bytes:
            return None
    return pieces


def _reason(error: LonghaulError) -> Row:
    return {"error_class": type(error).__name__, "error_message": str(error)}


# Once per process: Ray gives a worker many batches, and one may go on where the last stopped in a compressed file.
@cache
def _extractor(settings: InputSettings) -> Extractor:
    return Extractor(settings)


@cache
def _tokenizer(uri: str | None, model_uri: str) -> Tokenizer:
    return Tokenizer.find(uri, model_uri)
