"""From a prompt's schema to the columns of its row; and outputs from before there were such columns still read."""

import json
from concurrent.futures import Future
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models

from configs.loader import load
from configs.settings import PromptSettings, SummarizeConfig
from models.engine.request import Answer, Finished
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.actor.entries import Entries
from pipeline.actor.gauge import ActorGauge
from pipeline.actor.job import Job
from pipeline.billing.metering import Rate
from pipeline.driver.prepare import prepare
from pipeline.ledger import history
from pipeline.ledger.records import ENTRY
from pipeline.reports.warehouse import Warehouse
from tests.one_actor import assignment
from tests.outputs import write_part
from tests.small_model import build

YEAR = {"type": "object", "required": ["year"], "properties": {"year": {"type": "integer"}}}
NEW_COLUMNS = ("retries", "answer_error")
ABOUT = {
    "run_id": "r1",
    "started_at": datetime(2026, 3, 1, tzinfo=UTC).isoformat(),
    "settings_sha256": "s",
    "model_revision": "m",
    "config": {"price": {"currency": "USD"}, "model": {"uri": "default"}, "input": {"sources": ["x"]}},
}
ROW = {
    "document_id": "one",
    "source_uri": "/one",
    "source_etag": "v1",
    "size_bytes": 5,
    "state_uri": None,
    "title": None,
    "made_by": "text",
    "tokens": np.arange(5),
    "sections": None,
    "cuts": None,
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["the year is 1851"], 300)


def entries(tokenizer: Tokenizer, prompts: tuple[PromptSettings, ...]) -> Entries:
    rate = Rate("cpu", 1, Decimal("0.04"), "USD")
    return Entries(assignment(run_id="r1", prompts=prompts), ActorGauge(rate), tokenizer)


def summarized(
    tokenizer: Tokenizer,
    prompts: tuple[PromptSettings, ...],
    *answers: tuple[str, str, int],
    document_id: str = "one",
) -> dict:
    """The entry of a document whose prompts got these texts, each with its finish reason and retries."""
    writer = entries(tokenizer, prompts)
    writer.actor.meter.spend_on({document_id: 5})
    given = tuple(Answer(tuple(tokenizer.encode(text)), reason, 9, retries) for text, reason, retries in answers)
    job = Job(ROW | {"document_id": document_id}, datetime.now(UTC), Future())
    return writer.finished(job, Finished(document_id, 5, given))


def test_rows_say_what_became_of_each_answer(tokenizer):
    prompts = tuple(PromptSettings(name=name, json_schema=YEAR) for name in ("good", "bad", "round"))
    prompts += (PromptSettings(name="plain"),)
    entry = summarized(
        tokenizer,
        prompts,
        ("{'year': 1851}", "stop", 1),
        ('{"year": "x"}', "schema", 1),
        ('{"year": 7', "loop", 1),
        (" the year is 1851 ", "length", 0),
    )
    columns = ("prompt_id", "summary", "finish_reason", "retries", "answer_error")
    assert [tuple(row[name] for name in columns) for row in entry["summaries"]] == [
        ("good", '{"year":1851}', "stop", 1, None),
        ("bad", '{"year": "x"}', "schema", 1, "at $.year: 'x' is not of type 'integer'"),
        ("round", '{"year":7}', "loop", 1, None),
        ("plain", "the year is 1851", "length", 0, None),
    ]
    with_schema, without = entry["summaries"][0]["prompt_sha256"], entry["summaries"][3]["prompt_sha256"]
    assert with_schema != without
    pa.Table.from_pylist([entry], ENTRY)


def test_tables_of_an_older_version_read_beside_new_ones(tmp_path):
    row = {"document_id": "one", "source_etag": "v1", "settings_sha256": "s", "summary": "text"}
    older = write_part(tmp_path, "summaries", "before", [row])
    pq.write_table(pq.read_table(older, partitioning=None).drop_columns(list(NEW_COLUMNS)), older)
    newer = row | {"document_id": "two", "retries": 1, "answer_error": "the answer is empty"}
    write_part(tmp_path, "summaries", "after", [newer])

    rows = Warehouse(str(tmp_path)).rows("select document_id, retries, answer_error from summaries order by 1")
    assert rows == [
        {"document_id": "one", "retries": None, "answer_error": None},
        {"document_id": "two", "retries": 1, "answer_error": "the answer is empty"},
    ]
    assert history.done_in_other_runs(str(tmp_path), "s", "other") == {("one", "v1"), ("two", "v1")}


def test_another_schema_is_another_run_and_the_same_one_in_another_order_is_not(tmp_path, tokenizer):
    checkpoint.save(build(), tmp_path / "model")
    # Its ids fit the small model's embedding.
    vocabulary = Backend(models.WordLevel({"<|endoftext|>": 0, "[UNK]": 1}, unk_token="[UNK]"))
    Tokenizer(vocabulary, vocabulary.to_str()).save(tmp_path / "model")
    (tmp_path / "one.txt").write_text("text")
    monthly = {"type": "object", "required": ["month"], "properties": {"year": {"type": "integer"}}}

    def settings_sha256(**prompt: object) -> str:
        given = [f"input.sources=[{tmp_path / 'one.txt'}]", f"model.uri={tmp_path / 'model'}"]
        given += [f"output.uri={tmp_path / 'output'}", f"prompts={json.dumps([prompt])}"]
        return prepare(load(SummarizeConfig, None, given)).settings_sha256

    without = settings_sha256(name="summary")
    assert settings_sha256(json_schema=None) == without
    assert len({without, settings_sha256(json_schema=YEAR), settings_sha256(json_schema=monthly)}) == 3
    assert settings_sha256(json_schema=YEAR) == settings_sha256(json_schema=dict(reversed(YEAR.items())))
