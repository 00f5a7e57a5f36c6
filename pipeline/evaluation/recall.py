"""Recall by depth and length: whether a model still knows a needle after so many tokens more.

A state has the same size after any number of tokens, so that reading can be shared: one sequence reads the document
once, and is forked wherever a needle is put; each fork reads on, and is asked at every length at which the needle lies
at one of the depths. What a probe costs is linear in the longest length. All sequences read side by side.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from models.engine.backend import Backend, Handle, Work
from models.weights.tokenizer import Tokenizer
from pipeline.evaluation.needles import CHANCE, VALUES, Needle
from pipeline.prompts import template

Tokens = npt.NDArray[np.int32]
Row = dict[str, Any]
Item = TypeVar("Item")

SCHEMA = pa.schema(
    [
        pa.field("length", pa.int64()),
        pa.field("depth", pa.int64()),
        pa.field("trial", pa.int64()),
        pa.field("position", pa.int64()),
        pa.field("key", pa.string()),
        pa.field("value", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("found", pa.bool_()),
        pa.field("picked", pa.float64()),
        pa.field("chance", pa.float64()),
        pa.field("rank", pa.int64()),
        pa.field("margin", pa.float64()),
        pa.field("lift", pa.float64()),
    ]
)
"""`length` in tokens of the document without the needle, `depth` in percent of it, `position` in tokens before the
needle. `found`: the answer names the value. `lift`: how many nats likelier the value is, after the needle's own
beginning, than in the readings of needles with other values at the same place (see `lifts`); `margin`: what that is
above the highest lift of the other values; `picked`: whether it is the highest, a share where several are; `rank`: its
place among them."""
ANSWER_TOKENS = 16
LINE_TOKENS = 256
"""A needle is put at the end of a line, if one ends within so many tokens before the place."""
FORKS = 64
"""That are asked at a time."""


@dataclass(frozen=True)
class Spot:
    """Where a needle is put, and the lengths and depths at which it is asked about."""

    position: int
    asked: tuple[tuple[int, int], ...]

    @property
    def last(self) -> int:
        """The longest length."""
        return max(length for length, _ in self.asked)


@dataclass(frozen=True)
class Places:
    """Where needles are asked about."""

    lengths: Sequence[int]
    depths: Sequence[int]
    """In percent."""

    def spots(self, line_ends: npt.NDArray[np.bool_]) -> list[Spot]:
        """In order of their positions. `line_ends` says of each token of the document whether a line ends with it."""
        found = defaultdict(list)
        for length in self.lengths:
            for depth in self.depths:
                found[_line_end(max(1, length * depth // 100), line_ends)].append((length, depth))
        return [Spot(position, tuple(asked)) for position, asked in sorted(found.items())]


def _line_end(position: int, ends: npt.NDArray[np.bool_]) -> int:
    before = np.flatnonzero(ends[max(0, position - LINE_TOKENS) : position])
    return max(0, position - LINE_TOKENS) + int(before[-1]) + 1 if len(before) else position


def tokens_to_read(found: Sequence[Spot], trials: int) -> int:
    """Of the document, over all sequences."""
    return max(spot.position for spot in found) + trials * sum(spot.last - spot.position for spot in found)


def most_sequences(found: Sequence[Spot], trials: int) -> int:
    """At once, forks that are asked included."""
    living = max(sum(each.position <= spot.position <= each.last for each in found) for spot in found)
    return 1 + trials * living + FORKS


@dataclass(frozen=True)
class _Planted:
    """A sequence that has read a needle, by the needle's number."""

    handle: Handle
    number: int
    spot: Spot


