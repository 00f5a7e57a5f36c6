"""Which candidates make a summary together: good ones, each with words of its own, that can be read alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.sentences.candidates import Candidates
from pipeline.sentences.lines import Kind
from pipeline.sentences.scoring import z
from pipeline.sentences.surface import NAMES

Array = npt.NDArray[Any]


FEW = 3
"""Whole sentences, below which fragments are taken too."""


@dataclass(frozen=True)
class Taste:
    """What a selection weighs. The values were chosen on training documents that the weights had not seen."""

    coverage: float = 1.0
    """Of new words, against the score of the sentence."""
    repeated: float = 0.4
    """How much a word counts once it is covered."""
    alike: float = 0.2
    """Taken off for a sentence like one that is taken."""
    leans: float = 1.0
    """Taken off where a sentence needs those before it."""
    poor: float = 0.5
    """Taken off where it can be read alone, but says little."""
    waste: float = 5.0
    """Taken off for words left over, into which nothing fits, as a share of the budget."""
    is_broken: float = 6.0
    summary: float = 3.0
    """Added for a sentence of a section that sums the document up: an abstract, an executive summary."""
    too_alike: float = 0.75
    """Cosine at which a sentence says the same."""
    least_words: int = 8
    most_words: int = 50
    num_weighed: int = 500


class Selection:
    """Candidates with their scores, of which summaries of any length can be taken."""

    def __init__(self, candidates: Candidates, score: Array, promise: Array, idf: Array, taste: Taste) -> None:
        self._candidates, self._taste = candidates, taste
        self._promise = promise
        rows, slots = candidates.rows, candidates.slots
        weights = candidates.times * idf[slots]
        norm = np.sqrt(np.bincount(rows, weights**2, len(candidates))) + 1e-6
        self._weights = weights / norm[rows]
        self.words = candidates["words"] + np.array([len(name.split()) for name in candidates.texts["speaker"]], int)
        self._root = np.sqrt(np.maximum(1, self.words))
        self._usable = self._eligible()
        self._gain_mean, self._gain_scale = self._gain_moments()
        self.appeal = (
            z(score, self._usable)
            + taste.summary * candidates.features[:, NAMES.index("in_summary")]
            - taste.leans * candidates["leans"]
            - taste.poor * candidates["is_poor"]
            - taste.is_broken * candidates["is_broken"]
        )

    @property
    def static(self) -> Array:
        """The worth of each alone."""
        return np.where(self._usable, self.appeal + self._taste.coverage * self._scaled(self._gain()), -1e9)

    def choose(self, max_words: int, among: Array | None = None) -> list[int]:
        """Rows of at most so many words together, in the order of the document; the shortest one if none fits."""
        usable = self._usable if among is None else self._usable & among
        if not usable.any():
            usable = np.ones(len(self.words), bool) if among is None else among
        if not usable.any():
            return []
        return self._greedy(np.flatnonzero(usable), max_words)

    def _eligible(self) -> Array:
        """The finest of nets that catches something."""
        taste, candidates = self._taste, self._candidates
        plain = candidates["is_spare"] == 0
        fitting = plain & (self.words >= taste.least_words) & (self.words <= taste.most_words)
        whole = fitting & (candidates["is_broken"] == 0)
        if whole.sum() >= FEW:
            return np.asarray(whole)
        return next((net for net in (fitting, plain) if net.any()), np.ones(len(self.words), bool))

    def _gain(self) -> Array:
        candidates = self._candidates
        return np.bincount(candidates.rows, self._promise[candidates.slots], len(candidates)) / self._root

    def _gain_moments(self) -> tuple[float, float]:
        gain = self._gain()[self._usable]
        return float(gain.mean()), float(gain.std()) + 1e-9

    def _scaled(self, gain: Array) -> Array:
        return np.asarray((gain - self._gain_mean) / self._gain_scale)

    def _greedy(self, chosen: Array, max_words: int) -> list[int]:
        taste, candidates = self._taste, self._candidates
        static = self.appeal + taste.coverage * self._scaled(self._gain())
        order = np.argsort(-static[chosen], kind="stable")[: max(taste.num_weighed, max_words)]
        chosen = np.sort(chosen[order])
        inside = np.isin(candidates.rows, chosen)
        rows = np.searchsorted(chosen, candidates.rows[inside])
        slots, weights = candidates.slots[inside], self._weights[inside]
        appeal, words, root = self.appeal[chosen], self.words[chosen], self._root[chosen]
        least = int(words.min())
        promise, own = self._promise.copy(), np.zeros(len(self._promise))
        closest = np.zeros(len(chosen))
        free = words <= max_words
        if not free.any():
            return [int(chosen[np.argmin(words)])]
        left, taken = max_words, []
        while free.any():
            gain = self._scaled(np.bincount(rows, promise[slots], len(chosen)) / root)
            worth = np.where(free, appeal + taste.coverage * gain - taste.alike * closest, -np.inf)
            rest = left - words
            worth -= taste.waste * np.where(rest < least, rest, 0) / max_words
            best = int(np.argmax(worth))
            taken.append(int(chosen[best]))
            left -= int(words[best])
            mine = rows == best
            promise[slots[mine]] *= taste.repeated
            own[slots[mine]] = weights[mine]
            closest = np.maximum(closest, np.bincount(rows, weights * own[slots], len(chosen)))
            own[slots[mine]] = 0
            free &= (words <= left) & (closest <= taste.too_alike)
            free[best] = False
        return sorted(taken)


def is_prose(kinds: Array) -> Array:
    """Whether lines of these kinds hold sentences."""
    return np.isin(kinds, [Kind.PROSE, Kind.LIST, Kind.QUOTE, Kind.LOG])
