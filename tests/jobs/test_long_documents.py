"""Documents longer than a model's context: known before the run, and read in windows where the settings say so."""

import json
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from jobs import exits
from pipeline.reports.warehouse import Warehouse
from tests.chaos.test_families import written
from tests.jobs.test_summarize import assert_costs_add_up

CONTEXT = 700


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return written("granite_h", tmp_path_factory.mktemp("granite"), max_position_embeddings=CONTEXT)


@pytest.fixture
def library(tmp_path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    texts = [text for text in topics.values() if len(text) > 2000]
    (folder / "long.txt").write_text("\n\n".join(texts)[:9000])
    (folder / "short.txt").write_text(texts[0][:900])
    return folder


def test_what_is_too_long_is_planned_fails_or_is_read_in_windows(summarize, warm, library, model, tmp_path):
    given = [f"model.uri={model}", "engine.kv_cache_gib=0.02", f"output.uri={tmp_path / 'output'}"]
    asked = ["configs/demo.yaml", f"input.sources=[{library}]", *given, "--exact", "--json"]

    def planned(*settings: str) -> dict:
        told = warm("jobs.plan", [*asked, *settings])
        assert told.returncode == exits.SUCCESS, told.stderr
        return json.loads(told.stdout)

    quote = planned()
    ((name, tokens),) = quote["too_long"]
    assert name == str(library / "long.txt") and tokens > 2 * CONTEXT > quote["longest_possible_tokens"]

    failed = summarize([str(library)], *given)
    assert failed.returncode == exits.PARTIAL, failed.stderr
    (failure,) = Warehouse(summarize.output).rows("select * from failures")
    assert failure["document_id"] == name and failure["error_class"] == "TooLargeError"

    for mode in ("windows", "map_reduce"):
        output = str(tmp_path / mode)
        read = summarize([str(library)], *given, f"output.uri={output}", f"long_documents={mode}")
        assert read.returncode == exits.SUCCESS, read.stderr
        rows = {row["document_id"]: row for row in Warehouse(output).rows("select * from summaries")}
        long, short = rows[name], rows[str(library / "short.txt")]
        assert long["windows"] == -(-tokens // quote["longest_possible_tokens"]) and short["windows"] == 1
        assert long["tokens_read"] == long["tokens_total"] == tokens and not long["truncated"]
        assert (long["summary"].count("[Tokens ") == long["windows"]) is (mode == "windows")
        assert_costs_add_up(output)
        (job,) = Warehouse(output).rows("select * from jobs")
        quoted = planned(f"long_documents={mode}")
        assert quoted["num_windows"] == long["windows"] > 2
        # No answer is longer than it may be, and those about answers were counted.
        assert job["tokens_decoded"] <= quoted["tokens_decoded"]
        assert quoted["tokens_decoded"] > quote["tokens_decoded"] * (long["windows"] + 1) / 2 - 1
        assert quoted["tokens_beside"] > 0
        assert job["tokens_read"] == sum(row["tokens_read"] for row in rows.values())
