"""What was learned from documents with summaries: how much each property of a sentence, and of a word, counts."""

import json
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from pipeline.sentences.vocabulary import Known

Array = npt.NDArray[Any]
SHIPPED = Path(__file__).with_name("weights.safetensors")
VERSION = 1
RARITY_STEPS = 25
FAVOR_STEPS = 60
ARRAYS = (
    "sentences",
    "words",
    "words_mean",
    "words_scale",
    "statistics_mean",
    "statistics_scale",
    "rarities",
    "favors",
)


@dataclass(frozen=True)
class Weights:
    """Linear in the properties, in their squares (of words), and in their products with statistics of the document."""

    sentences: Array
    """(heads, 1 + statistics, properties)"""
    words: Array
    """(2 + statistics, properties) of words: themselves, squared, times each statistic; then the statistics and one."""
    words_mean: Array
    words_scale: Array
    statistics_mean: Array
    statistics_scale: Array
    stems: tuple[str, ...]
    rarities: Array
    """How rare each stem is in the documents that were learned from: logarithms, in steps of 1 / RARITY_STEPS."""
    favors: Array
    """How much likelier each stem stands in a summary than others like it: logarithms, in steps of 1 / FAVOR_STEPS."""
    about: str = "{}"
    """Figures and origins, as JSON."""

    @cached_property
    def known(self) -> dict[str, Known]:
        """By stem."""
        rarities = (self.rarities.astype(float) / RARITY_STEPS).tolist()
        favors = np.exp(self.favors.astype(float) / FAVOR_STEPS).tolist()
        return dict(zip(self.stems, map(Known, rarities, favors), strict=True))

    def to_bytes(self) -> bytes:
        """As they are stored."""
        arrays = {name: _small(getattr(self, name)) for name in ARRAYS}
        arrays["stems"] = np.frombuffer("\n".join(self.stems).encode(), np.uint8)
        arrays["about"] = np.frombuffer(json.dumps({"version": VERSION, "about": self.about}).encode(), np.uint8)
        return save(arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Weights":
        """Raises ValueError for those of another version."""
        arrays = load(data)
        about = json.loads(arrays.pop("about").tobytes())
        if about["version"] != VERSION:
            raise ValueError(f"The weights are of version {about['version']}, and this code reads {VERSION}.")
        stems = tuple(arrays.pop("stems").tobytes().decode().split("\n"))
        return cls(**{name: arrays[name] for name in ARRAYS}, stems=stems, about=about["about"])


def _small(array: Array) -> Array:
    return np.ascontiguousarray(array.astype(np.float32) if array.dtype == np.float64 else array)


@cache
def shipped() -> Weights:
    """Those that lie beside this file."""
    return Weights.from_bytes(SHIPPED.read_bytes())


@cache
def fingerprint() -> str:
    """Of the shipped ones: what is chosen depends on them, and on nothing else but the text and this code."""
    return sha256(SHIPPED.read_bytes() + str(VERSION).encode()).hexdigest()
