"""The words of many sentences at a time, as arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.sentences import words
from pipeline.sentences.lines import Kind
from pipeline.sentences.splitter import Sentence
from pipeline.sentences.vocabulary import NUM_PAIRS, WordTable
from pipeline.sentences.words import FLAGS

Array = npt.NDArray[Any]
_PLACES = {name: place for place, name in enumerate(FLAGS)}


class Tokens:
    """Of a batch of sentences: the words of each, and behind them those of its speaker's name."""

    def __init__(self, sentences: Sequence[Sentence], table: WordTable) -> None:
        self._num, self._table, forms = len(sentences), table, table.forms
        found = words.tokens("".join(f"{sentence.text}\n{sentence.speaker}\n" for sentence in sentences))
        self._forms = np.fromiter(map(forms.__getitem__, found), np.int64, len(found))
        is_end = self._forms == 0
        lines = np.cumsum(is_end) - is_end
        self._sentence = lines // 2
        self._is_own = (lines % 2 == 0) & ~is_end
        self._first = np.concatenate([[0], np.flatnonzero(is_end)[1::2] + 1])[: self._num]
        self._flags, self._slots = forms.flags[self._forms], forms.slots[self._forms]
        own = np.where(self._is_own[:, None], self._flags, 0)
        self._counts = np.add.reduceat(own, self._first, 0, dtype=np.uint16).astype(np.int64)
        self.num_words = self._per_sentence(self._is_own)
        self.lengths = np.bincount(self._sentence, forms.lengths[self._forms] * self._is_own, self._num)
        """Of all words of a sentence together."""
        is_content = (self._slots >= 0) & self._is_own
        self.num_content = self._per_sentence(is_content)
        self.num_names = self._per_sentence(is_content & self._flags[:, _PLACES["capital"]].astype(bool))
        """Words with a capital, stop words aside."""
        self.repeats = self._per_sentence(self._repeated(forms.hashes[self._forms]))
        """How often a word, or two, stand twice in a row."""

    def of(self, *names: str) -> Array:
        """How many words say such a thing."""
        return np.asarray(sum(self._counts[:, _PLACES[name]] for name in names))

    def first(self, name: str, at: int = 0) -> Array:
        """Whether the first word says such a thing, or one right after it."""
        place = np.minimum(self._first + at, len(self._flags) - 1)
        return np.asarray(self._flags[place, _PLACES[name]].astype(bool) & self._is_own[place])

    def followed(self, first: str, second: str) -> Array:
        """How often a word that says one thing stands before one that says another."""
        is_first = self._flags[:-1, _PLACES[first]].astype(bool) & self._is_own[:-1]
        is_second = self._flags[1:, _PLACES[second]].astype(bool) & self._is_own[1:]
        return self._per_sentence(np.concatenate([is_first & is_second, [False]]))

    def stems(self, index: int, kinds: Array) -> tuple[Array, Array, Array]:
        """The distinct stems of each sentence: its number in the batch, the slot, how often it stands there.

        They are counted in the table on the way. `index` is the number of the first sentence in the document.
        """
        chosen = self._slots >= 0
        rows, slots = self._sentence[chosen], self._slots[chosen].astype(np.int64)
        is_inside = self._is_own.copy()
        is_inside[self._first] = False
        self._table.count(slots, is_inside[chosen], self._flags[chosen, _PLACES["capital"]].astype(bool))
        size = np.int64(len(self._table))
        keys, times = np.unique(rows * size + slots, return_counts=True)
        rows, slots = keys // size, keys % size
        kind = kinds[rows]
        self._table.add(slots, rows + index, kind == Kind.HEADING, (kind == Kind.CODE) | (kind == Kind.TABLE))
        return rows, slots, times

    def pairs(self) -> tuple[Array, Array]:
        """The distinct pairs of neighboring words of each sentence: its number, and the hash; counted likewise."""
        hashes, is_content = self._table.forms.hashes[self._forms], self._slots >= 0
        both = self._is_own[1:] & self._is_own[:-1]
        mixed = (hashes[:-1] * 0x9E3779B1 + hashes[1:] * 0x85EBCA77) >> 12
        mixed = (mixed & (NUM_PAIRS // 2 - 1)) * 2 + (is_content[1:] & is_content[:-1])
        keys = np.unique(self._sentence[1:][both] * NUM_PAIRS + mixed[both])
        rows, found = keys // NUM_PAIRS, keys % NUM_PAIRS
        self._table.add_pairs(found)
        return rows, found

    def _repeated(self, hashes: Array) -> Array:
        """Whether a word is the second of a pair of the same, or ends a repeat of two."""
        repeated = np.zeros(len(hashes), bool)
        repeated[1:] = (hashes[1:] == hashes[:-1]) & self._is_own[1:] & self._is_own[:-1]
        again = (hashes[2:] == hashes[:-2]) & self._is_own[2:] & self._is_own[:-2]
        repeated[3:] |= again[1:] & again[:-1]
        return repeated

    def _per_sentence(self, chosen: Array) -> Array:
        return np.bincount(self._sentence[chosen], minlength=self._num)
