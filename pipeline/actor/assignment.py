"""What an actor is told, receives and returns."""

from dataclasses import dataclass

import pyarrow as pa

from configs.settings import SummarizeConfig
from pipeline.billing.rates import Rates
from pipeline.ledger.heartbeats import SECONDS_BETWEEN_TELLING
from pipeline.schemas.tables import Row
from pipeline.telemetry.events import Run


@dataclass(frozen=True)
class Assignment:
    """All that an actor is told. It travels through Ray in the clear: settings hold no secrets."""

    config: SummarizeConfig
    output_uri: str
    """As the driver resolved it: an actor's working directory is another."""
    run_id: str
    start: int
    """Of the run, by its number."""
    settings_sha256: str
    model_revision: str
    """SHA-256 of the weights, which the actor's own copy must match."""
    device: str
    """`cpu` or `cuda`."""
    dtype: str
    state_key: str
    """Of the states that its model makes."""
    rates: Rates
    """From which the actor takes that of its own device."""
    deadline_us: int | None = None
    """UTC, microseconds since 1970."""

    @property
    def run(self) -> Run:
        """As events name it."""
        return Run.of(self.config, self.run_id, self.start, self.output_uri)

    @property
    def ttl_days(self) -> float | None:
        """Of the states that are kept; None if none is."""
        return self.config.states.ttl_days if self.config.incremental else None

    @property
    def heartbeat_seconds(self) -> float:
        """Between two heartbeats in the ledger."""
        return self.config.run.heartbeat_seconds

    @property
    def telling_seconds(self) -> float:
        """Between two heartbeats that the driver is told; and how long entries wait for others at the most."""
        return min(self.config.run.heartbeat_seconds, SECONDS_BETWEEN_TELLING)


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
