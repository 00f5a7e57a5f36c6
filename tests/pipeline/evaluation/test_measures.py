import pytest
import zstandard
from structlog.testing import capture_logs

from configs.errors import ConfigError
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
    found = Measures(None).of("The council met in Bergen in 1843.", "The council met in Bergen.", known)
    assert found["rouge_1"] == pytest.approx(2 * 5 / 12)
    assert found["novelty"] == found["unsupported"] == found["repetition"] == 0
    assert found["profile_distance"] == pytest.approx(0)
    assert found["words"] == 7


def test_what_is_not_in_the_document_counts(known):
    found = Measures(None).of("Nine councils met in 1844 in 1844 in 1844.", "Seven ships sank.", known)
    assert found["unsupported"] == 4
    assert found["novelty"] > 0.5
    assert found["repetition"] > 0


def test_places_in_the_document_are_compared(known):
    assert known.distance("The council met in Bergen.", "Seven ships sank.") == 1
    assert known.profile("Seven ships sank.")[-1] == 1
    assert known.distance("Elephants!", "Seven ships sank.") == known.distance("", "Seven ships sank.") == 1
    assert known.distance("The council met. Seven ships sank.", "Seven ships sank.") == 0.5


def test_documents_come_with_their_first_reference(tmp_path):
    path = tmp_path / "made.jsonl"
    path.write_text('{"id": "a", "text": "T", "references": ["x", "y"]}\n{"id": "b", "text": "T"}\n', encoding="utf-8")
    assert list(referenced([str(path)])) == [Referenced("a", "made", "", "T", "x")]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": "a"}', "line 2: `id` and `text`"),
        ('{"id": "a", "text": 1}', "line 2: `id` and `text`"),
        ("[1]", "line 2: an object is needed"),
        ('{"id": "a", "text"', "no file of JSON lines"),
        ('{"id": "a", "text": "T", "reference": {"x": 1}}', "line 2: a reference is a string"),
    ],
)
def test_lines_that_are_no_documents_are_refused(tmp_path, line, reason):
    path = tmp_path / "made.jsonl"
    path.write_text('{"id": "a", "text": "T", "reference": "x"}\n' + line, encoding="utf-8")
    with pytest.raises(ConfigError, match=reason):
        list(referenced([str(path)]))


@pytest.mark.parametrize("name", ["gone.jsonl", ""])
def test_files_that_cannot_be_read_are_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be read"):
        list(referenced([str(tmp_path / name)]))


def test_every_frame_of_a_compressed_file_is_read(tmp_path):
    path = tmp_path / "made.jsonl.zst"
    lines = ('{"id": "a", "text": "T", "reference": "x"}\n', '{"id": "b", "text": "T", "reference": "y"}\n')
    path.write_bytes(b"".join(zstandard.compress(line.encode()) for line in lines))
    assert [document.id for document in referenced([str(path)])] == ["a", "b"]


def test_what_is_left_out_is_counted_in_the_log(tmp_path):
    path = tmp_path / "made.jsonl"
    rows = ('{"id": "a", "text": "T"}', '{"id": "b", "text": "TTTT", "reference": "x"}',
            '{"id": "c", "text": "T", "references": ["", "y"], "group": 7}')  # fmt: skip
    path.write_text("\n".join(rows), encoding="utf-8")
    with capture_logs() as said:
        assert list(referenced([str(path)], largest_characters=3)) == [Referenced("c", "7", "", "T", "y")]
    assert (said[0]["without_reference"], said[0]["too_large"]) == (1, 1)
