import numpy as np
import pytest
from structlog.testing import capture_logs

from configs.errors import ConfigError
from configs.settings import InputSettings
from models.weights.tokenizer import Tokenizer
from pipeline.evaluation.haystack import Haystack

SETTINGS = InputSettings(sources=("-",))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.shipped()


def test_documents_are_laid_end_to_end_and_again(tmp_path, tokenizer):
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(f"This is the text {name}.\n" * 3, encoding="utf-8")
    with capture_logs() as said:
        found = Haystack.of([str(tmp_path)], SETTINGS, tokenizer, 200)
    assert len(found.tokens) == len(found.line_ends) == 200
    assert found.tokens[0] == tokenizer.begin_id and tokenizer.begin_id not in found.tokens[1:]
    text = tokenizer.decode(found.tokens.tolist())
    assert text.index("text a") < text.index("text b") < text.rindex("text a")
    assert [line["event"] for line in said].count("documents_repeated") == 1


def test_lines_end_where_they_do(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("One line.\nAnother line.\n" * 5, encoding="utf-8")
    found = Haystack.of([str(tmp_path / "a.txt")], SETTINGS, tokenizer, 40)
    ends = [tokenizer.decode([token]) for token in found.tokens[found.line_ends].tolist()]
    assert len(ends) >= 6 and all("\n" in token for token in ends)
    others = tokenizer.decode(found.tokens[~found.line_ends].tolist())
    assert "\n" not in others


def test_the_sample_is_long_enough_by_itself(tokenizer):
    found = Haystack.of(["sample://python-reference/"], SETTINGS, tokenizer, 3000)
    assert len(np.unique(found.tokens)) > 300


def test_sources_without_text_are_refused(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(ConfigError, match="no text"):
        Haystack.of([str(tmp_path / "a.txt")], SETTINGS, tokenizer, 100)
