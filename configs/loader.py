"""Reads a YAML file and `key=value` overrides into frozen settings, or refuses with the field, the value and a remedy."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from configs.errors import ConfigError


class Settings(BaseModel):
    """Base of every settings model: frozen, unknown keys refused, the docstring under a field is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


AnySettings = TypeVar("AnySettings", bound=Settings)


def load(kind: type[AnySettings], path: Path | None, overrides: Sequence[str] = ()) -> AnySettings:
    """Settings of `kind` from a YAML file (or all defaults) with `a.b=value` overrides on top, values read as YAML.

    Raises ConfigError that names each wrong field, the value received and what to do.
    """
    values = _read(path) if path else {}
    for override in overrides:
        _apply(values, override)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = [_explain(kind, problem) for problem in error.errors()]
        raise ConfigError("\n".join(problems)) from error


def describe(kind: type[BaseModel]) -> str:
    """Every field with its type, default and docstring, one paragraph each, for `--help`."""
    return "\n\n".join(f"{name}  [{type_name}, default {default}]\n    {doc}" for name, type_name, default, doc in
                       _fields(kind))


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"config file {path}: {error.strerror}. Shipped ones are in configs/.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"config file {path} is no valid YAML: {error}") from error
    if values is not None and not isinstance(values, dict):
        raise ConfigError(f"config file {path} holds a {type(values).__name__}, expected `key: value` lines")
    return values or {}


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"override {override!r}: write key=value, for example input.sources=[docs/]")
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"override {override!r}: {parent} is a single value, it has no fields")
        values = inner
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is no valid YAML; put it in quotes") from error


def _explain(kind: type[BaseModel], problem: Mapping[str, Any]) -> str:
    field = ".".join(map(str, problem["loc"])) or "config"
    value = problem["input"]
    if problem["type"] == "extra_forbidden":
        known = [name for name, *_ in _fields(kind)]
        close = difflib.get_close_matches(field, known, n=1, cutoff=0.5)
        remedy = f"did you mean {close[0]}?" if close else "see --help for the fields"
        return f"{field} = {value!r}: there is no such field; {remedy}"
    if problem["type"] == "missing":
        return f"{field}: is required; set it in the YAML or as {field}=VALUE"
    message = problem["msg"].removeprefix("Value error, ")
    received = "" if problem["type"] == "value_error" and isinstance(value, dict) else f" = {value!r}"
    return f"{field}{received}: {message}"


def _fields(kind: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """(dotted name, type, default, docstring) of each leaf."""
    for name, field in kind.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _fields(annotation, f"{prefix}{name}.")
            continue
        type_name = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
        default = "none, required" if field.is_required() else repr(field.get_default(call_default_factory=True))
        yield f"{prefix}{name}", type_name, default, " ".join((field.description or "").split())
