"""What in a document supports an answer about it: a passage for each sentence, and what the document does not hold."""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.sentences import facts, weights, words
from pipeline.sentences.facts import NAMES, SPELLED, Facts
from pipeline.sentences.key_sentences import KeySentences
from pipeline.sentences.lexicon import STOP_WORDS
from pipeline.sentences.splitter import sentence_bounds

Array = npt.NDArray[Any]


TITLES = {"mr", "mrs", "ms", "miss", "dr", "prof", "sir", "madam", "st"}
"""Which a name may have in the answer and not in the document."""


@dataclass(frozen=True)
class Citation:
    """The passage of the document that supports a sentence of the answer best."""

    answer_start: int
    answer_end: int
    """Of the sentence, in characters of the answer."""
    start_byte: int
    end_byte: int
    """Of the passage, in the UTF-8 of the extracted text."""
    section: str
    text: str
    score: float
    """Between 0 and 1: the share of the sentence's words that stand in the passage, rare words counting more."""


@dataclass(frozen=True)
class Unsupported:
    """A number or a name in the answer that the document does not hold."""

    kind: str
    """number or name"""
    text: str
    start: int
    end: int
    """In characters of the answer."""


def citations(answer: str, keys: KeySentences) -> list[Citation]:
    """For each sentence of an answer that has words in common with a passage, the best one, in the order of the answer.

    Passages are what of the document is remembered: of a short one, each sentence; of a long one, some thousand.
    """
    knowledge = keys.knowledge
    candidates, table = knowledge.candidates, knowledge.table
    rows, slots, size = candidates.rows, candidates.slots, len(candidates)
    lengths = np.sqrt(np.maximum(4, candidates["num"]))
    found = []
    for start, end in _sentences(answer):
        stems = {stem for stem in words.stems(answer[start:end])}
        wanted = np.zeros(len(table))
        known = [slot for stem in stems if (slot := table.find(stem)) is not None]
        wanted[known] = table.idf[known]
        unknown = len(stems) - len(known)
        total = wanted.sum() + unknown * float(table.idf.max(initial=1.0))
        shared = np.bincount(rows, wanted[slots], size)
        if not size or shared.max() <= 0:
            continue
        # Of passages that hold the same words, the shorter one.
        best = int(np.argmax(shared - 0.01 * lengths))
        texts = candidates.texts
        place = int(candidates["start_byte"][best]), int(candidates["end_byte"][best])
        score = round(float(shared[best] / total), 4)
        found.append(Citation(start, end, *place, texts["heading"][best], texts["text"][best], score))
    return found


def unsupported(answer: str, held: Facts) -> list[Unsupported]:
    """Numbers and names of an answer that the document does not hold, in the order of the answer.

    The first word of a sentence counts as a name if another one follows, or if it is no word that documents often have.
    """
    found = [*_numbers(answer, held), *_spelled(answer, held), *_names(answer, held, weights.shipped().known)]
    return sorted(found, key=lambda each: each.start)


def _numbers(answer: str, held: Facts) -> Iterator[Unsupported]:
    for found in facts.NUMBER.finditer(answer):
        forms = facts.forms_of(found)
        if not held.holds([*forms, *(NAMES[form] for form in forms if form in NAMES)]):
            text = found.group().rstrip(", ")
            yield Unsupported("number", text, found.start(), found.start() + len(text))


def _spelled(answer: str, held: Facts) -> Iterator[Unsupported]:
    """Numbers in words; one is no number where it is an article."""
    for found in words.WORD.finditer(answer):
        word = found.group().lower()
        if SPELLED.get(word, 1) != 1 and not held.holds([word, str(SPELLED[word])]):
            yield Unsupported("number", found.group(), found.start(), found.end())


def _names(answer: str, held: Facts, common: Container[str]) -> Iterator[Unsupported]:
    for start, end in _sentences(answer):
        found = [each for each in words.WORD.finditer(answer, start, end) if each.group() != "\n"]
        for at, each in enumerate(found):
            word, lower = each.group(), each.group().lower()
            stem = words.stem(lower)
            if not _is_name(word) or held.holds((lower, stem)):
                continue
            if at > 0 or stem not in common or (len(found) > 1 and _is_name(found[1].group())):
                yield Unsupported("name", word, each.start(), each.end())


def _is_name(word: str) -> bool:
    """Whether a word that is not the first of its sentence names something."""
    lower = word.lower()
    return (
        word[0].isupper() and len(word) > 1 and lower not in STOP_WORDS and lower not in SPELLED and lower not in TITLES
    )


def _sentences(answer: str) -> Iterator[tuple[int, int]]:
    """Where the sentences of an answer begin and end: within a line, which may be that of a list."""
    place = 0
    for line in answer.splitlines(keepends=True):
        for start, end in sentence_bounds(line):
            text = line[start:end]
            bare = text.strip().lstrip("-*•")
            if bare.strip():
                first = place + start + len(text) - len(text.lstrip().lstrip("-*•").lstrip())
                yield first, place + start + len(text.rstrip())
        place += len(line)
