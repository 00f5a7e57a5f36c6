"""What an actor is told, what reaches it and what it returns."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from configs.settings import EngineSettings, InputSettings, PromptSettings, SectionSettings
from pipeline.documents import MANIFEST
from pipeline.metering import Rate


@dataclass(frozen=True)
class Assignment:
    """All that an actor is told. It travels through Ray in the clear: no secrets."""

    output_uri: str
    run_id: str
    settings_sha256: str
    model_uri: str
    model_revision: str
    """SHA-256 of the weights, which the actor's own copy must match."""
    device: str
    dtype: str
    prompts: tuple[PromptSettings, ...]
    engine: EngineSettings
    rate: Rate
    heartbeat_seconds: float
    tokenizer_uri: str | None = None
    """As `model.tokenizer`."""
    sections: SectionSettings | None = None
    input: InputSettings | None = None
    """How documents are read whose tokens do not travel; without it there may be none."""


READ_ROW = pa.schema(
    [
        *MANIFEST,
        ("attempt", pa.int32()),
        ("title", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("is_streamed", pa.bool_()),
        ("sections", pa.list_(pa.struct([("title", pa.string()), ("start", pa.int64())]))),
    ]
)
"""A document as the reader hands it over. `tokens` is null where `error_class` says why, and where the document
`is_streamed`: then the row is a handle, and the actor reads the document itself. `sections` is null where nobody asks
about them."""

RECEIPT = pa.schema(
    [
        ("document_id", pa.string()),
        ("status", pa.string()),
        ("error_class", pa.string()),
        ("error_message", pa.string()),
        ("tokens_read", pa.int64()),
        ("size_bytes", pa.int64()),
    ]
)
"""What goes back through Ray once a document's rows are in the ledger."""

Row = dict[str, Any]


def read_rows(batch: pa.Table) -> list[Row]:
    """Rows of `READ_ROW` with `tokens` as int32 arrays that share the batch's memory."""
    rows = batch.drop_columns(["tokens"]).to_pylist()
    for row, tokens in zip(rows, batch.column("tokens"), strict=True):
        row["tokens"] = tokens.values.to_numpy() if tokens.is_valid else None
    return rows
