"""Needles: sentences with a word to remember, put into a document that says nothing of it, and what is asked about them
afterwards (the needle in a haystack of Kamradt 2023; keys and values as in RULER, Hsieh et al. 2024)."""

import re
from dataclasses import dataclass

import numpy as np

KEYS = (
    "Aldermoor", "Brackwater", "Cinderford", "Dunmallet", "Eskdale", "Fenwick Hall", "Garrowby", "Hollin Bridge",
    "Inverlochy", "Jarrow Lock", "Kettlewell", "Larkspur Bay", "Merriden", "Norby Mill", "Oxenholme", "Pellworth",
)  # fmt: skip
"""Places that are in no document, or in few."""
VALUES = ("lantern", "walnut", "copper", "orchid", "falcon", "marble", "ginger", "velvet")
"""One of which is the word to remember; the others are decoys."""
CHANCE = 1 / len(VALUES)
"""Of picking the right one without having read: it is drawn from all of them, each as likely."""


@dataclass(frozen=True)
class Needle:
    """One fact."""

    key: str
    value: str

    @property
    def text(self) -> str:
        """A paragraph of its own."""
        return f"\n\n{self.cue} {self.value}.\n\n"

    @property
    def cue(self) -> str:
        """The sentence up to its value."""
        return f"The secret word of {self.key} is"

    @property
    def question(self) -> str:
        """An instruction that the value answers."""
        return f"What is the secret word of {self.key}?"

    def is_named_in(self, answer: str) -> bool:
        """Whether an answer has the value, and none of the decoys before it."""
        words = re.findall(r"\w+", answer.lower())
        return next((word for word in words if word in VALUES), None) == self.value


def draw(number: int, seed: int) -> list[Needle]:
    """Needles in rounds: each round has a key, and each value at most once. The same seed, the same needles."""
    chance = np.random.default_rng(seed)
    num_rounds = -(-number // len(VALUES))
    keys = [KEYS[at % len(KEYS)] for at in chance.permutation(max(num_rounds, len(KEYS)))[:num_rounds]]
    return [Needle(key, VALUES[at]) for key in keys for at in chance.permutation(len(VALUES))][:number]
