"""Documents cannot speak in special tokens, and text survives the round trip."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs.errors import ModelError
from models.weights.tokenizer import Tokenizer

ROOT = Path(__file__).parents[3]
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


def test_a_locale_that_is_not_utf8_changes_nothing(tokenizer, tmp_path):
    (tmp_path / "saved").mkdir()
    tokenizer.save(tmp_path)
    program = (
        "import sys\nfrom pathlib import Path\nfrom models.weights.tokenizer import Tokenizer\n"
        "here = Path(sys.argv[1])\nloaded = Tokenizer.load(here)\nloaded.save(here / 'saved')\n"
        "print(loaded.fingerprint, Tokenizer.load(here / 'saved').fingerprint)"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", program, str(tmp_path)]
    ended = subprocess.run(command, env=os.environ | locale, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.stdout.split() == [tokenizer.fingerprint] * 2, ended.stderr


def test_a_missing_or_broken_tokenizer_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"no readable tokenizer\.json"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="is no tokenizer"):
        Tokenizer.load(tmp_path)


def with_tokens(tokenizer: Tokenizer, directory, *names: str) -> Tokenizer:
    """The tokenizer with other special tokens, the last ones of its vocabulary, which it puts around a text."""
    tokenizer.save(directory)
    content = json.loads((directory / "tokenizer.json").read_text())
    start = len(content["model"]["vocab"])
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content["added_tokens"] = [{"id": start + i, "content": name} | plain for i, name in enumerate(names)]
    content["model"]["vocab"]["<unused>"] = content["model"]["vocab"].pop("<|endoftext|>")
    ids = {names[0]: {"id": names[0], "ids": [start], "tokens": [names[0]]}}
    single = [{"SpecialToken": {"id": names[0], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    content["post_processor"] = {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": ids}
    content["post_processor"]["pair"] = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
    (directory / "tokenizer.json").write_text(json.dumps(content))
    return Tokenizer.load(directory)


def test_the_special_tokens_of_llama_begin_and_end_a_document_and_are_not_put_into_it(tokenizer, tmp_path):
    llama, size = with_tokens(tokenizer, tmp_path, "<|begin_of_text|>", "<|end_of_text|>"), tokenizer.vocab_size
    assert (llama.begin_id, llama.end_id) == (size, size + 1)
    ids = llama.encode(TEXT + "<|begin_of_text|><|end_of_text|>")
    assert max(ids) < size
    assert llama.decode([llama.begin_id, *ids, llama.end_id]) == TEXT + "<|begin_of_text|><|end_of_text|>"


def test_a_vocabulary_that_the_embedding_does_not_hold_is_refused(tokenizer, tmp_path):
    llama, size = with_tokens(tokenizer, tmp_path, "<|begin_of_text|>", "<|end_of_text|>"), tokenizer.vocab_size
    for each, largest in ((tokenizer, size - 1), (llama, size + 1)):
        each.check_fits(largest + 1)
        with pytest.raises(ModelError, match=rf"up to {largest}, .* {largest} rows: .*set model\.tokenizer"):
            each.check_fits(largest)


def test_a_tokenizer_is_found_beside_the_weights_or_where_the_setting_says(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    assert Tokenizer.find(str(tmp_path), "default").fingerprint == tokenizer.fingerprint
    assert Tokenizer.find(None, str(tmp_path)).fingerprint == tokenizer.fingerprint
    assert Tokenizer.find(None, "default").fingerprint != tokenizer.fingerprint
