"""States that outlive their run: kept at a document's last cut, listed in the table `states`, until they expire.

OUTPUT/_states/DOCUMENT/KEY-TOKENS-CONTENT.safetensors, by document, by what made the state, and by how far it was read.
Each object holds all of its state, what grows with the tokens too, so that it can be removed without asking which
others need a part of it.

An object is kept until `expires_at` of the newest row that names it. Nothing is removed automatically: `jobs.states
expire` removes what has expired (`pipeline.states.expiry`), and the rows stay as history. A run does not resume from an
expired state.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from pipeline.ledger import commits
from pipeline.schemas.tables import Row
from pipeline.states import snapshot
from pipeline.states.snapshot import Snapshot
from pipeline.storage import objects

FOLDER = "_states"
COLUMNS = ["document_id", "state_uri", "state_key", "made_by", "tokens", "created_at", "expires_at"]


@dataclass(frozen=True)
class Keeper:
    """What reads the documents whose states are kept, and where these go."""

    output_uri: str
    model_id: str
    model_revision: str
    ttl_days: float


def keep(keeper: Keeper, kept: Snapshot, tokens_total: int, parent_uri: str | None) -> Row:
    """Store a state; its row for the table `states`. Raises StorageError."""
    content = sha256(f"{kept.source_etag}/{kept.position.digest}".encode()).hexdigest()
    name = f"{kept.state_key[:12]}-{kept.read_state.tokens_read:010d}-{content[:12]}.safetensors"
    folder = sha256(kept.document_id.encode()).hexdigest()[:32]
    uri = objects.join(keeper.output_uri, FOLDER, folder, name)
    data = snapshot.to_bytes(kept)
    objects.publish(uri, data)
    now = datetime.now(UTC)
    return {
        "run_id": kept.run_id,
        "document_id": kept.document_id,
        "source_uri": kept.source_uri,
        "source_etag": kept.source_etag,
        "title": kept.title,
        "state_uri": uri,
        "state_key": kept.state_key,
        "made_by": kept.made_by,
        "model_id": keeper.model_id,
        "model_revision": keeper.model_revision,
        "settings_sha256": kept.settings_sha256,
        "tokens_total": tokens_total,
        "tokens": kept.read_state.tokens_read,
        "size_bytes": len(data),
        "parent_uri": parent_uri,
        "created_at": now,
        "expires_at": now + timedelta(days=keeper.ttl_days),
    }


def newest(output_uri: str, state_key: str, makers: Collection[str]) -> dict[str, Row]:
    """By document, its latest unexpired state with this key, of a text that one of the `makers` made: URI, tokens, and
    time."""
    latest: dict[str, Row] = {}
    now = datetime.now(UTC)
    for row in _catalog(output_uri):
        if row["state_key"] != state_key or row["made_by"] not in makers or row["expires_at"] <= now:
            continue
        known = latest.get(row["document_id"])
        if known is None or row["created_at"] > known["created_at"]:
            latest[row["document_id"]] = row
    return latest


def _catalog(output_uri: str) -> Iterable[Row]:
    files = commits.files(output_uri, ["states"])["states"]
    for table in objects.read_tables(files, COLUMNS):
        yield from table.to_pylist()
