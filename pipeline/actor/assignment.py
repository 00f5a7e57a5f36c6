"""What an actor is told, receives and returns."""

from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa

from configs.settings import EngineSettings, InputSettings, PromptSettings, SectionSettings
from pipeline.billing.rates import Rates
from pipeline.schemas.tables import Row


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
    max_lost_device_seconds: float = 60.0
    """As `snapshot.max_lost_device_seconds`."""
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
run stops before it is done, or `fatal` if the run cannot continue."""


def receipt(row: Row, status: str, tokens_read: int = 0) -> Row:
    """A `RECEIPT` for a `READ_ROW`."""
    known = {name: row[name] for name in ("document_id", "error_class", "error_message", "size_bytes")}
    return known | {"status": status, "tokens_read": tokens_read}
