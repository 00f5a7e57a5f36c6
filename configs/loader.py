"""Reads a YAML file and `key=value` overrides into frozen settings; errors name field, value and remedy."""

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from configs.errors import ConfigError

Loader = type[yaml.SafeLoader] | type[yaml.BaseLoader]


class Settings(BaseModel):
    """Base of every settings model: frozen, unknown keys refused, the docstring under a field is its help."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        # It may be a secret; `load` shows it masked.
        hide_input_in_errors=True,
    )


AnySettings = TypeVar("AnySettings", bound=Settings)


class SettingsField(NamedTuple):
    """One line of the help."""

    name: str
    """Dotted; 0 stands for any place in a list."""
    type: str
    default: str | None
    """None where a value is required."""
    doc: str


def load(kind: type[AnySettings], path: Path | None, overrides: Sequence[str] = ()) -> AnySettings:
    """Settings of `kind` from a YAML file (or all defaults) with `a.b=value` overrides on top.

    A value in brackets, braces or quotes is YAML; any other is one number, word or sentence. `prompts.0.name` reaches
    into a list. Raises ConfigError that names each wrong field, the value received and what to do.
    """
    values = _assemble(kind, path, overrides, yaml.SafeLoader)
    texts = _assemble(kind, path, overrides, yaml.BaseLoader)
    try:
        return _validate(kind, values, texts)
    except ValidationError as error:
        problems = error.errors()
        raise ConfigError("\n".join(_explain(kind, one) for one in problems if not _follows(one, problems))) from error


def fields(kind: type[BaseModel], prefix: str = "") -> Iterator[SettingsField]:
    """Every field that can be set, those of nested settings and of lists of settings included."""
    for name, field in kind.model_fields.items():
        inner, in_list = _nested(field.annotation)
        # A group is a field of its own only where something is said about it as a whole.
        if inner is None or in_list or field.description:
            default = None if field.is_required() else _show(field.get_default(call_default_factory=True))
            doc = " ".join((field.description or "").split())
            yield SettingsField(f"{prefix}{name}", _type_name(field.annotation), default, doc)
        if inner is not None:
            yield from fields(inner, f"{prefix}{name}.0." if in_list else f"{prefix}{name}.")


def _assemble(kind: type[Settings], path: Path | None, overrides: Sequence[str], loader: Loader) -> dict[str, Any]:
    """File and overrides as one tree. SafeLoader gives typed scalars, BaseLoader the same tree with text as written."""
    values = _read(path, loader) if path else {}
    for override in overrides:
        _apply(kind, values, override, loader)
    return values


def _read(path: Path, loader: Loader) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), loader)
    except OSError as error:
        raise ConfigError(f"config file {path}: {error.strerror}. Shipped ones are in configs/.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {path} is not valid YAML: {error}") from error
    if not values:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"config file {path} holds a {type(values).__name__}, expected `key: value` lines")
    return values


def _apply(kind: type[Settings], values: dict[str, Any], override: str, loader: Loader) -> None:
    key, equals, text = override.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise ConfigError(f"override {override!r}: write key=value, for example input.sources=[docs/]")
    inner: Any = values
    for depth, part in enumerate(parts[:-1]):
        place = _place(inner, part, override)
        # An empty section: None to one loader, text to the other.
        missing = isinstance(inner, dict) and inner.get(place) in (None, "", "~", "null")
        if missing:
            inner[place] = _default_list(kind, parts[: depth + 1]) if parts[depth + 1].isdecimal() else {}
        inner = inner[place]
        if not isinstance(inner, dict | list):
            raise ConfigError(f"override {override!r}: {part} is a single value without fields")
    inner[_place(inner, parts[-1], override)] = _parse(override, text.strip(), loader)


def _place(container: dict[str, Any] | list[Any], part: str, override: str) -> str | int:
    if isinstance(container, dict):
        return part
    if not part.isdecimal() or int(part) >= len(container):
        raise ConfigError(f"override {override!r}: {part} is not an index of a list of {len(container)}, from 0")
    return int(part)


def _default_list(kind: type[BaseModel], parts: Sequence[str]) -> list[Any] | dict[str, Any]:
    """What a list field holds when neither file nor override sets it, so that an override can change a part of it."""
    field = kind.model_fields.get(parts[0])
    if field is None or field.is_required():
        return {}
    if len(parts) > 1:
        inner, _ = _nested(field.annotation)
        return _default_list(inner, parts[1:]) if inner else {}
    default = field.get_default(call_default_factory=True)
    if not isinstance(default, tuple | list):
        return {}
    return [item.model_dump() if isinstance(item, BaseModel) else item for item in default]


def _parse(override: str, text: str, loader: Loader) -> Any:
    strict = text.startswith(("[", "{", '"', "'"))
    try:
        value = yaml.load(text, loader)
    except yaml.YAMLError as error:
        if not strict:
            return text
        raise ConfigError(f"override {override!r}: the value is not valid YAML; put its parts in quotes") from error
    # To YAML `a: b` is a mapping, ` #` begins a comment and `007` is 7. On a command line they are words.
    plain_words = isinstance(value, str | dict | list) and not strict
    return text if plain_words else value


def _validate(kind: type[AnySettings], values: dict[str, Any], texts: dict[str, Any]) -> AnySettings:
    """Where a field wants text and YAML saw a number, a date or a truth value, take what was written."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        for problem in error.errors():
            if problem["type"] == "string_type" and problem["input"] is not None:
                _take_text(values, texts, problem["loc"])
    return kind.model_validate(values)


