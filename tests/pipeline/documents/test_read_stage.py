"""The stage reads what is to be read, keeps the order of the rest, and loses no row."""

from pathlib import Path

import pyarrow as pa

from configs.settings import InputSettings, ModelSettings
from pipeline.documents import reader_process
from pipeline.documents.handover import READ_ROW
from pipeline.documents.read_stage import read_batch
from pipeline.schemas.document import MANIFEST, Document

TODO = pa.schema([*MANIFEST, ("state_uri", pa.string())])
INPUT = InputSettings(sources=("unused",))


def batch(tmp_path: Path) -> pa.Table:
    (tmp_path / "a.txt").write_text("some words")
    broken = Document("b", "b", "", 0, error_class="UnreadableError", error_message="It is gone.")
    documents = [Document(id, str(tmp_path / "a.txt"), "e", 10) for id in ("a", "c")]
    rows = [each.as_row() | {"state_uri": None} for each in (documents[0], broken, documents[1])]
    return pa.Table.from_pylist(rows, TODO)


def test_rows_stay_in_their_order_and_what_listing_found_broken_is_not_opened(tmp_path: Path) -> None:
    table = read_batch(batch(tmp_path), INPUT, ModelSettings())
    assert table.schema == READ_ROW
    found = [(row["document_id"], row["tokens"] is None, row["error_message"]) for row in table.to_pylist()]
    assert found == [("a", False, None), ("b", True, "It is gone."), ("c", False, None)]


def test_nothing_is_read_for_a_run_that_stops(tmp_path: Path) -> None:
    reader_process.shared().close()
    table = read_batch(batch(tmp_path), INPUT, ModelSettings(), stopping=True)
    assert all(row["is_streamed"] and row["tokens"] is None for row in table.to_pylist())
    assert reader_process.shared().pid is None