class Recall:
    """Of a model, over one document."""

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer,
        needles: Sequence[Needle],
        step_tokens: int,
        on_read: Callable[[int], None] = lambda tokens: None,
    ) -> None:
        """`backend` has room for `most_sequences`; `on_read` is told of tokens of the document as they are read."""
        self._backend, self._tokenizer, self._needles = backend, tokenizer, needles
        self._step_tokens, self._on_read = step_tokens, on_read
        self._cues = [self._encode(f"\n\n{needle.cue}") for needle in needles]
        self._values = [self._encode(f" {value}") for value in VALUES]
        self._planted: list[_Planted] = []

    @torch.inference_mode()
    def rows(self, document: Tokens, found: Sequence[Spot]) -> Iterator[Row]:
        """By `SCHEMA`, as each length is reached. document (L,), at least as long as the longest length."""
        base, read = self._backend.open(0), 0
        at_position = {spot.position: spot for spot in found}
        lengths = {length for spot in found for length, _ in spot.asked}
        for stop in sorted({*at_position, *lengths}):
            # Behind the last spot nobody forks it any more.
            reading = [base] if read < max(at_position) else []
            self._read([*reading, *(each.handle for each in self._planted)], document[read:stop])
            read = stop
            if stop in at_position:
                self._plant(base, at_position[stop])
            if stop in lengths:
                yield from self._ask(stop)
        self._backend.close(base)

    def _plant(self, base: Handle, spot: Spot) -> None:
        planted = [_Planted(self._backend.fork(base, 0), number, spot) for number in range(len(self._needles))]
        texts = [self._encode(needle.text) for needle in self._needles]
        self._backend.run([Work(each.handle, text) for each, text in zip(planted, texts, strict=True)])
        self._planted += planted

    def _read(self, handles: Sequence[Handle], tokens: Tokens) -> None:
        """All read the same, in passes of the budget."""
        chunk = self._backend.limits.chunk
        segment = max(chunk, self._step_tokens // len(handles) // chunk * chunk)
        for start in range(0, len(tokens), segment):
            piece = tokens[start : start + segment]
            for some in _groups(handles, max(1, self._step_tokens // segment)):
                self._backend.run([Work(handle, piece) for handle in some])
            self._on_read(len(piece) * len(handles))

    def _ask(self, length: int) -> Iterator[Row]:
        asked = [(each, depth) for each in self._planted for of_length, depth in each.spot.asked if of_length == length]
        handles, numbers = [each.handle for each, _ in asked], [each.number for each, _ in asked]
        likelihoods = self._likelihoods(handles, [self._cues[number] for number in numbers])
        answers = self._answers(handles, [self._needles[number] for number in numbers])
        needles = [self._needles[number] for number in numbers]
        lift = np.empty_like(likelihoods)
        for _, rows in _by((depth, needle.key) for (_, depth), needle in zip(asked, needles, strict=True)):
            lift[rows] = lifts(likelihoods[rows], [VALUES.index(needles[row].value) for row in rows])
        for (each, depth), needle, answer, own in zip(asked, needles, answers, lift, strict=True):
            place = {"length": length, "depth": depth, "trial": each.number, "position": each.spot.position}
            about = {"key": needle.key, "value": needle.value, "answer": answer, "found": needle.is_named_in(answer)}
            yield place | about | judged(own, VALUES.index(needle.value))
        for each in [each for each in self._planted if each.spot.last == length]:
            self._backend.close(each.handle)
            self._planted.remove(each)

    def _likelihoods(self, handles: Sequence[Handle], cues: Sequence[Tokens]) -> npt.NDArray[np.float64]:
        """Nats of each value after a cue (n, values), each sequence as it is now."""
        pairs, size = list(zip(handles, cues, strict=True)), FORKS // (1 + len(VALUES))
        return np.concatenate([self._likelihoods_of_some(some) for some in _groups(pairs, size)])

    def _likelihoods_of_some(self, pairs: Sequence[tuple[Handle, Tokens]]) -> npt.NDArray[np.float64]:
        forks = [self._backend.fork(handle, 0) for handle, _ in pairs]
        work = [Work(fork, cue, wants_logits=True) for fork, (_, cue) in zip(forks, pairs, strict=True)]
        first = _log_probabilities(self._backend.run(work))
        found = first[:, [value[0] for value in self._values]]
        going = [
            (row, column, self._backend.fork(fork, 0))
            for row, fork in enumerate(forks)
            for column, value in enumerate(self._values)
            if len(value) > 1
        ]
        for at in range(1, max(map(len, self._values))):
            some = [(row, column, fork) for row, column, fork in going if len(self._values[column]) > at]
            work = [Work(fork, self._values[column][at - 1 : at], True, True) for _, column, fork in some]
            following = _log_probabilities(self._backend.run(work))
            for place, (row, column, _) in enumerate(some):
                found[row, column] += following[place, self._values[column][at]]
        for fork in [*forks, *(fork for _, _, fork in going)]:
            self._backend.close(fork)
        return found

    def _answers(self, handles: Sequence[Handle], needles: Sequence[Needle]) -> list[str]:
        """What the model answers to the question, as a run asks it, always the likeliest token."""
        questions = [self._encode(template.render(needle.question)) for needle in needles]
        pairs = list(zip(handles, questions, strict=True))
        return [answer for some in _groups(pairs, FORKS) for answer in self._answers_of_some(some)]

    def _answers_of_some(self, pairs: Sequence[tuple[Handle, Tokens]]) -> list[str]:
        forks = [self._backend.fork(handle, 0) for handle, _ in pairs]
        outputs: list[list[int]] = [[] for _ in forks]
        work = [Work(fork, question, True) for fork, (_, question) in zip(forks, pairs, strict=True)]
        going = list(range(len(forks)))
        while going:
            chosen = self._backend.run(work).argmax(-1).tolist()
            for place, token in zip(going, chosen, strict=True):
                outputs[place].append(token)
            going = [
                place
                for place in going
                if outputs[place][-1] != self._tokenizer.end_id and len(outputs[place]) < ANSWER_TOKENS
            ]
            work = [Work(forks[place], np.array(outputs[place][-1:]), True, True) for place in going]
        for fork in forks:
            self._backend.close(fork)
        return [self._tokenizer.decode(output).strip() for output in outputs]

    def _encode(self, text: str) -> Tokens:
        return np.array(self._tokenizer.encode(text), np.int32)


def lifts(likelihoods: npt.NDArray[np.float64], true: Sequence[int]) -> npt.NDArray[np.float64]:
    """Of log likelihoods (n, values) in readings whose needles have the values at `true`: what each is above its mean
    over the other readings, those of needles with the very value left out.

    What the document and the needle's frame do to a value is the same in all readings and cancels: without memory, what
    is left is noise, and the true value has the highest lift as often as any other.
    """
    found = np.empty_like(likelihoods)
    values = np.array(true)
    for row, column in np.ndindex(*likelihoods.shape):
        others = (np.arange(len(values)) != row) & (values != column)
        # In this order, so that readings that are the same bit for bit give zeros, whatever their number.
        found[row, column] = (likelihoods[row, column] - likelihoods[others, column]).mean()
    return found


def judged(lift: npt.NDArray[np.float64], true: int) -> Row:
    """What the lift of each value (values,) says, of which that at `true` was read."""
    others = np.delete(lift, true)
    highest = lift == lift.max()
    return {
        "picked": float(highest[true] / highest.sum()),
        "chance": CHANCE,
        "rank": int((others > lift[true]).sum()) + 1,
        "margin": float(lift[true] - others.max()),
        "lift": float(lift[true]),
    }


def _log_probabilities(logits: Tensor) -> npt.NDArray[np.float64]:
    return logits.double().log_softmax(-1).cpu().numpy()


def _groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    found = list(items)
    yield from (found[start : start + size] for start in range(0, len(found), size))


def _by(keys: Iterable[Hashable]) -> Iterator[tuple[Hashable, list[int]]]:
    """The places of each key."""
    found = defaultdict(list)
    for place, key in enumerate(keys):
        found[key].append(place)
    yield from found.items()