def _take_text(values: Any, texts: Any, loc: Sequence[str | int]) -> None:
    *parents, last = loc
    try:
        for part in parents:
            values, texts = values[part], texts[part]
        if isinstance(texts[last], str):
            values[last] = texts[last]
    except (KeyError, IndexError, TypeError):
        # A default, or a merged mapping, was not written at this place. The second validation says what is wrong.
        return


def _follows(problem: Mapping[str, Any], problems: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a list is called too short only because an item of it is wrong."""
    depth = len(problem["loc"])
    below = (other for other in problems if len(other["loc"]) > depth and other["loc"][:depth] == problem["loc"])
    return problem["type"] == "too_short" and any(below)


def _explain(kind: type[BaseModel], problem: Mapping[str, Any]) -> str:
    field = ".".join(map(str, problem["loc"])) or "config"
    value = problem["input"]
    if problem["type"] == "extra_forbidden":
        return f"{field} = {value!r}: there is no such field; {_suggest(kind, field)}"
    if problem["type"] == "missing":
        return f"{field}: is required; set it in the YAML or as {field}=VALUE"
    if problem["type"] in ("tuple_type", "list_type") and isinstance(value, str):
        return f"{field} = {value!r}: must be a list; write {field}=[{value}]"
    if problem["type"] == "model_type":
        return f"{field} = {value!r}: has fields of its own; set them as {field}.FIELD, see --help"
    message = problem["msg"].removeprefix("Value error, ")
    received = "" if problem["type"] == "value_error" and isinstance(value, dict) else f" = {value!r}"
    return f"{field}{received}: {message}"


def _suggest(kind: type[BaseModel], field: str) -> str:
    parts = field.split(".")
    known = {field.name: field.name for field in fields(kind)}
    # A place in a list keeps its number in the suggestion.
    spots = ["0" if part.isdecimal() else part for part in parts]
    close = difflib.get_close_matches(".".join(spots), known, n=1, cutoff=0.5)
    if not close:
        return "see --help for the fields"
    numbers = iter([part for part in parts if part.isdecimal()])
    return f"did you mean {'.'.join(next(numbers, '0') if part == '0' else part for part in close[0].split('.'))}?"


def _nested(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The settings class inside an annotation, if any, and whether it stands in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    in_list = get_origin(annotation) in (tuple, list)
    if in_list or get_origin(annotation) in (Union, types.UnionType):
        for argument in get_args(annotation):
            inner, deeper = _nested(argument)
            if inner:
                return inner, in_list or deeper
    return None, False


def _type_name(annotation: Any) -> str:
    inner, in_list = _nested(annotation)
    if inner:
        return "list" if in_list else "mapping"
    if get_origin(annotation) is Annotated:
        return _type_name(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_type_name(part) for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) in (tuple, list):
        return f"list of {_type_name(get_args(annotation)[0])}"
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, get_args(annotation)))
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _show(default: Any) -> str:
    if isinstance(default, tuple | list):
        return f"[{', '.join('{}' if isinstance(item, BaseModel) else _show(item) for item in default)}]"
    if isinstance(default, BaseModel):
        default = default.model_dump()
    return "unset" if default is None else str(default)
