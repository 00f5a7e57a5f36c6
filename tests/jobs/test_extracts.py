"""Extracts in a run: alone, without a model, and beside answers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from jobs import exits
from pipeline.reports.warehouse import Warehouse

PROMPT = "{name: key_points, kind: extract, max_words: 60}"
SECTION = "sections={prompts: [{name: section, kind: extract, max_words: 30}], most_tokens: 2048}"
COLUMNS = "document_id, prompt_id, kind, summary, sentences, section_index, section_start, section_end, tokens_total"


@pytest.fixture
def documents(tmp_path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number, name in enumerate(["typesseq", "specialnames", "formatstrings"]):
        (folder / f"{number}.txt").write_text(topics[name])
    (folder / "long.txt").write_text("\n\n".join(text for _, text in sorted(topics.items()))[:200_000])
    (folder / "empty.txt").touch()
    return folder


def extracts(output: str) -> list[dict[str, object]]:
    order = "order by document_id, prompt_id, section_index"
    return Warehouse(output).rows(f"select {COLUMNS} from summaries where kind = 'extract' {order}")


def test_extracts_alone_need_no_model_and_beside_answers_they_are_the_same(summarize, documents, tmp_path, warm):
    nowhere = "model.uri=/there/is/no/model"
    alone = summarize([str(documents)], f"prompts=[{PROMPT}]", SECTION, nowhere, "input.inline_bytes=100000")
    assert alone.returncode == exits.PARTIAL, alone.stderr
    made = extracts(summarize.output)
    assert {row["document_id"] for row in made} == {str(documents / f"{name}.txt") for name in (0, 1, 2, "long")}
    tables = Warehouse(summarize.output)
    (job,) = tables.rows("select * from jobs")
    assert (job["model_id"], job["documents_failed"], job["tokens_decoded"]) == ("key-sentences", 1, 0)
    (costs,) = tables.rows("select sum(cost) as cost, count(*) filter (kind = 'document') as documents from costs")
    assert costs["cost"] == job["cost"] > 0 and costs["documents"] == 5
    (shares,) = tables.rows("select sum(full_cost) as full_cost from (from summaries union all by name from failures)")
    assert shares["full_cost"] == job["cost"]

    shown = warm("jobs.extract", [str(documents), "--json"]).stdout.splitlines()
    texts = {line["document_id"]: (line["text"] or "").encode() for line in map(json.loads, shown)}
    for row in made:
        for sentence in row["sentences"]:
            between = texts[row["document_id"]][sentence["start"] : sentence["end"]].decode()
            assert " ".join(between.split()) == sentence["text"]

    summarize.output = str(tmp_path / "both")
    answer = "{name: summary, instruction: Summarize., max_tokens: 4}"
    both = summarize([str(documents)], f"prompts=[{answer}, {PROMPT}]", SECTION, "input.inline_bytes=100000")
    assert both.returncode == exits.PARTIAL, both.stderr
    without_tokens = [
        {name: row[name] for name in row if name[-6:] not in ("_total", "_start", "on_end")} for row in made
    ]
    # Another tokenizer counts other tokens, and cuts sections elsewhere.
    whole = [row for row in without_tokens if row["section_index"] is None]
    beside = [row for row in extracts(summarize.output) if row["section_index"] is None]
    assert [{name: row[name] for name in whole[0]} for row in beside] == whole
    rows = Warehouse(summarize.output).rows("select kind, count(*) as n from summaries group by 1 order by 1")
    assert rows[0] == {"kind": "answer", "n": 4} and rows[1]["n"] > 30


def test_a_second_run_with_the_same_extracts_does_nothing(summarize, documents):
    first = summarize([str(documents)], f"prompts=[{PROMPT}]")
    assert first.returncode == exits.PARTIAL
    again = summarize([str(documents)], f"prompts=[{PROMPT}]")
    assert again.returncode == exits.SUCCESS and "nothing to do" in again.stdout


def test_a_run_of_extracts_alone_imports_no_torch_anywhere(documents, tmp_path):
    """Driver, readers and actors, in a Python that has none."""
    missing = tmp_path / "without/torch"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ImportError('there is no torch')\n")
    environment = os.environ | {"PYTHONPATH": f"{missing.parent}{os.pathsep}{Path.cwd()}"}

    def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    output = tmp_path / "out"
    asked = [f"prompts=[{PROMPT}]", SECTION, f"input.sources=[{documents}]", f"output.uri={output}", "incremental=true"]
    planned = run("jobs.plan", "configs/demo.yaml", *asked, "price.cpu_hour=3.6", "--json")
    assert planned.returncode == exits.SUCCESS, planned.stderr
    done = run("jobs.summarize", "configs/demo.yaml", *asked, "price.cpu_hour=3.6")
    assert done.returncode == exits.PARTIAL, done.stderr
    assert len(extracts(str(output))) > 8
    quote, tables = json.loads(planned.stdout), Warehouse(str(output))
    (job,) = tables.rows("select tokens_read from jobs")
    assert quote["tokens"] == pytest.approx(job["tokens_read"], rel=0.1)
    assert "timed on this machine" in quote["speed_source"] and "weights_bytes" not in quote
    (kept,) = tables.rows("select count(*) as states from states")
    assert kept["states"] == 4

    again = run("jobs.plan", "configs/demo.yaml", *asked, "price.cpu_hour=3.6", "input.retry_failed=true", "--json")
    assert "measured in 1 run on cpu" in json.loads(again.stdout)["speed_source"]
    refused = run("jobs.plan", "configs/demo.yaml", *asked, "--gpu", "H100")
    assert refused.returncode == exits.REFUSED and "made on CPUs" in refused.stderr
    answers = run("jobs.summarize", "configs/demo.yaml", f"input.sources=[{documents}]", f"output.uri={output}")
    assert answers.returncode != exits.SUCCESS and "no torch" in answers.stderr
