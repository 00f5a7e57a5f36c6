"""Outputs with states of documents that nobody has read: rows and objects."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from pipeline.schemas.tables import STATES, Row
from pipeline.states import kept
from pipeline.storage import objects as storage
from tests.outputs import mark

NOW = datetime.now(UTC)


class Keeper:
    """Of one output."""

    def __init__(self, output: str) -> None:
        self.output = output

    def place(self, document_id: str, content: str) -> str:
        return f"{document_id.encode().hex()}/k-0000000009-{content}.safetensors"

    def object(self, place: str, size_bytes: int = 10) -> str:
        uri = storage.join(self.output, kept.FOLDER, place)
        storage.publish(uri, bytes(size_bytes))
        return uri

    def row(self, document_id: str, content: str, days_old: float = 1, days_left: float = 1, **values: Any) -> Row:
        uri = storage.join(self.output, kept.FOLDER, self.place(document_id, content))
        known = {"run_id": "r", "document_id": document_id, "state_uri": uri, "size_bytes": 10, "model_id": "m"}
        times = {"created_at": NOW - timedelta(days=days_old), "expires_at": NOW + timedelta(days=days_left)}
        return dict.fromkeys(STATES.names) | known | times | values

    def keep(self, *rows: Row, run_id: str = "r", objects: bool = True) -> None:
        for each in rows if objects else ():
            storage.publish(each["state_uri"], bytes(each["size_bytes"]))
        table = pa.Table.from_pylist([each | {"run_id": run_id} for each in rows], STATES)
        folder = storage.join(self.output, "states", "dt=2026-03-01", f"run={run_id}")
        storage.publish_table(storage.join(folder, "part-0001-00000.parquet"), table)
        mark(self.output, run_id)

    def ends(self) -> list[str]:
        """Of the objects that are there: the last part of their names."""
        files = storage.list_files(storage.join(self.output, kept.FOLDER))
        return sorted(file.removesuffix(".safetensors")[-2:] for file in files)
