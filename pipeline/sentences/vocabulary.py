"""What is known of the words of the document so far: how often, where and how each stands. A table of bounded size."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import numpy.typing as npt

from pipeline.sentences import words
from pipeline.sentences.facts import Facts

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MOST_STEMS = 50_000
KEPT_STEMS = 25_000
MOST_FORMS = 100_000
NUM_BINS = 32
NUM_PAIRS = 2**20
FORGOTTEN = 0
"""The slot that stands for all stems that the table has dropped."""
COUNTS = ("count", "sentences", "first", "last", "early", "front", "headings", "code", "capital", "plain", "length")
NUM_EARLY, NUM_FRONT = 6, 30
"""Sentences that count as the beginning of a document, in two widths."""


class Known(NamedTuple):
    """What is known of a stem before a document is read."""

    rarity: float
    """Logarithm of how rare it is."""
    favor: float
    """How much likelier than other words with the same place in a document it stands in the summary."""


class _Forms(dict[str, int]):
    """Words as they are written. A cache: what it forgets is found again."""

    def __init__(self, table: "WordTable") -> None:
        super().__init__()
        self._table = table
        self.slots = np.full(1024, -1, np.int32)
        self.flags = np.zeros((1024, len(words.FLAGS)), np.uint8)
        self.lengths = np.zeros(1024, np.uint8)
        self.hashes = np.zeros(1024, np.int64)
        self.clear()

    def clear(self) -> None:
        super().clear()
        self["\n"] = 0

    def __missing__(self, form: str) -> int:
        place = len(self)
        if place == len(self.slots):
            self._grow()
        lower = form.lower()
        stem = words.stem(lower)
        if not lower.isdigit():
            # Of 1,234 no 234 is held: numbers are found in the text.
            for word in {lower, stem}:
                self._table.facts.add(word)
        self.slots[place] = self._table.slot(stem) if words.is_content(lower) else -1
        self.hashes[place] = crc32(stem.encode("utf-8", "surrogatepass"))
        self.flags[place] = 0
        self.flags[place, list(words.flags(form))] = 1
        self.lengths[place] = min(len(form), 255)
        self[form] = place
        return place

    def _grow(self) -> None:
        arrays = (self.slots, self.flags, self.lengths, self.hashes)
        self.slots, self.flags, self.lengths, self.hashes = (np.concatenate([array, array]) for array in arrays)


class WordTable:
    """Statistics of the stems of content words."""

    def __init__(self, known: Mapping[str, Known]) -> None:
        """A stem that is not `known` is as rare as the rarest of them, and neither likely nor unlikely."""
        self._known = known
        self._unknown = Known(max((each.rarity for each in known.values()), default=1.0), 1.0)
        self.stems: list[str] = [""]
        self._slots: dict[str, int] = {"": FORGOTTEN}
        self._columns: dict[str, Ints] = {name: np.zeros(1024, np.int64) for name in COUNTS}
        self._bins = np.zeros(1024, np.uint32)
        self._idfs, self._favors = np.zeros(1024), np.ones(1024)
        self._pairs = np.zeros(NUM_PAIRS, np.uint8)
        self.shift = 0
        """A bin holds 2 ** shift sentences."""
        self.facts = Facts()
        """Every word that was ever read, and the numbers."""
        self.forms = _Forms(self)

    def __len__(self) -> int:
        return len(self.stems)

    def slot(self, stem: str) -> int:
        """Of a stem, which gets one if it has none."""
        if (slot := self._slots.get(stem)) is None:
            slot = self._slots[stem] = len(self.stems)
            self.stems.append(stem)
            if slot == len(self._bins):
                self._grow()
            self._columns["length"][slot] = len(stem)
            self._idfs[slot], self._favors[slot] = self._known.get(stem, self._unknown)
        return slot

    def find(self, stem: str) -> int | None:
        """The slot of a stem, if it has one."""
        return self._slots.get(stem)

    def column(self, name: str) -> Ints:
        """One of COUNTS, by slot."""
        return self._columns[name][: len(self)]

    @property
    def idf(self) -> Floats:
        return self._idfs[: len(self)]

    @property
    def favor(self) -> Floats:
        return self._favors[: len(self)]

    def pairs(self, hashes: Ints) -> Ints:
        """In how many sentences pairs of neighboring words stand, at most 255. Pairs may share a count."""
        return self._pairs[hashes].astype(np.int64)

    def add_pairs(self, hashes: Ints) -> None:
        """Count pairs, each once in a sentence."""
        found, times = np.unique(hashes, return_counts=True)
        self._pairs[found] = np.minimum(255, self._pairs[found] + times)

    def spread(self, num_sentences: int) -> Floats:
        """Of each stem, the share of the document's bins that it stands in."""
        bits = np.unpackbits(self._bins[: len(self)].view(np.uint8).reshape(-1, 4), axis=1)
        return bits.sum(1) / max(1, -(-num_sentences // (1 << self.shift)))

    def add(self, slots: Ints, sentences: Ints, in_heading: Bools, in_code: Bools) -> None:
        """Count the words of sentences: each pair of a stem and a sentence once, in the order of the sentences."""
        columns = self._columns
        for name, chosen in (("early", sentences < NUM_EARLY), ("front", sentences < NUM_FRONT)):
            if chosen.any():
                np.add.at(columns[name], slots[chosen], 1)
        found, first, times = np.unique(slots, return_index=True, return_counts=True)
        is_new = columns["sentences"][found] == 0
        columns["first"][found[is_new]] = sentences[first[is_new]]
        columns["sentences"][found] += times
        np.maximum.at(columns["last"], slots, sentences)
        np.add.at(columns["headings"], slots[in_heading], 1)
        np.add.at(columns["code"], slots[in_code], 1)
        self._mark(slots, sentences)

    def count(self, slots: Ints, is_inside: Bools, is_capital: Bools) -> None:
        """Count each time that a word stands; how it is written counts within a sentence only."""
        for name, chosen in (
            ("count", slots),
            ("capital", slots[is_inside & is_capital]),
            ("plain", slots[is_inside & ~is_capital]),
        ):
            found, times = np.unique(chosen, return_counts=True)
            self._columns[name][found] += times

    def forget(self) -> Ints | None:
        """If the table is full, drop the rarest stems; returns the new slots of the old ones."""
        if len(self.forms) > MOST_FORMS:
            self.forms.clear()
        if len(self) <= MOST_STEMS:
            return None
        order = np.lexsort((self.column("last")[1:], self.column("sentences")[1:]))[::-1][: KEPT_STEMS - 1] + 1
        kept = np.concatenate([[FORGOTTEN], np.sort(order)])
        moved = np.full(len(self), FORGOTTEN, np.int64)
        moved[kept] = np.arange(len(kept))
        self.stems = [self.stems[slot] for slot in kept]
        self._slots = {stem: slot for slot, stem in enumerate(self.stems)}
        self._columns = {name: column[kept] for name, column in self._columns.items()}
        self._bins, self._idfs, self._favors = self._bins[kept], self._idfs[kept], self._favors[kept]
        self.forms.clear()
        return moved

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """To go on from here: what JSON can hold, and arrays."""
        columns = {f"words.{name}": self.column(name).astype(np.int64) for name in COUNTS}
        return {"stems": self.stems, "shift": self.shift}, columns | {
            "words.bins": self._bins[: len(self)],
            "words.pairs": self._pairs,
            "words.facts": self.facts.bits,
        }

    @classmethod
    def resumed(
        cls, known: Mapping[str, Known], state: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> "WordTable":
        """One that goes on from a state."""
        table = cls(known)
        for stem in state["stems"]:
            table.slot(stem)
        table.shift = state["shift"]
        for name in COUNTS:
            table._columns[name][: len(table)] = arrays[f"words.{name}"]
        table._bins[: len(table)] = arrays["words.bins"]
        table._pairs = arrays["words.pairs"].copy()
        table.facts = Facts(arrays["words.facts"])
        return table

    def _grow(self) -> None:
        self._columns = {name: np.concatenate([array, np.zeros_like(array)]) for name, array in self._columns.items()}
        self._bins = np.concatenate([self._bins, np.zeros_like(self._bins)])
        self._idfs, self._favors = (np.concatenate([array, array]) for array in (self._idfs, self._favors))

    def _mark(self, slots: Ints, sentences: Ints) -> None:
        if not len(sentences):
            return
        while sentences.max() >> self.shift >= NUM_BINS:
            # Bins twice as wide: each two become one.
            pairs = (self._bins | self._bins >> np.uint32(1)) & np.uint32(0x55555555)
            for width, mask in ((1, 0x33333333), (2, 0x0F0F0F0F), (4, 0x00FF00FF), (8, 0x0000FFFF)):
                pairs = (pairs | pairs >> np.uint32(width)) & np.uint32(mask)
            self._bins = pairs
            self.shift += 1
        bits = np.left_shift(np.uint32(1), (sentences >> self.shift).astype(np.uint32))
        np.bitwise_or.at(self._bins, slots, bits)
