"""What a reader hands to an actor."""

import pyarrow as pa

from configs.errors import LonghaulError
from pipeline.schemas.attempt import BEGUN
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
        ("earlier", pa.list_(BEGUN)),
        ("title", pa.string()),
        ("made_by", pa.string()),
        ("format", pa.string()),
        ("encoding", pa.string()),
        ("warnings", pa.list_(pa.string())),
        ("tokens", pa.list_(pa.int32())),
        ("is_streamed", pa.bool_()),
        ("sections", pa.list_(_SECTION)),
        ("cuts", pa.list_(_POSITION)),
        ("extracts", pa.string()),
        ("passages", pa.binary()),
    ]
)
"""A document as a reader passes it to an actor. `tokens` is null if it failed (`error_class` says why) or if the
document `is_streamed`: then the row is a handle, and the actor reads the document itself, resuming from its `state_uri`
if there is one. `earlier` are attempts of earlier starts of the run, if any. `tokens` beside a `state_uri` are those of
the whole document. `sections` is null unless the run summarizes sections. `cuts` are the canonical cuts within the
tokens, in order; null without tokens. `made_by` is what the text depends on, from `registry.makers`; null if the
document was not opened yet. `extracts` are columns of `summaries` for each extract that the run asks for beside
answers, as JSON; of a document without tokens too. `passages` are stored `KeySentences`, with which answers are
compared; null where nobody wants that.
"""


def read_rows(batch: pa.Table) -> list[Row]:
    """Rows of `READ_ROW` with `tokens` as int32 arrays that share the batch's memory."""
    rows = batch.drop_columns(["tokens"]).to_pylist()
    for row, tokens in zip(rows, batch.column("tokens"), strict=True):
        row["tokens"] = tokens.values.to_numpy() if tokens.is_valid else None
    return rows


def reason(error: LonghaulError) -> Row:
    """An error as the columns of a row or a receipt."""
    return {"error_class": type(error).__name__, "error_message": str(error)}
