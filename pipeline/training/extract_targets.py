"""What the extractor learns to see: how much of a summary each sentence holds, and which ones would make the best."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.sentences import words

Array = npt.NDArray[Any]
PAIR_WEIGHT = 1.5


@lru_cache(2**17)
def _stem(word: str) -> str:
    return words.stem(word)


def read(text: str) -> list[str]:
    """Stems of all words, stop words too."""
    return [_stem(word) for word in words.tokens(text.lower()) if word != "\n"]


def densities(sentences: Sequence[list[str]], references: Sequence[list[str]]) -> Array:
    """Of each sentence, words and pairs of words that stand in the references, per word."""
    total = np.zeros(len(sentences))
    for reference in references:
        single, pairs = Counter(reference), Counter(pairwise(reference))
        total += [
            _shared(Counter(sentence), single) + PAIR_WEIGHT * _shared(Counter(pairwise(sentence)), pairs)
            for sentence in sentences
        ]
    lengths = np.array([len(sentence) for sentence in sentences])
    return np.asarray(total / len(references) / (lengths + 5))


def _shared(own: Counter[Any], reference: Counter[Any]) -> int:
    return sum(min(times, reference[part]) for part, times in own.items() if part in reference)


def oracle(sentences: Sequence[list[str]], num_words: Array, reference: list[str], most_words: int) -> list[int]:
    """The sentences that together share most with a summary of that length, as far as greed finds them: the better of
    two ways, by what a sentence adds, and by what it adds per word."""
    parts = [
        _Overlap(sentences, reference),
        _Overlap([list(pairwise(each)) for each in sentences], list(pairwise(reference))),
    ]
    found = [_greedy(parts, num_words, most_words, per_word) for per_word in (False, True)]
    return max(found, key=lambda each: each[1])[0]


def _greedy(parts: "list[_Overlap]", num_words: Array, most_words: int, per_word: bool) -> tuple[list[int], float]:
    left = [part.wanted.copy() for part in parts]
    free = np.ones(len(num_words), bool)
    taken, total, used = [], 0.0, 0
    while used < most_words and free.any():
        gain = sum((part.gain(rest) for part, rest in zip(parts, left, strict=True)), np.zeros(len(num_words)))
        best = int(np.argmax(np.where(free, gain / np.maximum(num_words, 5) if per_word else gain, -1)))
        if gain[best] <= 0:
            break
        taken.append(best)
        total += float(gain[best])
        used += int(num_words[best])
        free[best] = False
        for part, rest in zip(parts, left, strict=True):
            part.take(best, rest)
    return taken, total


class _Overlap:
    """What each sentence has in common with a reference, as sparse rows."""

    def __init__(self, sentences: Sequence[list[Any]], reference: list[Any]) -> None:
        counts = Counter(reference)
        places = {part: place for place, part in enumerate(counts)}
        self.wanted = np.array([*counts.values(), 0.0])
        self._size, self._total = len(sentences), max(1, len(reference))
        found = [
            (row, places[part], times)
            for row, sentence in enumerate(sentences)
            for part, times in Counter(sentence).items()
            if part in places
        ]
        self._rows, self._places, self._times = np.array(found, np.int64).reshape(-1, 3).T

    def gain(self, left: Array) -> Array:
        """Of each sentence, by what is still wanted."""
        return np.bincount(self._rows, np.minimum(self._times, left[self._places]), self._size) / self._total

    def take(self, row: int, left: Array) -> None:
        mine = self._rows == row
        places = self._places[mine]
        left[places] = np.maximum(0, left[places] - self._times[mine])
