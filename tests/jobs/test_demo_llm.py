"""A real instruct model in a run: asked by its chat template, it answers in sentences."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.reports.warehouse import Warehouse
from tests.smollm2 import uri

ROOT = Path(__file__).parents[2]
MINUTES = (
    "The town council met on Monday to talk about the old bridge over the river. The engineer reported that two of its "
    "four pillars are cracked and that lorries must not cross it any more. A new bridge would cost three million euros "
    "and take two years. The council voted seven to two to build it, and to ask the county for half of the money.\n"
)


@pytest.mark.slow
def test_a_small_instruct_model_answers_in_sentences(tmp_path):
    (tmp_path / "minutes.txt").write_text(MINUTES)
    output = tmp_path / "output"
    given = [
        f"input.sources={json.dumps([str(tmp_path / 'minutes.txt')])}",
        f"output.uri={output}",
        f"model.uri={uri()}",
    ]
    command = [sys.executable, "-m", "jobs.summarize", "configs/demo_llm.yaml", *given]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    (row,) = Warehouse(str(output)).rows("select summary, finish_reason, tokens_read from summaries")
    assert row["finish_reason"] in ("stop", "length") and row["tokens_read"] < 150
    assert "bridge" in row["summary"] and row["summary"].count(".") >= 1 and len(row["summary"].split()) > 10
