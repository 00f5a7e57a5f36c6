"""What an engine is asked about a document, what it answers, and the state of a document in between."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from configs.errors import LonghaulError
from models.engine.backend import Mark, SavedState
from models.engine.feed import Feed

Check = Callable[[tuple[int, ...]], str | None]
WHOLE = -1
"""In place of a section's index: the whole document."""


@dataclass(frozen=True)
class Sampling:
    """How one answer is decoded."""

    max_tokens: int
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Prompt:
    """One question about a document."""

    tokens: tuple[int, ...]
    """What is read after the document, at least one token."""
    sampling: Sampling
    check: Check | None = None
    """Why an answer (its tokens) will not do, in a word, or None. Asked in the engine's thread; the document fails
    with what it raises."""


@dataclass(frozen=True)
class Answer:
    """What the model answered to one prompt."""

    tokens: tuple[int, ...]
    """Without the end token, and without the turns of a loop after the first."""
    finish_reason: str
    """`stop` at the end token, `length` at max_tokens; else why it will not do: `loop`, or what the prompt's check
    says, both of the second try too."""
    tokens_decoded: int
    """Including those that were cut off, and those of a first try."""
    retries: int = 0
    """1 where a first try would not do."""


Answers: TypeAlias = Mapping[tuple[int, int], Answer]
"""By section, `WHOLE` for the whole document, and prompt."""


@dataclass(frozen=True)
class ReadState:
    """How far a document has been read and asked: with its feed, all that is needed to resume."""

    state: SavedState
    """After `tokens_read` tokens."""
    tokens_read: int
    section_ends: tuple[int, ...] = ()
    """Tokens read at the end of each section so far."""
    answers: Answers = field(default_factory=dict)
    """Those that are final."""
    since: int = 0
    """Tokens of the sequence, a preamble's included, whose part of the arrays that grow is not in `state`."""
    window_start: int = 0
    """Tokens of the document before those of the sequence: windows that came before, which end at `section_ends`.
    `state` is empty where none of the next one has been read."""


@dataclass(frozen=True)
class Request:
    """One document and what to ask of it."""

    id: Hashable
    feed: Feed
    """Its tokens, at least one; from `start` on."""
    prompts: tuple[Prompt, ...]
    """None where nothing is asked of a model."""
    section_prompts: tuple[Prompt, ...] = ()
    """Asked where the feed says that a section ends, of all that has been read so far."""
    start: ReadState | None = None
    """Where an earlier reading stood; None for a document's beginning."""
    keep_state: bool = False
    """Whether to hand over the state at the feed's last cut."""
    expected_tokens: int = 0
    """About how many tokens the whole document has, for which memory is taken until its feed knows."""

    def __post_init__(self) -> None:
        assert all(prompt.tokens for prompt in (*self.prompts, *self.section_prompts))


@dataclass(frozen=True)
class AnsweredSection:
    """What was answered at the end of one section."""

    end: int
    """Tokens of the document up to there."""
    answers: tuple[Answer, ...]
    """In the order of the request's section prompts."""


@dataclass(frozen=True)
class Finished:
    """A document that has been read and asked."""

    id: Hashable
    tokens_read: int
    """Of the document, not of the prompts: its length, unless it is `so_far`."""
    answers: tuple[Answer, ...]
    """In the order of the request's prompts."""
    sections: tuple[AnsweredSection, ...] = ()
    """In the order of the document, where sections were asked about."""
    so_far: bool = False
    """Whether it was asked about before it was read to its end."""
    kept: ReadState | None = None
    """At the feed's last cut, where the request keeps the state and prefill passed that cut."""
    extracts: tuple[Mapping[str, Any], ...] = ()
    """What was made of the document's own sentences, as columns of the table of summaries."""
    windows: tuple[AnsweredSection, ...] = ()
    """Where it was read in several windows, each with its answers; `answers` are then those about all of them, or
    none."""
    read_at: float | None = field(default=None, compare=False)
    """Seconds since 1970 when all of it had been read and only answers were left; None where nobody noted that."""


@dataclass(frozen=True)
class Failed:
    """A document whose feed broke off, or whose prompt's check raised."""

    id: Hashable
    tokens_read: int
    error: LonghaulError


@dataclass(frozen=True)
class Pass:
    """One pass through the model, which the device may not have done yet, and what became known by then."""

    kind: Literal["prefill", "decode", "wait"]
    """`wait` where there is none: every document in the slots waits for its feed."""
    shares: dict[Hashable, int]
    """Tokens of each document in this pass."""
    document_tokens: int
    """Tokens of documents read in this pass, without prompts."""
    finished: tuple[Finished, ...]
    """No pass under way has a share of them."""
    failed: tuple[Failed, ...] = ()
    answer_tokens: int = 0
    """Which decode passes added to answers since the last step."""
    mark: Mark | None = None
    """The end of this pass on its device; None where it has ended."""
