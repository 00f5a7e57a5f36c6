"""JSON objects with a text in one of their fields: a file of one, or a line of JSON lines."""

import json
import re
from collections.abc import Iterator
from typing import Any

from configs.errors import CorruptError, UndecodableError
from configs.settings import InputSettings
from pipeline.formats.encoding import without_surrogates
from pipeline.formats.notes import Notes

LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def made_by(settings: InputSettings) -> str:
    """What the text depends on."""
    return f"json field {settings.text_field}"


def parse(data: bytes, notes: Notes, settings: InputSettings) -> tuple[str | None, Iterator[str]]:
    """Title and text of an object. Raises CorruptError, UndecodableError."""
    record = parse_record(data, settings.text_field, "The document")
    title = record.get("title")
    text = record[settings.text_field].replace("\r\n", "\n").replace("\r", "\n")
    if LONE_SURROGATE.search(text):
        raise UndecodableError(
            "The text contains a lone surrogate, such as \\ud83d without a second half, which is not a character."
        )
    return without_surrogates(title) if isinstance(title, str) else None, iter([text] if text else [])


def parse_record(data: bytes, text_field: str, what: str) -> dict[str, Any]:
    """A JSON object with its text. `what` names it in messages. Raises CorruptError."""
    try:
        record = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CorruptError(f"{what} is not valid UTF-8 at its byte {error.start}.") from error
    except json.JSONDecodeError as error:
        raise CorruptError(f"{what} is not valid JSON: {error.msg} at character {error.pos}.") from error
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"{what} is JSON that cannot be read: {error}.") from error
    if not isinstance(record, dict):
        raise CorruptError(f"{what} is not a JSON object but a {type(record).__name__}.")
    if not isinstance(record.get(text_field), str):
        problem = "is not a string" if text_field in record else "is missing"
        raise CorruptError(
            f"In {what[0].lower()}{what[1:]} the field {text_field!r}, which input.text_field names, {problem}."
        )
    return record
