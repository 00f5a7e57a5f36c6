import json

import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError
from jobs import evaluate

SENTENCES = (
    "The council of Bergen decided to build a lighthouse above the harbor.",
    "Nobody had asked for any such thing before that year.",
    "Ships from Norway had been lost in storms near the harbor of Bergen.",
    "There was a fine view of mountains from most of the houses.",
)


@pytest.fixture
def documents(tmp_path):
    path = tmp_path / "documents.jsonl"
    rows = [
        {"id": f"made/{number}", "text": " ".join(SENTENCES) + f" It was the year {1800 + number} of our time.",
         "reference": "The council of Bergen built a lighthouse since ships were lost.", "group": "ab"[number % 2]}
        for number in range(4)
    ]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_methods_are_compared(documents, tmp_path, capsys):
    evaluate.evaluate([documents], tmp_path / "out", methods="extract,lead,lexrank,textrank")
    rows = pq.read_table(tmp_path / "out" / "scores.parquet").to_pylist()
    assert len(rows) == 16
    assert {row["method"] for row in rows} == {"extract", "lead", "lexrank", "textrank"}
    assert all(0 <= row["rouge_1"] <= 1 for row in rows)
    assert "extract minus lead" in (tmp_path / "out" / "table.txt").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "rouge.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "mean of groups" in capsys.readouterr().out


@pytest.mark.parametrize("budget", ["0", "many"])
def test_a_budget_that_is_none_is_refused(documents, tmp_path, budget):
    with pytest.raises(ConfigError, match="--budget"):
        evaluate.evaluate([documents], tmp_path, budget=budget)


def test_documents_without_references_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "b"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="no document has a reference"):
        evaluate.evaluate([tmp_path / "a.jsonl"], tmp_path)
