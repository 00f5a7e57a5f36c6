"""What a reader hands to an actor."""

import pyarrow as pa

from configs.errors import LonghaulError
from pipeline.schemas.document import MANIFEST
from pipeline.schemas.tables import Row

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


def read_rows(batch: pa.Table) -> list[Row]:
    """Rows of `READ_ROW` with `tokens` as int32 arrays that share the batch's memory."""
    rows = batch.drop_columns(["tokens"]).to_pylist()
    for row, tokens in zip(rows, batch.column("tokens"), strict=True):
        row["tokens"] = tokens.values.to_numpy() if tokens.is_valid else None
    return rows


def reason(error: LonghaulError) -> Row:
    """Why something failed, in the columns of a row or a receipt."""
    return {"error_class": type(error).__name__, "error_message": str(error)}
