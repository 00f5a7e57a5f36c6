"""The readers' stage: manifest rows in, the same rows with tokens out. Plain functions; Ray runs them as CPU tasks."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict
from functools import cache
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from threading import Thread

import numpy as np
import pyarrow as pa

from configs.errors import DocumentError, ModelError, ProcessKilledError, StorageError
from configs.settings import InputSettings, ModelSettings, SectionSettings
from models.tokenizer import Tokenizer
from pipeline import tokenise
from pipeline.assignment import READ_ROW, Row, reason
from pipeline.documents import Document
from pipeline.encoding import Piece
from pipeline.extract import Extractor, makers
from pipeline.sections import SectionFinder
from pipeline.tokenise import Passage


def read_batch(
    batch: pa.Table,
    settings: InputSettings,
    model: ModelSettings,
    sections: SectionSettings | None = None,
    isolated: bool = False,
    stopping: bool = False,
) -> pa.Table:
    """Fetch, extract and tokenise. A document that cannot be read keeps its row, with the reason and no tokens.

    Where there is no tokenizer, that is the reason of all of them. Of a document with more text than
    `input.inline_bytes` no more is read than that; its row is a handle. So is that of one with a state to go on from,
    of which nothing is read, and of all where the run is `stopping`. `isolated` reads each document in a process of its
    own: one that kills it has that for its reason.
    """
    rows = batch.to_pylist()
    if stopping:
        return pa.Table.from_pylist([row | {"is_streamed": True} for row in rows], READ_ROW)
    try:
        _tokenizer(model.tokenizer, model.uri)
    except ModelError as error:
        return pa.Table.from_pylist([row | reason(error) for row in rows], READ_ROW)
    read = _read_alone if isolated else _read
    return pa.Table.from_pylist([_passed_on(row) or read(row, settings, model, sections) for row in rows], READ_ROW)


def _passed_on(row: Row) -> Row | None:
    """The row of a document that is not read here."""
    if row["error_class"] is not None:
        return row
    return None if row["state_uri"] is None else row | {"is_streamed": True}


def _read(row: Row, settings: InputSettings, model: ModelSettings, sections: SectionSettings | None) -> Row:
    try:
        extracted = _extractor(settings).read(Document.from_row(row))
        with closing(extracted):
            passages = _within(settings.inline_bytes, extracted.pieces)
    except (DocumentError, StorageError) as error:
        return row | reason(error)
    made_by = makers(settings.text_field)[extracted.kind]
    row = row | {"title": extracted.title, "is_streamed": passages is None, "made_by": made_by}
    return row if passages is None else row | _tokenised(passages, _tokenizer(model.tokenizer, model.uri), sections)


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

    passages = list(tokenise.passages(up_to_the_limit()))
    return passages if size <= max_bytes else None


def _tokenised(passages: Iterable[Passage], tokenizer: Tokenizer, sections: SectionSettings | None) -> Row:
    finder = SectionFinder(sections) if sections else None
    parts = list(tokenise.parts(passages, tokenizer, finder))
    return {
        "tokens": np.concatenate([part.tokens for part in parts]),
        "sections": [asdict(section) for section in finder.sections] if finder else None,
        "cuts": [asdict(part.start) for part in parts[1:] if part.start],
    }


def _read_alone(row: Row, settings: InputSettings, model: ModelSettings, sections: SectionSettings | None) -> Row:
    """As `_read`, in a process of its own. Raises what it raises."""
    # Not forked: this process has threads, and maybe what the document does harm to.
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, row, settings, model, sections), daemon=True)
    process.start()
    sender.close()
    try:
        outcome = receiver.recv()
    except EOFError:
        process.join()
        return row | reason(_killed(process.exitcode or 0))
    finally:
        receiver.close()
    process.join()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _send(
    sender: Connection, row: Row, settings: InputSettings, model: ModelSettings, sections: SectionSettings | None
) -> None:
    # Else a document that takes all memory would go on taking it when Ray has killed the task.
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        outcome: Row | Exception = _read(row, settings, model, sections)
    except Exception as error:  # for the one who waits to raise
        outcome = error
    sender.send(outcome)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _killed(exit_code: int) -> ProcessKilledError:
    how = f"it ended with exit code {exit_code}"
    if exit_code < 0:
        how = f"signal {signal.Signals(-exit_code).name}"
        if -exit_code == signal.SIGKILL:
            how += ", which is what a process gets that takes too much memory"
    return ProcessKilledError(f"Reading the document killed the process: {how}.")


# Once per process: Ray gives a worker many batches, and one may go on where the last stopped in a compressed file.
@cache
def _extractor(settings: InputSettings) -> Extractor:
    return Extractor(settings)


@cache
def _tokenizer(uri: str | None, model_uri: str) -> Tokenizer:
    return Tokenizer.find(uri, model_uri)
