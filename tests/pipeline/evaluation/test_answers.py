import pytest

from configs.errors import ConfigError
from configs.settings import PromptSettings
from pipeline.evaluation.answers import ModelAnswers, RunAnswers, Wanted
from pipeline.evaluation.references import Referenced
from tests.one_actor import PATIENCE_SECONDS, TEXT, assignment_in, entries, run, streamed, with_settings
from tests.outputs import write_listing, write_part

PROMPTS = (
    PromptSettings(name="points", kind="extract"),
    PromptSettings(name="first", max_tokens=8),
    PromptSettings(name="second", instruction="In a line: 1 2 3", max_tokens=8, temperature=0.9, seed=3),
)


def wanted(identity: str, text: str = TEXT, max_words: int = 4) -> Wanted:
    return Wanted(Referenced(identity, "group", "", text, "reference"), max_words)


def test_a_model_answers_as_in_a_run(tmp_path):
    assignment = with_settings(assignment_in(tmp_path), prompts=PROMPTS, preamble="a line", citations=False)
    _, futures = run(assignment, *(streamed(tmp_path / name, TEXT.encode()) for name in ("a", "b")))
    assert {future.result(PATIENCE_SECONDS)["status"] for future in futures} == {"ok"}
    expected = {
        (name, row["prompt_id"]): row["summary"]
        for name, entry in entries(assignment).items()
        for row in entry["summaries"]
    }
    for prompt in ("first", "second"):
        answers = ModelAnswers(assignment.config, prompt)
        assert answers.batch == assignment.config.engine.slots
        assert answers.of([wanted("a"), wanted("b")]) == [expected["a", prompt], expected["b", prompt]]
    assert len(set(expected.values())) > 1


def test_an_answer_has_tokens_for_its_words_and_an_empty_document_gets_one_too(tmp_path):
    answers = ModelAnswers(assignment_in(tmp_path).config)
    short, long, empty = answers.of([wanted("a", max_words=1), wanted("a", max_words=20), wanted("e", "")])
    assert len(short) < len(long) and long.startswith(short) and empty is not None


def test_prompts_that_there_are_not_are_refused(tmp_path):
    config = with_settings(assignment_in(tmp_path), prompts=PROMPTS).config
    with pytest.raises(ConfigError, match="no prompt third: there are first, second"):
        ModelAnswers(config, "third")


@pytest.fixture
def output(tmp_path):
    rows = [
        {"document_id": "a.txt", "prompt_id": "first", "kind": "answer", "summary": "About a."},
        {"document_id": "a.txt", "prompt_id": "points", "kind": "extract", "summary": "- A."},
        {"document_id": "a.txt", "prompt_id": "first", "kind": "answer", "summary": "A part.", "section_index": 0},
        {"document_id": "lines.jsonl#made/1", "prompt_id": "first", "kind": None, "summary": "About one."},
    ]
    write_part(tmp_path, "summaries", "r", [row | {"source_etag": "e"} for row in rows])
    write_listing(tmp_path, {"a.txt": "e", "lines.jsonl#made/1": "e"})
    return tmp_path


def test_answers_of_a_run_are_found_by_the_ids_of_documents_and_of_lines(output):
    asked = [wanted("a.txt"), wanted("made/1"), wanted("lines.jsonl#made/1"), wanted("2")]
    assert RunAnswers(str(output)).of(asked) == ["About a.", "About one.", "About one.", None]
    with pytest.raises(ConfigError, match="no answers to 'points': there are first"):
        RunAnswers(str(output), "points")


def test_of_several_prompts_one_is_to_be_named(output):
    rows = [{"document_id": "a.txt", "prompt_id": "other", "summary": "Else.", "source_etag": "e"}]
    write_part(output, "summaries", "s", rows)
    with pytest.raises(ConfigError, match="--prompt says which: there are first, other"):
        RunAnswers(str(output))
    assert RunAnswers(str(output), "other").of([wanted("a.txt")]) == ["Else."]


def test_one_id_in_two_files_is_refused(output):
    rows = [{"document_id": "more.jsonl#made/1", "prompt_id": "first", "summary": "Else.", "source_etag": "e"}]
    write_part(output, "summaries", "s", rows)
    write_listing(output, {"a.txt": "e", "lines.jsonl#made/1": "e", "more.jsonl#made/1": "e"})
    with pytest.raises(ConfigError, match="Two documents of the run have the id made/1"):
        RunAnswers(str(output))
