"""An answer ends at every token that a checkpoint's files name, however they spell it."""

import json

import pytest

from configs.errors import ModelError
from models.weights import checkpoint
from models.weights.endings import end_ids
from models.weights.tokenizer import Tokenizer

TEXT = "The state goes in and the state comes out.\n"
NAMES = ("<|begin|>", "<|end|>", "<|turn|>")
FIRST = Tokenizer.train([TEXT] * 20, 300).vocab_size
"""Of the special tokens."""


def directory_with(tmp_path, special=("<|endoftext|>",), **files: object) -> None:
    """A tokenizer whose first ids are special, and files of JSON."""
    Tokenizer.train([TEXT] * 20, 300).save(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    size = len(content["model"]["vocab"])
    del content["model"]["vocab"]["<|endoftext|>"]
    content["model"]["vocab"]["<unused>"] = 0
    content["added_tokens"] = [{"id": size + i, "content": name} | plain for i, name in enumerate(special)]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    for name, value in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, {FIRST}),
        ({"config": {"eos_token_id": 7}}, {7, FIRST}),
        ({"config": {"eos_token_id": None}, "generation_config": {"eos_token_id": [7, 9]}}, {7, 9, FIRST}),
        ({"config": {"text_config": {"eos_token_id": [3, 4]}}, "generation_config": {}}, {3, 4, FIRST}),
        ({"config": {"eos_token_id": 5}, "generation_config": {"eos_token_id": [5, 6]}}, {5, 6, FIRST}),
    ],
)
def test_all_files_are_heard_and_each_may_have_a_list(files, expected, tmp_path):
    directory_with(tmp_path, **files)
    assert end_ids(tmp_path, Tokenizer.load(tmp_path)) == expected


@pytest.mark.parametrize("token", ["<|turn|>", {"content": "<|turn|>", "special": True}])
def test_the_tokenizer_names_its_own_by_text(token, tmp_path):
    names = {"eos_token": token, "bos_token": "<|begin|>", "pad_token": None}
    directory_with(tmp_path, NAMES, tokenizer_config=names)
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.begin_id, tokenizer.end_ids, tokenizer.end_id) == (FIRST, {FIRST + 2}, FIRST + 2)
    assert end_ids(tmp_path, tokenizer) == {FIRST + 2}


def test_what_ends_and_begins_is_part_of_the_fingerprint_where_the_names_do_not_tell(tmp_path):
    directory_with(tmp_path, (*NAMES, "<|endoftext|>"))
    before = Tokenizer.load(tmp_path).fingerprint
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", "model_max_length": 9}))
    assert Tokenizer.load(tmp_path).fingerprint == before
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|turn|>"}))
    assert Tokenizer.load(tmp_path).fingerprint != before


def test_generation_settings_are_part_of_a_model(tmp_path):
    for file in checkpoint.DEFAULT.iterdir():
        (tmp_path / file.name).symlink_to(file)
    assert checkpoint.fingerprint(tmp_path) == checkpoint.fingerprint(checkpoint.DEFAULT)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    assert checkpoint.fingerprint(tmp_path) != checkpoint.fingerprint(checkpoint.DEFAULT)
    assert {0, 1, 2} == end_ids(tmp_path, Tokenizer.load(tmp_path))


@pytest.mark.parametrize("value", ["</s>", [1, "2"], True, -1, 2.0])
def test_what_is_no_token_is_refused_with_its_file(value, tmp_path):
    directory_with(tmp_path, generation_config={"eos_token_id": value})
    with pytest.raises(ModelError, match=r"generation_config\.json: eos_token_id = "):
        end_ids(tmp_path, Tokenizer.load(tmp_path))


def test_files_that_are_broken_or_say_nothing_are_refused(tmp_path):
    directory_with(tmp_path, NAMES)
    with pytest.raises(ModelError, match="no token ends an answer"):
        end_ids(tmp_path, Tokenizer.load(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json cannot be read as JSON"):
        end_ids(tmp_path, Tokenizer.load(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"tokenizer_config\.json holds no JSON object"):
        Tokenizer.load(tmp_path)
