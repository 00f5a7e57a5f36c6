"""What stops an actor reaches the driver with its class, which an exception would lose on its way through Ray."""

import asyncio

import pyarrow as pa
import pytest

from configs.settings import InputSettings, ModelSettings
from models.weights import checkpoint
from pipeline.actor.summarize_stage import SummarizeStage
from pipeline.documents.handover import READ_ROW
from pipeline.documents.read_stage import read_batch
from tests.one_actor import assignment
from tests.small_model import build


@pytest.fixture
def stage(tmp_path) -> SummarizeStage:
    checkpoint.save(build(), tmp_path / "model")
    revision = "the weights that the run was planned with"
    planned = assignment(str(tmp_path / "output"), model_uri=str(tmp_path / "model"), model_revision=revision)
    return SummarizeStage(planned)


def receipts(stage: SummarizeStage, **row: object) -> list[dict]:
    batch = pa.Table.from_pylist([{"document_id": "one", "size_bytes": 1} | row], READ_ROW)
    return asyncio.run(stage(batch)).to_pylist()


def test_a_model_with_other_weights_is_fatal_now_and_for_every_later_batch(stage):
    for _ in range(2):
        (receipt,) = receipts(stage, tokens=[1, 2, 3])
        assert (receipt["status"], receipt["error_class"]) == ("fatal", "ModelError")
        assert "other weights than the run was planned with" in receipt["error_message"]


def test_a_reader_without_a_tokenizer_is_fatal_and_no_failure_of_the_document(stage, tmp_path):
    todo = pa.schema([field for field in READ_ROW if field.name not in ("title", "tokens")])
    batch = pa.Table.from_pylist([{"document_id": "one", "size_bytes": 1}], todo)
    model = ModelSettings(uri=str(tmp_path / "model"))
    (row,) = read_batch(batch, settings=InputSettings(sources=("x",)), model=model).to_pylist()
    (receipt,) = receipts(stage, **row)
    assert (receipt["status"], receipt["error_class"]) == ("fatal", "ModelError")
    assert "set model.tokenizer" in receipt["error_message"]


def test_a_store_that_the_reader_lost_is_fatal_and_no_failure_of_the_document(stage):
    (receipt,) = receipts(stage, error_class="StorageError", error_message="s3://gone: there is no such bucket")
    assert (receipt["status"], receipt["error_class"]) == ("fatal", "StorageError")
