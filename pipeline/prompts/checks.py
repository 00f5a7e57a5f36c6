"""What is wrong with an answer: empty, a repetition of the prompt, or not JSON of the requested schema."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from json_repair import repair_json
from jsonschema.exceptions import best_match

from configs import json_schema
from configs.settings import PromptSettings
from pipeline.prompts import template

COPIED_WORDS = 8
"""So many words of the prompt in a row are no coincidence."""
OPENING_WORDS = 3
"""A shorter instruction may open an answer by chance ("Title?"): it is a copy only where nothing follows."""
MAX_ERROR_CHARS = 500
LONGEST_MENDED = 16_384
"""Characters: mending takes time in the square of them, in the engine's thread."""
WORD = re.compile(r"\w+")
Reason = Literal["empty", "copied", "schema"]


@dataclass(frozen=True)
class Verdict:
    """What becomes of an answer."""

    summary: str
    """Its text without blanks around it, or where a schema asks for JSON and the answer fits, the canonical JSON."""
    reason: Reason | None = None
    """Why it will not do, in a word."""
    error: str | None = None
    """The same as a sentence."""


class AnswerCheck:
    """Judges the answers to one prompt. The same answer always gets the same verdict, and none raises."""

    def __init__(self, prompt: PromptSettings) -> None:
        self._schema = prompt.json_schema
        self._validator = json_schema.validator(self._schema) if self._schema is not None else None
        self._shown = template.shown(self._schema) if self._schema is not None else None
        self._instruction = _words(prompt.instruction)
        self._question = _words(template.render(prompt.instruction, self._schema))

    def judge(self, answer: str) -> Verdict:
        """The verdict on an answer's text."""
        text = answer.strip()
        if not text:
            return Verdict(text, "empty", "the answer is empty")
        if self._validator is None:
            return self._unless_copied(text, self._question)
        try:
            value = _parse(text)
            canonical = _canonical(value)
            error = self._violation(value)
        except ValueError as problem:
            canonical, error = text, str(problem)
        if error is not None:
            copied = self._unless_copied(text, self._question)
            return copied if copied.reason else Verdict(text, "schema", error)
        if value in (self._schema, self._shown):
            return Verdict(text, "copied", "the answer is the schema itself")
        # Values that the schema names word for word are what it asks for, not copied.
        return self._unless_copied(canonical, self._instruction)

    def _violation(self, value: Any) -> str | None:
        assert self._validator is not None
        try:
            violation = best_match(self._validator.iter_errors(value))
        except Exception as error:  # numbers beyond a float, nesting beyond the stack: one answer must not stop the run
            return f"the answer cannot be checked with the schema: {_shorten(repr(error))}"
        return None if violation is None else _shorten(f"at {violation.json_path}: {violation.message}")

    def _unless_copied(self, text: str, question: Sequence[str]) -> Verdict:
        copied = _copied(_words(text), question, self._instruction)
        if copied is None:
            return Verdict(text)
        return Verdict(text, "copied", _shorten(f"the answer copies the prompt: {' '.join(copied)}"))


def _copied(answer: Sequence[str], question: Sequence[str], instruction: Sequence[str]) -> Sequence[str] | None:
    """The words that an answer has from its prompt: some in a row, or the whole of a short instruction at its start."""
    runs = {tuple(question[start : start + COPIED_WORDS]) for start in range(len(question) - COPIED_WORDS + 1)}
    for start in range(len(answer) - COPIED_WORDS + 1):
        if (run := tuple(answer[start : start + COPIED_WORDS])) in runs:
            return run
    # With or without the heading that stands before it.
    for opening in (instruction, question[: len(instruction) + 1]):
        whole = len(answer) == len(opening) or len(opening) >= OPENING_WORDS
        if opening and whole and list(answer[: len(opening)]) == list(opening):
            return opening
    return None


def _parse(text: str) -> Any:
    """The JSON value of an answer, mended where it must be. Raises ValueError where there is none in it."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        pass
    if len(text) > LONGEST_MENDED:
        raise ValueError(f"the answer is no JSON, and with {len(text):,} characters too long to be mended")
    try:
        value = repair_json(text, skip_json_loads=True, return_objects=True)
    except Exception as error:  # it guesses: what it stumbles over is no JSON
        raise ValueError(f"the answer is no JSON: {_shorten(repr(error))}") from error
    if value == "":
        raise ValueError("the answer is no JSON")
    return value


def _canonical(value: Any) -> str:
    """Keys sorted, no blanks, text as it is. Raises ValueError for what JSON cannot hold."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"the answer is no JSON: {_shorten(str(error))}") from error
    # Half a surrogate pair has no bytes in UTF-8; escaped, it has.
    return text if _is_unicode(text) else json.dumps(value, separators=(",", ":"), sort_keys=True)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def _shorten(message: str) -> str:
    """One that a column can hold, whatever the answer was."""
    cut = message if len(message) <= MAX_ERROR_CHARS else f"{message[: MAX_ERROR_CHARS - 1]}…"
    return cut.encode(errors="backslashreplace").decode()
