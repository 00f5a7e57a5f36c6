"""A checkpoint's chat template, split around the document, so that the state after the document serves all prompts.

The template is a stranger's: it is rendered in jinja2's sandbox, with the helpers that transformers gives it, and never
with a document in it. Marks stand for the texts that vary; that what lies between them is the same whatever they are is
verified. `strftime_now` tells `TODAY` on every day: a run that is resumed tomorrow must read the same.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from configs.errors import ModelError
from models.weights.hub import CHAT_TEMPLATE, TOKENIZER_CONFIG

TODAY = datetime(2026, 1, 1)
JOIN = "\n\n"
"""Between document and question, in the user's turn."""
ADVICE = "model.chat=off asks in plain text"
NO_THINKING = {"enable_thinking": False, "thinking": False}
"""What templates ask; one that does not ask is not told."""
NO_THINK = "/no_think"
"""Other templates look for this in what the system says, and take it out."""
OPEN, CLOSE = "<think>", "</think>"
CHANNELS_BEGIN, FINAL_CHANNEL = "<|start|>assistant", "<|channel|>final<|message|>"
"""Where a template (gpt-oss's) leaves it to the model to begin with a channel of thoughts, it goes to the last one."""


class Piece(NamedTuple):
    """A stretch of what is read."""

    text: str
    is_markup: bool
    """Of the template, where the text of a special token is that token."""


class Marks(NamedTuple):
    """What stands for the texts that vary."""

    preamble: str
    document: str
    question: str


MARKS = Marks("LonghaulPreamble", "LonghaulDocument", "LonghaulQuestion")
OTHER_MARKS = Marks("What stands first.", "Another text,\n\nof two lines.", "Is it the same?")


@dataclass(frozen=True)
class Halves:
    """The template's own text."""

    opening: str
    """Before the preamble; where there is none, before the document."""
    before_document: str
    after_question: str
    """Up to where the answer begins."""


class Chat:
    """How a model that was trained on conversations is asked: document and question are one turn of the user's."""

    def __init__(self, template: str, about: Mapping[str, Any], where: str) -> None:
        """`about` is the content of tokenizer_config.json, which names the special tokens; errors name `where` the
        template is from. Raises ModelError where it cannot be split around a document."""
        self._where = where
        self._special = {name: text for name in about if name.endswith("_token") and (text := _text(about[name]))}
        try:
            self._template = _environment().from_string(template)
        except TemplateError as error:
            raise self._refused(f"jinja2 says {error}") from error
        self._plain, self._with_preamble = self._halves(False), self._halves(True)
        if self.begins_thinking:
            self._switch_off()
        if self._plain.after_question != self._with_preamble.after_question:
            raise self._refused("what follows the question depends on what precedes the document")

    @staticmethod
    def of(directory: Path, about: Mapping[str, Any]) -> "Chat | None":
        """That of a tokenizer's directory: a file of its own, or in tokenizer_config.json, whose content is `about`, by
        itself or as the one that is named `default`. None where there is none. Raises ModelError."""
        file = directory / CHAT_TEMPLATE
        try:
            return Chat(file.read_text(encoding="utf-8"), about, str(file))
        except FileNotFoundError:
            pass
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{file} cannot be read ({error})") from error
        found = about.get("chat_template")
        if isinstance(found, list):
            named = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
            found = named.get("default")
        return Chat(found, about, str(directory / TOKENIZER_CONFIG)) if isinstance(found, str) else None

    def before(self, preamble: str | None) -> list[Piece]:
        """What is read before every document."""
        if preamble is None:
            return [Piece(self._plain.opening, True)]
        halves = self._with_preamble
        return [Piece(halves.opening, True), Piece(preamble.strip(), False), Piece(halves.before_document, True)]

    def after(self, question: str) -> list[Piece]:
        """What is read after a document: a question about it, and the beginning of the answer."""
        return [Piece(JOIN + question.strip(), False), Piece(self._plain.after_question, True)]

    @property
    def begins_thinking(self) -> bool:
        """Whether the answer begins within thoughts, since the template cannot switch them off."""
        return self._plain.after_question.rstrip().endswith(OPEN)

    @cached_property
    def fingerprint(self) -> str:
        """All that what is read depends on."""
        return json.dumps([JOIN, *vars(self._plain).values(), *vars(self._with_preamble).values()])

    def _switch_off(self) -> None:
        """Where the template has that other switch."""
        thinking = self._plain, self._with_preamble
        self._plain, self._with_preamble = self._halves(False, NO_THINK), self._halves(True, NO_THINK)
        if self.begins_thinking:
            self._plain, self._with_preamble = thinking

    def _halves(self, has_preamble: bool, switch: str = "") -> Halves:
        """Of the conversation that the template makes, with the preamble as the system's turn; where it knows none,
        at the beginning of the user's. The system says `switch` first."""
        reasons = []
        for has_system in (True, False) if has_preamble or switch else (False,):
            try:
                found = self._split(MARKS, has_preamble, has_system, switch)
                if found != self._split(OTHER_MARKS, has_preamble, has_system, switch):
                    raise ValueError("its text around a document depends on the document")
                return found
            except (TemplateError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
                reasons.append(str(error) or type(error).__name__)
        raise self._refused(reasons[-1])

    def _split(self, marks: Marks, has_preamble: bool, has_system: bool, switch: str) -> Halves:
        user = marks.document + JOIN + marks.question
        messages = [{"role": "user", "content": user}]
        if has_system:
            said = "\n".join(filter(None, (switch, marks.preamble if has_preamble else "")))
            messages.insert(0, {"role": "system", "content": said})
        elif has_preamble:
            messages[0]["content"] = marks.preamble + JOIN + user
        text = self._template.render(
            messages=messages, add_generation_prompt=True, tools=None, documents=None, **NO_THINKING, **self._special
        )
        wanted = [*([marks.preamble] if has_preamble else []), marks.document + JOIN + marks.question]
        parts = []
        for mark in wanted:
            before, found, text = text.partition(mark)
            if not found:
                raise ValueError(
                    "it does not show a document and the question about it as they are, one after the other"
                )
            parts.append(before)
        if any(mark in part for mark in marks for part in (*parts, text)):
            raise ValueError("it shows the document, or what stands around it, more than once")
        if text.endswith(CHANNELS_BEGIN):
            text += FINAL_CHANNEL
        return Halves(parts[0], parts[1] if has_preamble else "", text)

    def _refused(self, reason: str) -> ModelError:
        return ModelError(f"{self._where}: the chat template cannot be used: {reason}; {ADVICE}")


class _GenerationBlocks(Extension):
    """Templates for training mark the answers in a block of their own, which says nothing here."""

    tags = {"generation"}  # noqa: RUF012, as jinja2 declares it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlocks, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _as_json
    environment.globals |= {"raise_exception": _raise, "strftime_now": TODAY.strftime}
    return environment


def _as_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Without jinja2's escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _text(token: Any) -> str | None:
    token = token.get("content") if isinstance(token, dict) else token
    return token if isinstance(token, str) else None
