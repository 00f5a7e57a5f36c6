"""The sentences that may yet be chosen, with all that choosing needs: as many as fit, and a random sample of all."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.sentences.splitter import Sentence
from pipeline.sentences.surface import NAMES, Surface

Array = npt.NDArray[Any]
COLUMNS = (
    "index",
    "start",
    "end",
    "start_byte",
    "end_byte",
    "words",
    "kind",
    "section",
    "leans",
    "is_poor",
    "is_broken",
    "is_spare",
    "num",
    "num_pairs",
)
TEXTS = ("text", "heading", "speaker")


class Candidates:
    """Rows in the order of the document. Stems and pairs of all lie behind each other; how many are a row's, `num` and
    `num_pairs` say."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Array]] = {name: [np.zeros(0, np.int64)] for name in COLUMNS}
        self._features = [np.zeros((0, len(NAMES)), np.float32)]
        self._slots = [np.zeros(0, np.int64)]
        self._times = [np.zeros(0, np.int64)]
        self._pairs = [np.zeros(0, np.int64)]
        self.texts: dict[str, list[str]] = {name: [] for name in TEXTS}

    def __len__(self) -> int:
        return len(self.texts["text"])

    def __getitem__(self, name: str) -> Array:
        return _whole(self._columns[name])

    @property
    def features(self) -> Array:
        return _whole(self._features)

    @property
    def slots(self) -> Array:
        return _whole(self._slots)

    @property
    def times(self) -> Array:
        return _whole(self._times)

    @property
    def pairs(self) -> Array:
        return _whole(self._pairs)

    @property
    def pair_rows(self) -> Array:
        """The row of each pair."""
        return np.repeat(np.arange(len(self)), self["num_pairs"])

    @property
    def rows(self) -> Array:
        """The row of each stem."""
        return np.repeat(np.arange(len(self)), self["num"])

    def add(self, sentences: Sequence[Sentence], index: int, surface: Surface, chosen: Array, is_spare: Array) -> None:
        """Take the chosen ones of a batch that begins at a number."""
        places = np.flatnonzero(chosen)
        taken = [sentences[place] for place in places.tolist()]
        for name in ("start", "end", "start_byte", "end_byte", "kind", "section"):
            self._columns[name].append(np.array([getattr(sentence, name) for sentence in taken], np.int64))
        inside = chosen[surface.rows]
        num = np.bincount(surface.rows, minlength=len(sentences))[places]
        num_pairs = np.bincount(surface.pair_rows, minlength=len(sentences))[places]
        for name, values in (
            ("index", places + index),
            ("words", surface.words[places]),
            ("leans", surface.leans[places]),
            ("is_poor", surface.is_poor[places]),
            ("is_broken", surface.is_broken[places]),
            ("is_spare", is_spare[places]),
            ("num", num),
            ("num_pairs", num_pairs),
        ):
            self._columns[name].append(values.astype(np.int64))
        self._features.append(surface.features[places])
        self._slots.append(surface.slots[inside])
        self._times.append(surface.times[inside])
        self._pairs.append(surface.pairs[chosen[surface.pair_rows]])
        for name in TEXTS:
            self.texts[name] += [getattr(sentence, name) for sentence in taken]

    def keep(self, chosen: Array) -> None:
        """Let the others go."""
        inside = chosen[self.rows]
        self._slots, self._times = [self.slots[inside]], [self.times[inside]]
        self._pairs = [self.pairs[chosen[self.pair_rows]]]
        self._features = [self.features[chosen]]
        self._columns = {name: [self[name][chosen]] for name in COLUMNS}
        places = np.flatnonzero(chosen)
        self.texts = {name: [texts[place] for place in places] for name, texts in self.texts.items()}

    def move(self, moved: Array) -> None:
        """Follow the stems to the slots that the table has given them."""
        self._slots = [moved[self.slots]]

    def state(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """To go on from here: what JSON can hold, and arrays."""
        arrays = {f"candidates.{name}": self[name] for name in COLUMNS}
        rest = {"features": self.features, "slots": self.slots, "times": self.times, "pairs": self.pairs}
        return self.texts, arrays | {f"candidates.{name}": array for name, array in rest.items()}

    @classmethod
    def resumed(cls, texts: Mapping[str, list[str]], arrays: Mapping[str, Array]) -> "Candidates":
        """Those of a state."""
        candidates = cls()
        candidates.texts = {name: list(texts[name]) for name in TEXTS}
        candidates._columns = {name: [arrays[f"candidates.{name}"]] for name in COLUMNS}
        candidates._features, candidates._pairs = [arrays["candidates.features"]], [arrays["candidates.pairs"]]
        candidates._slots, candidates._times = [arrays["candidates.slots"]], [arrays["candidates.times"]]
        return candidates


def _whole(parts: list[Array]) -> Array:
    """The parts as one array, which takes their place."""
    if len(parts) > 1:
        parts[:] = [np.concatenate(parts)]
    return parts[0]
