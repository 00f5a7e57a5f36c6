"""Learns the weights of pipeline.sentences from documents with summaries: linear models, from sums of squares."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.sentences import scoring, speech, words
from pipeline.sentences.key_sentences import KeySentences
from pipeline.sentences.scoring import ADAPTED_BY, ALL_NAMES, FAR, WORD_NAMES, Knowledge
from pipeline.sentences.weights import FAVOR_STEPS, RARITY_STEPS, Weights
from pipeline.training import extract_targets
from pipeline.training.ridge import Ridge
from pipeline.training.summarized import Summarized

Array = npt.NDArray[Any]

GROUPS = ((0, 1, 2), (3, 4, 5), (6, 7, 8, 9))
"""Folds that are left out together."""
MOST_STEMS = 16_000
LEAST_DOCUMENTS = 3
ROWS_PER_DOCUMENT = 300
WORDS_PER_DOCUMENT = 350
WORD_PENALTY, SENTENCE_PENALTY = 300.0, 3_000.0
FAVOR_WEIGHT = 30.0
FAVOR_DOUBT = 4.0
"""Times that a stem must have stood in summaries before that counts half."""
EVEN_KINDS = 0.6
"""Between 0, each document counts the same, and 1, each kind."""
PIECE = 2**16


@dataclass(frozen=True)
class Lesson:
    """A document as it was read, and what was to be seen in it."""

    document: Summarized
    knowledge: Knowledge
    density: Array
    """Of each candidate, in standard deviations."""
    is_best: Array
    """Whether the oracle takes it."""
    weight: float = 1.0


def name_of(group: Sequence[int]) -> str:
    """Of the file of weights that have not seen some folds."""
    return f"weights-{''.join(map(str, group))}.safetensors"


def rarities(documents: Sequence[Summarized]) -> tuple[tuple[str, ...], Array]:
    """The commonest stems, and how rare each is: logarithms, in steps of 1 / RARITY_STEPS."""
    known: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for document in documents:
        forms = set(words.tokens(document.text.lower())) - {"\n"}
        counts.update({known.setdefault(form, words.stem(form)) for form in forms if words.is_content(form)})
    chosen = sorted((-count, stem) for stem, count in counts.items() if count >= LEAST_DOCUMENTS)[:MOST_STEMS]
    found = np.log((len(documents) + 1) / (np.array([-count for count, _ in chosen]) + 0.5))
    return tuple(stem for _, stem in chosen), np.round(np.clip(found, 0, 10) * RARITY_STEPS).astype(np.uint8)


def blank(stems: tuple[str, ...], found: Array) -> Weights:
    """Weights that know how rare words are, and nothing else."""
    num = len(ADAPTED_BY)
    return Weights(
        np.zeros((2, 1 + num, len(ALL_NAMES))),
        np.zeros((2 + num) * len(WORD_NAMES) + num + 1),
        np.zeros(len(WORD_NAMES)),
        np.ones(len(WORD_NAMES)),
        np.zeros(num),
        np.ones(num),
        stems,
        found,
        np.zeros(len(stems), np.int8),
    )


def lesson(document: Summarized, weights: Weights) -> Lesson:
    """Read a document as a run reads it, and mark what its summary holds."""
    reader = KeySentences(document.num_words, document.title, weights)
    for start in range(0, len(document.text), PIECE):
        reader.feed(document.text[start : start + PIECE])
    knowledge = reader.finish().knowledge
    candidates = knowledge.candidates
    shown = [
        extract_targets.read(f"{speaker} {speech.shown(text, bool(speaker))}")
        for speaker, text in zip(candidates.texts["speaker"], candidates.texts["text"], strict=True)
    ]
    references = [extract_targets.read(reference) for reference in document.references]
    density = extract_targets.densities(shown, references)
    best = extract_targets.oracle(shown, candidates["words"], references[0], document.num_words)
    is_best = np.zeros(len(shown))
    is_best[best] = 1
    return Lesson(document, knowledge, np.clip(scoring.z(density, knowledge.is_sampled), -3, 5), is_best)


def weighed(lessons: Sequence[Lesson]) -> list[Lesson]:
    """With the weight of each, by how many there are of its kind."""
    counts = Counter(each.document.kind for each in lessons)
    return [replace(each, weight=counts[each.document.kind] ** -EVEN_KINDS) for each in lessons]


class Fit:
    """Weights from lessons, and weights from all lessons but those of a group."""

    def __init__(self, lessons: Sequence[Lesson], start: Weights, about: str = "{}") -> None:
        self._lessons = weighed(lessons)
        statistics = np.array([each.knowledge.document.statistics() for each in self._lessons])
        mean, scale = _word_moments(self._lessons)
        self._start = replace(
            start,
            about=about,
            words_mean=mean,
            words_scale=scale,
            statistics_mean=statistics.mean(0),
            statistics_scale=statistics.std(0) + 1e-6,
        )
        self._fit_sentences(*self._fit_favors(*self._fit_words()))

    def of(self, document: Summarized) -> Weights:
        """Those that have not seen the document."""
        return self.without[_group(document)]

    def _fit_words(self) -> tuple[list[Weights], Weights]:
        num = len(ADAPTED_BY)
        parts = [Ridge((2 + num) * len(WORD_NAMES) + num, 1) for _ in GROUPS]
        for each in self._lessons:
            rows, targets, weights = self._word_rows(each)
            parts[_group(each.document)].add(rows, targets[:, None], weights * each.weight)
        solved = [part.solve(WORD_PENALTY)[:, 0] for part in _left_out(parts)]
        made = [replace(self._start, words=solution) for solution in solved]
        return made[:-1], made[-1]

    def _word_rows(self, each: Lesson) -> tuple[Array, Array, Array]:
        knowledge, start = each.knowledge, self._start
        targets, places = _word_targets(each), _words_of(each)
        chance = 0.15 + (knowledge.table.column("count") >= 2) + targets
        weights = 1 / chance[places]
        found = scoring.word_properties(knowledge.table, knowledge.document)[places]
        known = np.clip((found - start.words_mean) / start.words_scale, -FAR, FAR)
        adapted = (knowledge.document.statistics() - start.statistics_mean) / start.statistics_scale
        rest = np.broadcast_to(adapted, (len(places), len(adapted)))
        rows = np.concatenate([known, known**2, *(known * value for value in adapted), rest], 1)
        return rows, targets[places], weights / weights.sum()

    def _fit_favors(self, without: list[Weights], everything: Weights) -> tuple[list[Weights], Weights]:
        """How often each stem stood in summaries, against how often it was promised to."""
        place = {stem: at for at, stem in enumerate(self._start.stems)}
        stood = np.zeros((len(GROUPS), 2, len(place)))
        for each in self._lessons:
            group = _group(each.document)
            slots = [slot for slot, stem in enumerate(each.knowledge.table.stems) if stem in place]
            places = [place[each.knowledge.table.stems[slot]] for slot in slots]
            promised = scoring.promises(each.knowledge, without[group])
            stood[group, :, places] += (
                np.stack([_word_targets(each)[slots], promised[slots]], 1) * FAVOR_WEIGHT * each.weight
            )
        total = stood.sum(0)
        made = [
            replace(weights, favors=_favors(sums))
            for weights, sums in zip([*without, everything], [*(total - stood), total], strict=True)
        ]
        return made[:-1], made[-1]

    def _fit_sentences(self, without: list[Weights], everything: Weights) -> None:
        num = len(ADAPTED_BY)
        parts = [Ridge((1 + num) * len(ALL_NAMES), 2) for _ in GROUPS]
        for each in self._lessons:
            # As a document shows itself to weights of words that have not seen it.
            group = _group(each.document)
            rows = _rows_of(each)
            scaled = scoring.standardized(each.knowledge, scoring.promises(each.knowledge, without[group]))[rows]
            adapted = (
                each.knowledge.document.statistics() - self._start.statistics_mean
            ) / self._start.statistics_scale
            inputs = np.concatenate([scaled, *(scaled * value for value in adapted)], 1)
            targets = np.stack([each.density[rows], each.is_best[rows]], 1)
            parts[group].add(inputs, targets, np.full(len(rows), each.weight / max(1, len(rows))))
        made = [
            replace(words, sentences=part.solve(SENTENCE_PENALTY)[:-1].T.reshape(2, 1 + num, len(ALL_NAMES)))
            for words, part in zip([*without, everything], _left_out(parts), strict=True)
        ]
        self.without, self.everything = made[:-1], made[-1]


def _word_moments(lessons: Sequence[Lesson]) -> tuple[Array, Array]:
    found = np.concatenate(
        [scoring.word_properties(each.knowledge.table, each.knowledge.document)[_words_of(each)] for each in lessons]
    )
    return found.mean(0), found.std(0) + 1e-6


def _favors(sums: Array) -> Array:
    stood, promised = sums
    ratio = np.clip((stood + FAVOR_DOUBT) / (promised + FAVOR_DOUBT), 0.2, 4)
    return np.round(np.log(ratio) * FAVOR_STEPS).astype(np.int8)


def _left_out(parts: Sequence[Ridge]) -> Iterator[Ridge]:
    """All parts but each in turn; then all."""
    total = parts[0].without(parts[0])
    for part in parts:
        total += part
    yield from (total.without(part) for part in parts)
    yield total


def _group(document: Summarized) -> int:
    return next(group for group, folds in enumerate(GROUPS) if document.fold in folds)


def _random(each: Lesson) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(each.document.id.encode()[-8:], "little"))


def _word_targets(each: Lesson) -> Array:
    """Of each stem, in which share of the references it stands."""
    targets = np.zeros(len(each.knowledge.table))
    for reference in each.document.references:
        for stem in set(words.stems(reference)):
            if (slot := each.knowledge.table.find(stem)) is not None:
                targets[slot] += 1 / len(each.document.references)
    return targets


def _words_of(each: Lesson) -> Array:
    """Slots to learn from: those of frequent words and of words of the summary sooner than others."""
    table = each.knowledge.table
    chance = 0.15 + (table.column("count") >= 2) + _word_targets(each)
    chance[0] = 0
    size = min(len(table) - 1, WORDS_PER_DOCUMENT)
    return np.sort(_random(each).choice(len(table), size, replace=False, p=chance / chance.sum()))


def _rows_of(each: Lesson) -> Array:
    """Candidates to learn from: a sample, and all that the oracle takes."""
    sampled = np.flatnonzero(each.knowledge.is_sampled)
    chosen = _random(each).choice(sampled, min(len(sampled), ROWS_PER_DOCUMENT), replace=False)
    return np.union1d(chosen, np.flatnonzero(each.is_best))
