"""A prompt that cannot work is refused before anything starts, with its name and the reason."""

import json
import pickle
from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.loader import load
from configs.settings import PromptSettings, SummarizeConfig

FACTS = {"type": "object", "required": ["year"], "properties": {"year": {"type": "integer"}}}


def prompts(*overrides: str) -> tuple[PromptSettings, ...]:
    return load(SummarizeConfig, None, ["input.sources=[docs/]", *overrides]).prompts


def with_schema(schema: object) -> str:
    return f"prompts=[{{name: facts, json_schema: {json.dumps(schema)}}}]"


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        prompts(*overrides)
    return str(error.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("prompts.0.name=", "prompts.0.name = None: Input should be a valid string"),
        ("prompts.0.name=''", "prompts.0.name = '': String should match pattern"),
        ("prompts.0.instruction=''", "prompts.0.instruction = ''"),
        ("prompts.0.instruction='  '", "prompts.0: prompt 'summary': instruction = '  ' says nothing"),
        (f"prompts.0.instruction={'x' * 131_073}", "instruction has 131,073 characters, the limit is 131,072"),
        ("prompts.0.max_tokens=0", "prompts.0.max_tokens = 0: Input should be greater than or equal to 1"),
        ("prompts.0.temperature=-1", "prompts.0.temperature = -1: Input should be greater than or equal to 0"),
        ("prompts.0.temperature=.nan", "prompts.0.temperature = nan"),
        ("prompts.0.top_p=0", "prompts.0.top_p = 0: Input should be greater than 0"),
        ("prompts=[{name: a}, {name: a}]", "prompts have the names ['a', 'a']: give each its own name"),
        ("prompts=[]", "prompts = []"),
    ],
)
def test_a_bad_prompt_is_refused_with_field_and_value(override, says):
    assert says in refusal(override)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ([1], "a JSON schema is a mapping, this is a list"),
        (True, "a JSON schema is a mapping, this is a bool"),
        ({}, "an empty schema has no requirements"),
        ({"type": "objct"}, "at $.type: 'objct' is not a type of JSON Schema; there are array, boolean"),
        (
            {"properties": {"year": {"type": ["int"]}}},
            "at $.properties.year.type: ['int'] is not a type of JSON Schema",
        ),
        ({"properties": []}, "at $.properties: [] is not of type 'object'"),
        ({"required": "year"}, "at $.required: 'year' is not of type 'array'"),
        ({"pattern": "("}, "at $.pattern: '(' is not a 'regex'"),
        ({"$schema": "http://example.org/mine"}, "$schema = 'http://example.org/mine' is not a known version"),
        ({"$schema": [1]}, "$schema = [1] is not a known version"),
        ({"$ref": "#/$defs/gone"}, "$ref = '#/$defs/gone' leads nowhere"),
        ({"items": {"$ref": "http://example.org/schema.json"}}, "leads nowhere; references lead to a place in the"),
        ({"$ref": "#"}, "it refers to itself without end"),
        ({"description": "x" * 200_000}, "characters, the limit is 131,072"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_schema_is_refused_with_the_prompts_name(schema, says):
    message = refusal(with_schema(schema))
    assert message.startswith("prompts.0.json_schema")
    assert "prompt 'facts': " in message
    assert says in message


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("{enum: [2026-01-01]}", "dates and such go in quotes"),
        ("{enum: [.inf]}", "it is not JSON"),
        ("{properties: {on: {type: string}}}", "a key is a number or a truth value to YAML; put it in quotes"),
        ("&all {properties: {a: *all}}", "it is not JSON: Circular reference"),
    ],
)
def test_what_yaml_knows_and_json_does_not_is_refused(tmp_path, schema, says):
    (tmp_path / "schema.yaml").write_text(schema)
    assert says in refusal(f"prompts.0.json_schema={tmp_path / 'schema.yaml'}")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("gone.json", None, "the file cannot be read: No such file or directory"),
        ("cut.json", b'{"type": ', "the file is not valid JSON"),
        ("cut.yaml", b"{type: ", "the file is not valid YAML"),
        ("latin.json", b'{"title": "\xe9"}', "the file is not valid JSON"),
        ("deep.json", b'{"a": ' * 100_000, "the file is not valid JSON"),
        ("list.yml", b"[a]", "a JSON schema is a mapping, this is a list"),
        ("empty.yaml", b"", "a JSON schema is a mapping, this is a NoneType"),
        ("schema.txt", b"{}", "the path of a file that ends in .json, .yaml, .yml"),
    ],
)
def test_a_bad_schema_file_is_refused_by_name(tmp_path, name, content, says):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    message = refusal(f"prompts.0.json_schema={path}")
    assert f"prompts.0.json_schema = {str(path)!r}: prompt 'summary': " in message
    assert says in message


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_a_schema_comes_from_a_file_or_from_the_settings_themselves(tmp_path, monkeypatch, suffix):
    (tmp_path / f"facts{suffix}").write_text(json.dumps(FACTS))
    monkeypatch.chdir(tmp_path)
    (from_file,) = prompts(f"prompts.0.json_schema=facts{suffix}")
    (inline,) = prompts(f"prompts.0.json_schema={json.dumps(FACTS)}")
    assert from_file == inline
    assert inline.json_schema == FACTS
    assert pickle.loads(pickle.dumps(inline)) == inline


def test_overrides_reach_into_a_schema(tmp_path):
    path = Path(tmp_path / "config.yaml")
    path.write_text(f"input: {{sources: [a]}}\nprompts: [{{name: facts, json_schema: {json.dumps(FACTS)}}}]")
    changed = "prompts.0.json_schema.properties.year.type=string"
    (prompt,) = load(SummarizeConfig, path, [changed]).prompts
    assert prompt.json_schema == FACTS | {"properties": {"year": {"type": "string"}}}
    (bare,) = prompts("prompts.0.json_schema.type=array")
    assert bare.json_schema == {"type": "array"}
    (none,) = load(SummarizeConfig, path, ["prompts.0.json_schema=null"]).prompts
    assert none.json_schema is None


def test_a_schema_that_holds_itself_for_its_parts_is_welcome():
    tree = {"type": "object", "properties": {"below": {"$ref": "#/$defs/tree"}}, "$defs": {"tree": {"$ref": "#"}}}
    older = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "array"}
    assert prompts(with_schema(tree))[0].json_schema == tree
    assert prompts(with_schema(older))[0].json_schema == older


def test_without_a_schema_settings_are_written_as_before_there_were_any():
    """Their fingerprint is made of this: with another, finished documents would be done again."""
    assert PromptSettings().model_dump(mode="json") == {
        "name": "summary",
        "instruction": "Summarize the document.",
        "max_tokens": 128,
        "temperature": 0.0,
        "top_p": 1.0,
        "seed": 0,
    }
    assert PromptSettings(json_schema=FACTS).model_dump(mode="json")["json_schema"] == FACTS
