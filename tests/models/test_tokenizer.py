"""Documents cannot speak in special tokens, and text survives the round trip."""

import pytest

from configs.errors import ModelError
from models.tokenizer import Tokenizer

TEXT = "The state goes in and the state comes out. 文書 naïve 2026\n"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train([TEXT] * 20, 300)


def test_any_text_comes_back(tokenizer):
    for text in (TEXT, "never seen: \x00 😀 \t", ""):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_document_that_quotes_the_end_token_does_not_end(tokenizer):
    quoted = tokenizer.encode("before <|endoftext|> after")
    assert tokenizer.end_id not in quoted
    assert tokenizer.decode(quoted) == "before <|endoftext|> after"


def test_it_survives_the_disk_with_the_same_fingerprint(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
    assert loaded.end_id not in loaded.encode("a <|endoftext|> b")


def test_a_missing_or_broken_tokenizer_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"no readable tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="is no tokenizer"):
        Tokenizer.load(tmp_path)
