"""A settings file and overrides become frozen settings, or a refusal that says what to do."""

from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from configs.errors import ConfigError
from configs.loader import fields, load
from configs.settings import SummarizeConfig
from configs.training import TrainConfig

SOURCES = "input.sources=[docs/]"


def summarize(*overrides: str) -> SummarizeConfig:
    return load(SummarizeConfig, None, [SOURCES, *overrides])


def from_yaml(folder: Path, text: str, *overrides: str) -> SummarizeConfig:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load(SummarizeConfig, path, overrides)


@pytest.mark.parametrize(
    ("override", "refusal"),
    [
        ("engine.slot=4", "engine.slot = 4: there is no such field; did you mean engine.slots?"),
        ("slots=4", "did you mean engine.slots?"),
        (
            "prompts.0.max_token=4",
            "prompts.0.max_token = 4: there is no such field; did you mean prompts.0.max_tokens?",
        ),
        ("zzz=4", "zzz = 4: there is no such field; see --help"),
        ("engine.slots=many", "engine.slots = 'many': Input should be a valid integer"),
        ("engine.slots=0", "engine.slots = 0: Input should be greater than or equal to 1"),
        ("model.device=tpu", "model.device = 'tpu': Input should be 'auto', 'cpu' or 'cuda'"),
        ("model.dtype=int4", "model.dtype = 'int4': Input should be 'auto', 'float32', 'bfloat16', 'int8' or 'float8'"),
        ("model={backend: transformers, dtype: int8}", "dtype = 'int8' is of models that run natively"),
        ("model.uri=", "model.uri = None: Input should be a valid string"),
        ("run.id=../up", "run.id = '../up': String should match pattern"),
        ("price.currency=dollars", "price.currency = 'dollars'"),
        ("input.sources=[]", "at least 1 item"),
        ("engine=4", "engine = 4: has fields of its own; set them as engine.FIELD"),
        ("engine.slots.a=4", "engine.slots = {'a': 4}: Input should be a valid integer"),
        ("prompts.1.name=x", "1 is not an index of a list of 1, from 0"),
        ("prompts.first.name=x", "prompts = {'first': {'name': 'x'}}"),
        ("input.sources=[a", "the value is not valid YAML; put its parts in quotes"),
        ("input.sources", "write key=value, for example input.sources=[docs/]"),
        ("=4", "write key=value"),
        ("engine..slots=4", "write key=value"),
    ],
)
def test_a_wrong_override_is_refused_with_a_remedy(override, refusal):
    with pytest.raises(ConfigError) as error:
        summarize(override)
    assert refusal in str(error.value)


def test_every_wrong_field_is_named_at_once():
    with pytest.raises(ConfigError) as error:
        summarize("engine.slots=0", "prompts.0.top_p=2", "output.url=x")
    assert [line.partition(" ")[0] for line in str(error.value).splitlines()] == [
        "output.url",
        "prompts.0.top_p",
        "engine.slots",
    ]


def test_what_is_required_is_asked_for():
    with pytest.raises(ConfigError, match=r"^input: is required; set it in the YAML or as input=VALUE$"):
        load(SummarizeConfig, None)
    with pytest.raises(ConfigError, match=r"^input\.sources: is required"):
        load(SummarizeConfig, None, ["input.text_field=body"])


