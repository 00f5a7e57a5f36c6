"""The states that outlive their runs: kept at a document's last cut, listed in the table `states`, until they expire.

OUTPUT/_states/DOCUMENT/KEY-TOKENS-CONTENT.safetensors, by document, by what made the state, and by how far it was read.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from configs.errors import StateError
from pipeline import snapshot, storage
from pipeline.assignment import Assignment, Row
from pipeline.snapshot import Snapshot

FOLDER = "_states"
COLUMNS = ["document_id", "state_uri", "state_key", "tokens", "created_at", "expires_at"]


def keep(assignment: Assignment, kept: Snapshot, tokens_total: int, parent_uri: str | None) -> Row:
    """Store a state; its row for the table `states`. Raises StorageError."""
    assert assignment.ttl_days is not None, "nothing is kept without a time to live"
    content = sha256(f"{kept.source_etag}/{kept.position.digest}".encode()).hexdigest()
    name = f"{kept.state_key[:12]}-{kept.midway.tokens_read:010d}-{content[:12]}.safetensors"
    folder = sha256(kept.document_id.encode()).hexdigest()[:32]
    uri = storage.join(assignment.output_uri, FOLDER, folder, name)
    data = snapshot.to_bytes(kept)
    storage.publish(uri, data)
    now = datetime.now(UTC)
    return {
        "run_id": assignment.run_id,
        "document_id": kept.document_id,
        "source_uri": kept.source_uri,
        "source_etag": kept.source_etag,
        "title": kept.title,
        "state_uri": uri,
        "state_key": kept.state_key,
        "model_id": assignment.model_uri,
        "model_revision": assignment.model_revision,
        "settings_sha256": kept.settings_sha256,
        "tokens_total": tokens_total,
        "tokens": kept.midway.tokens_read,
        "size_bytes": len(data),
        "parent_uri": parent_uri,
        "created_at": now,
        "expires_at": now + timedelta(days=assignment.ttl_days),
    }


def newest(output_uri: str, state_key: str) -> dict[str, str]:
    """By document, the URI of the latest state that this key fits and that has not expired."""
    latest: dict[str, Row] = {}
    now = datetime.now(UTC)
    for row in _catalogue(output_uri):
        if row["state_key"] != state_key or row["expires_at"] <= now:
            continue
        known = latest.get(row["document_id"])
        if known is None or row["created_at"] > known["created_at"]:
            latest[row["document_id"]] = row
    return {document_id: row["state_uri"] for document_id, row in latest.items()}


def load(uri: str) -> Snapshot:
    """Raises StateError where it is gone or damaged, StorageError."""
    try:
        return snapshot.from_bytes(storage.read_bytes(uri))
    except FileNotFoundError as error:
        raise StateError(f"The stored state is not there any more: {uri}.") from error


def _catalogue(output_uri: str) -> Iterable[Row]:
    files = storage.list_files(storage.join(output_uri, "states"), ".parquet")
    for table in storage.read_tables(files, COLUMNS):
        yield from table.to_pylist()
