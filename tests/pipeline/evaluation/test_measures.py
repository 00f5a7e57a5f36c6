import pytest

from configs.errors import ConfigError
from pipeline.evaluation import summaries
from pipeline.evaluation.measures import Known, Measures
from pipeline.evaluation.references import Referenced, referenced
from pipeline.sentences.key_sentences import KeySentences

TEXT = (
    "The council met in Bergen in 1843. "
    + "Nothing else happened in those long years. " * 20
    + "Seven ships sank at last."
)


@pytest.fixture(scope="module")
def known():
    keys = KeySentences()
    keys.feed(TEXT)
    return Known(TEXT, keys.finish())


def test_a_summary_is_measured(known):
    found = Measures().of("The council met in Bergen in 1843.", "The council met in Bergen.", known)
    assert found["rouge_1"] == pytest.approx(2 * 5 / 12)
    assert found["novelty"] == found["unsupported"] == found["repetition"] == found["profile_distance"] == 0
    assert found["words"] == 7


def test_what_is_not_in_the_document_counts(known):
    found = Measures().of("Nine councils met in 1844 in 1844 in 1844.", "Seven ships sank.", known)
    assert found["unsupported"] == 4
    assert found["novelty"] > 0.5
    assert found["repetition"] > 0


def test_places_in_the_document_are_compared(known):
    assert known.distance("The council met in Bergen.", "Seven ships sank.") == 1
    assert known.profile("Seven ships sank.")[-1] == 1


@pytest.mark.parametrize(("methods", "reason"), [(["answer"], "jobs.summarize"), (["best"], "extract, lead")])
def test_methods_that_there_are_not_are_refused(methods, reason):
    with pytest.raises(ConfigError, match=reason):
        summaries.check(methods)


def test_documents_come_with_their_first_reference(tmp_path):
    path = tmp_path / "made.jsonl"
    path.write_text('{"id": "a", "text": "T", "references": ["x", "y"]}\n{"id": "b", "text": "T"}\n', encoding="utf-8")
    assert list(referenced([path])) == [Referenced("a", "made", "", "T", "x")]


def test_lines_without_text_are_refused(tmp_path):
    path = tmp_path / "made.jsonl"
    path.write_text('{"id": "a"}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1"):
        list(referenced([path]))
