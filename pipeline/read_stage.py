"""The readers' stage: manifest rows in, the same rows with tokens out. Plain functions; Ray runs them as CPU tasks."""

from functools import cache
from typing import Any

import pyarrow as pa

from configs.errors import DocumentError, LonghaulError, ModelError, StorageError
from configs.settings import InputSettings, ModelSettings
from models.tokenizer import Tokenizer
from pipeline import tokenise
from pipeline.assignment import READ_ROW
from pipeline.documents import Document
from pipeline.extract import Extractor

Row = dict[str, Any]


def read_batch(batch: pa.Table, settings: InputSettings, model: ModelSettings) -> pa.Table:
    """Fetch, extract and tokenise. A document that cannot be read keeps its row, with the reason and no tokens.

    Where there is no tokenizer, that is the reason of all of them.
    """
    rows = batch.to_pylist()
    try:
        extractor, tokenizer = _extractor(settings), _tokenizer(model.tokenizer, model.uri)
    except ModelError as error:
        return pa.Table.from_pylist([row | _reason(error) for row in rows], READ_ROW)
    return pa.Table.from_pylist([_read(row, extractor, tokenizer) for row in rows], READ_ROW)


def _read(row: Row, extractor: Extractor, tokenizer: Tokenizer) -> Row:
    if row["error_class"] is not None:
        return row | {"title": None, "tokens": None}
    try:
        extracted = extractor.read(Document.from_row(row))
        return row | {"title": extracted.title, "tokens": tokenise.tokens(extracted.text, tokenizer)}
    except (DocumentError, StorageError) as error:
        return row | _reason(error)


def _reason(error: LonghaulError) -> Row:
    return {"error_class": type(error).__name__, "error_message": str(error), "title": None, "tokens": None}


# Once per process: Ray gives a worker many batches, and one may go on where the last stopped in a compressed file.
@cache
def _extractor(settings: InputSettings) -> Extractor:
    return Extractor(settings)


@cache
def _tokenizer(uri: str | None, model_uri: str) -> Tokenizer:
    return Tokenizer.find(uri, model_uri)
