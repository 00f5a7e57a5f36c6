"""JSON Schemas that answers must fit: read from the settings or a file, rejected early where they are invalid."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

JsonSchema = dict[str, object]

SUFFIXES = (".json", ".yaml", ".yml")
MAX_CHARS = 131_072
"""Longest schema as text: a model reads it after every document."""
TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
REFERENCES = ("$ref", "$dynamicRef")


def read(value: object) -> object:
    """What a setting gives: itself, or where it is text, what the file of that path holds.

    Raises ValueError where there is no such file or it cannot be parsed.
    """
    if not isinstance(value, str):
        return value
    path = Path(value).expanduser()
    if path.suffix not in SUFFIXES:
        raise ValueError(f"give a mapping, or the path of a file that ends in {', '.join(SUFFIXES)}")
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"the file is not valid {'JSON' if path.suffix == '.json' else 'YAML'}: {error}") from error


def check(schema: object) -> JsonSchema:
    """The schema itself, if answers can be checked with it. Raises ValueError with the first thing that is wrong."""
    if not isinstance(schema, dict):
        raise ValueError(f"a JSON schema is a mapping, this is a {type(schema).__name__}")
    if not schema:
        raise ValueError("an empty schema has no requirements; leave json_schema out")
    _check_is_json(schema)
    _check_dialect(schema)
    try:
        kind = validator_for(schema, default=Draft202012Validator)
        kind.check_schema(schema)
        _check_references(schema)
        # A reference to itself shows in the first answer.
        next(validator(schema).iter_errors(None), None)
    except SchemaError as error:
        raise ValueError(_sentence(error)) from error
    except RecursionError as error:
        raise ValueError("it refers to itself without end, or is nested too deeply") from error
    return schema


def validator(schema: JsonSchema) -> Validator:
    """What finds the violations of an answer. It fetches nothing: references stay within the schema."""
    return validator_for(schema, default=Draft202012Validator)(schema, registry=Registry())


def _check_is_json(schema: JsonSchema) -> None:
    """YAML knows dates, keys that are numbers or truth values, and mappings within themselves."""
    try:
        text = json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}; dates and such go in quotes") from error
    if json.loads(text) != schema:
        raise ValueError("it is not JSON: a key is a number or a truth value to YAML; put it in quotes")
    if len(text) > MAX_CHARS:
        raise ValueError(f"it has {len(text):,} characters, the limit is {MAX_CHARS:,}: every document pays for them")


def _check_dialect(schema: JsonSchema) -> None:
    dialect = schema.get("$schema", "")
    known = isinstance(dialect, str) and (not dialect or validator_for({"$schema": dialect}, default=None))
    if not known:
        raise ValueError(f"$schema = {dialect!r} is not a known version of JSON Schema; leave it out for 2020-12")


def _check_references(schema: JsonSchema) -> None:
    root = Resource.from_contents(schema, default_specification=DRAFT202012)
    resolver = Registry().resolver_with_root(root)
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable as error:
            remedy = "references lead to a place in the schema itself, as in #/$defs/name"
            raise ValueError(f"$ref = {reference!r} leads nowhere; {remedy}") from error


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (part[key] for key in REFERENCES if isinstance(part.get(key), str))
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _references(inner)


def _sentence(error: SchemaError) -> str:
    if error.validator == "anyOf" and error.path and error.path[-1] == "type":
        return f"at {error.json_path}: {error.instance!r} is not a type of JSON Schema; there are {', '.join(TYPES)}"
    return f"at {error.json_path}: {error.message}"
