"""The readers' stage: manifest rows in, the same rows with tokens out. A plain function; Ray runs it as CPU tasks."""

import pyarrow as pa

from configs.settings import InputSettings, ModelSettings, SectionSettings
from pipeline.documents import reader_process
from pipeline.documents.extracts import ExtractPrompts
from pipeline.documents.handover import READ_ROW
from pipeline.documents.reader import ReaderSettings


def read_batch(
    batch: pa.Table,
    settings: InputSettings,
    model: ModelSettings,
    sections: SectionSettings | None = None,
    extracts: ExtractPrompts | None = None,
    stopping: bool = False,
) -> pa.Table:
    """Fetch, extract and tokenize; make the given extracts. A document that cannot be read keeps its row, with an error
    and without tokens.

    Without a tokenizer, all rows get that error. If the run is `stopping`, nothing is read and all rows are handles.
    """
    rows = batch.to_pylist()
    if stopping:
        return pa.Table.from_pylist([row | {"is_streamed": True} for row in rows], READ_ROW)
    readable = [row for row in rows if row["error_class"] is None]
    read = iter(reader_process.shared().read(readable, ReaderSettings(settings, model, sections, extracts)))
    return pa.Table.from_pylist([next(read) if row["error_class"] is None else row for row in rows], READ_ROW)
