"""What an actor is told, what reaches it and what it returns."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from configs.errors import LonghaulError
from configs.settings import EngineSettings, InputSettings, PromptSettings, SectionSettings
from pipeline.billing.rates import Rates
from pipeline.schemas.document import MANIFEST


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
    rates: Rates
    """From which the actor takes that of its own device."""
    heartbeat_seconds: float
    state_key: str = ""
    """Of the states that its model makes."""
    max_lost_gpu_seconds: float = 60.0
    """As `snapshot.max_lost_gpu_seconds`."""
    ttl_days: float | None = None
    """Of the states that are kept; None where none is."""
    storage_gib_month: Decimal = Decimal(0)
    """As `states.storage_gib_month`."""
    deadline_us: int | None = None
    """UTC, microseconds since 1970."""
    summary_so_far: bool = False
    start: int = 0
    """Of the run, by its number."""
    preamble: str | None = None
    tokenizer_uri: str | None = None
    """As `model.tokenizer`."""
    sections: SectionSettings | None = None
    input: InputSettings | None = None
    """How documents are read whose tokens do not travel; without it there may be none."""


_SECTION = pa.struct([("title", pa.string()), ("start", pa.int64()), ("named_at", pa.int64())])
_POSITION = pa.struct(
    [
        ("tokens", pa.int64()),
        ("offset", pa.int64()),
        ("encoding", pa.string()),
        ("parts", pa.int64()),
        ("digest", pa.string()),
    ]
)

READ_ROW = pa.schema(
    [
        *MANIFEST,
        ("state_uri", pa.string()),
        ("title", pa.string()),
        ("made_by", pa.string()),
        ("tokens", pa.list_(pa.int32())),
        ("is_streamed", pa.bool_()),
        ("sections", pa.list_(_SECTION)),
        ("cuts", pa.list_(_POSITION)),
    ]
)
"""A document as the reader hands it over. `tokens` is null where `error_class` says why, and where the document
`is_streamed`: then the row is a handle, and the actor reads the document itself, from its `state_uri` on where it has
one. Tokens that travel with a `state_uri` are all of the document's. `sections` is null where nobody asks about them.
`cuts` are the canonical cuts within the tokens, in order; null where there are no tokens. `made_by` is what made the
text, as `extract.makers` has it; null where nobody has looked at the document yet."""

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
"""What goes back through Ray once a document's rows are in the ledger. `status` is `ok`, `failed`, `stopped` where the
run stops before it is done, or `fatal` where the run cannot go on."""

Row = dict[str, Any]


def read_rows(batch: pa.Table) -> list[Row]:
    """Rows of `READ_ROW` with `tokens` as int32 arrays that share the batch's memory."""
    rows = batch.drop_columns(["tokens"]).to_pylist()
    for row, tokens in zip(rows, batch.column("tokens"), strict=True):
        row["tokens"] = tokens.values.to_numpy() if tokens.is_valid else None
    return rows


def reason(error: LonghaulError) -> Row:
    """Why something failed, in the columns of a row or a receipt."""
    return {"error_class": type(error).__name__, "error_message": str(error)}


def receipt(row: Row, status: str, tokens_read: int = 0) -> Row:
    """A `RECEIPT` for a `READ_ROW`."""
    known = {name: row[name] for name in ("document_id", "error_class", "error_message", "size_bytes")}
    return known | {"status": status, "tokens_read": tokens_read}
