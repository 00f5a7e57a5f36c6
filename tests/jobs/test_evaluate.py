import json

import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError
from jobs import evaluate, scores
from pipeline.evaluation import similarity
from tests.outputs import write_listing, write_part
from tests.small_model import write

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


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write(tmp_path_factory.mktemp("model"), " ".join(SENTENCES) * 9)


def read(folder):
    return pq.read_table(folder / "scores.parquet").to_pylist()


def test_methods_are_compared(documents, tmp_path, capsys):
    evaluate.evaluate([str(documents)], tmp_path / "out")
    rows = read(tmp_path / "out")
    assert len(rows) == 16
    assert {row["method"] for row in rows} == {"extract", "lead", "lexrank", "textrank"}
    assert all(0 <= row["rouge_1"] <= 1 for row in rows)
    assert {len(row["profile"]) for row in rows} == {len(row["reference_profile"]) for row in rows} == {10}
    table = (tmp_path / "out" / "table.txt").read_text(encoding="utf-8")
    assert all(f"extract minus {other}" in table for other in ("lead", "lexrank", "textrank"))
    assert "under 20K" in table and "Which tenths" in table
    for name, shown in (("rouge", "lexrank"), ("coverage", "reference")):
        drawn = (tmp_path / "out" / f"{name}.svg").read_text(encoding="utf-8")
        assert drawn.startswith("<svg") and f">{shown}</text>" in drawn
    assert "mean of groups" in capsys.readouterr().out


def test_a_models_answers_are_scored_beside_the_others(documents, model, tmp_path):
    evaluate.evaluate([str(documents)], tmp_path / "out", methods="lead,answer", budget="6", model=model)
    rows = read(tmp_path / "out")
    assert [row["method"] for row in rows] == ["lead", "answer"] * 4
    assert all(row["words"] <= 6 for row in rows)
    assert "answer minus lead" in (tmp_path / "out" / "table.txt").read_text(encoding="utf-8")


def test_answers_of_a_run_are_scored_and_those_that_are_not_there_left_out(documents, tmp_path):
    answer = {"kind": "answer", "summary": "The council of Bergen built a lighthouse. It was long ago."}
    known = answer | {"prompt_id": "summary", "source_etag": "e"}
    rows = [known | {"document_id": f"documents.jsonl#made/{number}"} for number in range(3)]
    write_part(tmp_path / "run", "summaries", "r", rows)
    write_listing(tmp_path / "run", {row["document_id"]: "e" for row in rows})
    evaluate.evaluate(
        [documents], tmp_path / "out", methods="extract,answer", answers=str(tmp_path / "run"), budget="9"
    )
    found = [row for row in read(tmp_path / "out") if row["method"] == "answer"]
    assert [row["document_id"] for row in found] == ["made/0", "made/1", "made/2"]
    assert {row["summary"] for row in found} == {"The council of Bergen built a lighthouse.\nIt was"}
    assert "extract minus answer" in (tmp_path / "out" / "table.txt").read_text(encoding="utf-8")


def test_similarity_is_null_where_there_is_nothing_to_measure_it_with(documents, tmp_path, monkeypatch):
    monkeypatch.setattr(similarity, "PACKAGE", "no_such_package")
    evaluate.evaluate([str(documents)], tmp_path, methods="lead")
    assert {row["similarity"] for row in read(tmp_path)} == {None}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"methods": "best"}, "extract, lead"),
        ({"methods": "lead,lead"}, "once"),
        ({"methods": "lead", "model": "default"}, "--model is of the method answer"),
        ({"methods": "answer", "model": "default", "answers": "out"}, "--model and --answers"),
        ({"methods": "answer", "prompt": "other"}, "no prompt other: there are summary"),
    ],
)
def test_options_that_do_not_fit_are_refused(documents, tmp_path, options, reason):
    with pytest.raises(ConfigError, match=reason):
        evaluate.evaluate([str(documents)], tmp_path, **options)


@pytest.mark.parametrize(
    ("methods", "pairs"),
    [
        (["lead", "answer", "extract"], [("extract", "lead"), ("answer", "lead"), ("extract", "answer")]),
        (["lexrank", "lead"], [("lexrank", "lead")]),
        (["extract"], []),
    ],
)
def test_ours_are_compared_with_each_baseline_in_whatever_order_they_are_named(methods, pairs):
    assert scores.pairs(methods) == pairs


def test_texts_of_any_kind_are_scored(model, tmp_path):
    odd = ["", " ", "\ud800 half a pair.", "x" * 2_000, "\n" * 1000, "1 2 3", "😀 " * 50]
    rows = [
        {"id": number, "text": text, "references": ["", f"The {number}th \udfff."]} for number, text in enumerate(odd)
    ]
    path = tmp_path / "odd.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    methods = "extract,lead,lexrank,textrank,answer"
    evaluate.evaluate([str(path)], tmp_path / "out", methods=methods, budget="12", model=model)
    found = read(tmp_path / "out")
    assert len(found) == 5 * len(odd)
    assert {row["group"] for row in found} == {"odd"} and {row["document_id"] for row in found} == set("0123456")


@pytest.mark.parametrize("budget", ["0", "many"])
def test_a_budget_that_is_none_is_refused(documents, tmp_path, budget):
    with pytest.raises(ConfigError, match="--budget"):
        evaluate.evaluate([str(documents)], tmp_path, budget=budget)


def test_documents_without_references_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "b"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="no document has a reference"):
        evaluate.evaluate([str(tmp_path / "a.jsonl")], tmp_path)
