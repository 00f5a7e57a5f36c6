"""What is wrong with an answer: nothing but thoughts, empty, a repetition of the prompt, or not JSON of its schema."""

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
"""This many words of the prompt in a row are not a coincidence."""
OPENING_WORDS = 3
"""A shorter instruction may open an answer by chance ("Title?"): it is a copy only if nothing follows."""
MAX_ERROR_CHARS = 500
LONGEST_MENDED = 16_384
"""Characters. Repair takes quadratic time, in the engine's thread."""
WORD = re.compile(r"\w+")
THOUGHTS = "<think>", "</think>"
Reason = Literal["thinking", "empty", "copied", "schema"]


@dataclass(frozen=True)
class Verdict:
    """The verdict on an answer."""

    summary: str
    """The answer without surrounding white space, or its canonical JSON if it matches the prompt's schema."""
    reason: Reason | None = None
    """Why the answer is rejected, in a word; None if it is accepted."""
    error: str | None = None
    """The same as a sentence."""


class AnswerCheck:
    """Checks the answers to one prompt. The same answer always gets the same verdict, and no answer raises."""

    def __init__(self, prompt: PromptSettings, begins_thinking: bool = False) -> None:
        """`begins_thinking`: answers begin within thoughts, without a tag that says so."""
        self._begins_thinking = begins_thinking
        self._schema = prompt.json_schema
        self._validator = json_schema.validator(self._schema) if self._schema is not None else None
        self._shown = template.shown(self._schema) if self._schema is not None else None
        self._instruction = _words(prompt.instruction)
        self._question = _words(template.render(prompt.instruction, self._schema))

    def judge(self, answer: str) -> Verdict:
        """Accept or reject an answer's text."""
        text = self._without_thoughts(answer.strip())
        if text is None:
            return Verdict("", "thinking", "the answer is nothing but thoughts that did not end")
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
        # Values that the schema lists verbatim are required by it, not copied.
        return self._unless_copied(canonical, self._instruction)

    def _without_thoughts(self, text: str) -> str | None:
        """What follows the thoughts at its beginning; None where they do not end."""
        opening, closing = THOUGHTS
        if not (self._begins_thinking or text.startswith(opening)):
            return text
        _, closed, rest = text.partition(closing)
        return rest.strip() if closed else None

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
    """The words that an answer copies from its prompt: several in a row, or a whole short instruction at its start."""
    runs = {tuple(question[start : start + COPIED_WORDS]) for start in range(len(question) - COPIED_WORDS + 1)}
    for start in range(len(answer) - COPIED_WORDS + 1):
        if (run := tuple(answer[start : start + COPIED_WORDS])) in runs:
            return run
    # With or without the heading that precedes it.
    for opening in (instruction, question[: len(instruction) + 1]):
        whole = len(answer) == len(opening) or len(opening) >= OPENING_WORDS
        if opening and whole and list(answer[: len(opening)]) == list(opening):
            return opening
    return None


def _parse(text: str) -> Any:
    """The JSON value of an answer, repaired if necessary. Raises ValueError if there is none in it."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        pass
    if len(text) > LONGEST_MENDED:
        raise ValueError(f"the answer is not JSON, and with {len(text):,} characters too long to be repaired")
    try:
        value = repair_json(text, skip_json_loads=True, return_objects=True)
    except Exception as error:  # it guesses: if it fails, there is no JSON
        raise ValueError(f"the answer is not JSON: {_shorten(repr(error))}") from error
    if value == "":
        raise ValueError("the answer is not JSON")
    return value


def _canonical(value: Any) -> str:
    """JSON with sorted keys, no white space and unescaped text. Raises ValueError for what JSON cannot hold."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"the answer is not JSON: {_shorten(str(error))}") from error
    # A lone surrogate cannot be encoded in UTF-8 unless it is escaped.
    return text if _is_unicode(text) else json.dumps(value, separators=(",", ":"), sort_keys=True)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def _shorten(message: str) -> str:
    """The message, cut to what a column can hold."""
    cut = message if len(message) <= MAX_ERROR_CHARS else f"{message[: MAX_ERROR_CHARS - 1]}…"
    return cut.encode(errors="backslashreplace").decode()