def test_rules_across_fields_name_both_and_their_values():
    with pytest.raises(ConfigError, match=r"prompts have the names \['a', 'a'\]: give each its own name"):
        summarize("prompts=[{name: a}, {name: a}]")
    with pytest.raises(ConfigError, match=r"model: |model\.headdim = 60 must divide twice model\.d_model = 256"):
        load(TrainConfig, None, ["output=x", "model.headdim=60"])


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("input: [a", "is not valid YAML"),
        ("- a\n- b", "holds a list, expected `key: value` lines"),
        ("just words", "holds a str"),
        ("input: {sources: [a]}\nengien: {slots: 4}", "engien = {'slots': 4}: there is no such field; did you mean"),
        ("input:", "input = None: has fields of its own"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, refusal):
    with pytest.raises(ConfigError) as error:
        from_yaml(tmp_path, text)
    assert refusal in str(error.value)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: No such file or directory\. Shipped ones are in configs/"):
        load(SummarizeConfig, tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(SummarizeConfig, tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"input: {sources: [\xe9]}")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(SummarizeConfig, tmp_path / "latin.yaml")


def test_overrides_win_over_the_file_and_leave_the_rest(tmp_path):
    text = "input: {sources: [a]}\nengine: {slots: 4, readers: 2}\nmodel:\n"
    config = from_yaml(tmp_path, text, "engine.slots=8", "engine.slots=9", "model.dtype=float32")
    assert (config.engine.slots, config.engine.readers, config.model.dtype) == (9, 2, "float32")


def test_lists_are_set_whole_or_at_a_place(tmp_path):
    assert summarize("input.sources=[a, 's3://b/c d/*.txt', e#f]").input.sources == ("a", "s3://b/c d/*.txt", "e#f")
    config = from_yaml(tmp_path, "input: {sources: [a, b]}", "input.sources.1=c", "prompts.0.max_tokens=32")
    assert config.input.sources == ("a", "c")
    assert [(prompt.name, prompt.max_tokens) for prompt in config.prompts] == [("summary", 32)]


@pytest.mark.parametrize(
    "text", ["007", "1e5", "2026-01-01", "yes", "0x10", "1:30", "1_000", "night # 2", "a: b", "- a", "@me", "*x", "%d"]
)
def test_text_on_the_command_line_is_taken_as_written(text):
    assert summarize(f"prompts.0.instruction={text}").prompts[0].instruction == text


@pytest.mark.parametrize(
    ("override", "value"),
    [("output.uri=s3://bucket/x", "s3://bucket/x"), ("output.uri= a b ", "a b"), ("output.uri='007 # x'", "007 # x")],
)
def test_uris_and_quotes(override, value):
    assert summarize(override).output.uri == value


def test_numbers_of_a_file_are_text_where_text_is_asked_for(tmp_path):
    config = from_yaml(tmp_path, "input: {sources: [2024, 01.50]}\nrun: {id: 'x'}\nmodel: {uri: 1.10}")
    assert config.input.sources == ("2024", "01.50")
    assert config.model.uri == "1.10"


def test_null_unsets_what_may_be_unset():
    assert summarize("run.id=x", "run.id=null").run.id is None


def test_money_is_exact(tmp_path):
    assert from_yaml(tmp_path, "input: {sources: [a]}\nprice: {gpu_hour: 2.19}").price.gpu_hour == Decimal("2.19")
    with pytest.raises(ConfigError, match="no more than 6 decimal places"):
        summarize("price.gpu_hour=0.0000001")


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        summarize().engine.slots = 4


@pytest.mark.parametrize("kind", [SummarizeConfig, TrainConfig])
def test_the_help_lists_each_field_with_its_docstring(kind):
    listed = {field.name: field for field in fields(kind)}
    assert len(listed) == len(list(fields(kind)))
    assert [name for name, field in listed.items() if not field.doc] == []


def test_the_help_reaches_into_lists_and_shows_plain_defaults():
    listed = {field.name: field for field in fields(SummarizeConfig)}
    assert listed["prompts.0.max_tokens"].default == "128"
    assert listed["price.cpu_hour"].default == "0.04"
    assert (listed["input.sources"].type, listed["input.sources"].default) == ("list of str", None)
    assert (listed["run.id"].type, listed["run.id"].default) == ("str", "unset")
    assert listed["model.device"].type == "auto | cpu | cuda"


@pytest.mark.parametrize("path", ["docs/", "a, b #c: d/e.txt", "s3://bucket/a,b/"])
def test_one_source_is_a_list_of_one(path):
    assert load(SummarizeConfig, None, [f"input.sources={path}"]).input.sources == (path,)


@pytest.mark.parametrize(
    ("prompts", "refusal"),
    [
        ("[{name: a, kind: extract, max_tokens: 9}]", "prompt 'a': max_tokens is of prompts of kind answer"),
        ("[{name: a, kind: extract, instruction: Say it.}]", "instruction is of prompts of kind answer"),
        ("[{name: a, max_words: 50}]", "prompt 'a': max_words is of prompts of kind extract"),
        ("[{name: a, kind: summary}]", "prompts.0.kind = 'summary'"),
    ],
)
def test_an_extract_takes_words_and_an_answer_tokens(prompts, refusal):
    with pytest.raises(ConfigError) as error:
        load(SummarizeConfig, None, ["input.sources=x", f"prompts={prompts}"])
    assert refusal in str(error.value)


def test_answers_about_sections_need_one_about_the_whole():
    given = ["input.sources=x", "prompts=[{name: a, kind: extract}]"]
    with pytest.raises(ConfigError, match="add one of kind answer to prompts"):
        load(SummarizeConfig, None, [*given, "sections={}"])
    extracts = load(SummarizeConfig, None, [*given, "sections={prompts: [{name: b, kind: extract}]}"])
    assert extracts.is_extract_only and extracts.prompts[0].words == 120
