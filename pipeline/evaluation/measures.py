"""Numbers for one summary: what it shares with the reference, and how it stands to the document."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from configs.errors import ConfigError
from pipeline.evaluation.similarity import Similarity
from pipeline.sentences import grounding, words
from pipeline.sentences.facts import Facts
from pipeline.sentences.key_sentences import KeySentences

Array = npt.NDArray[Any]

ROUGE = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeLsum": "rouge_l"}
MEASURES = (
    *ROUGE.values(), "content_rouge", "similarity", "profile_distance", "novelty", "unsupported", "repetition", "words",
)  # fmt: skip
NUM_PARTS = 10
TRIPLE = 3


class Measures:
    """Of summaries of documents. Raises ConfigError where rouge-score is not installed."""

    def __init__(self, similarity: Similarity | None) -> None:
        try:
            from rouge_score.rouge_scorer import RougeScorer
        except ImportError as error:
            raise ConfigError("Evaluation needs rouge-score: pip install 'longhaul[evaluate]'.") from error
        self._scorer = RougeScorer(list(ROUGE), use_stemmer=True)
        self._similarity = similarity

    def of(self, summary: str, reference: str, document: "Known") -> dict[str, float | None]:
        """By name, as in MEASURES; `similarity` is None where there is nothing to measure it with."""
        rouge = {ROUGE[name]: score.fmeasure for name, score in self._scorer.score(reference, summary).items()}
        return rouge | {
            "content_rouge": _overlap(Counter(words.stems(summary)), Counter(words.stems(reference))),
            "similarity": self._similarity.of(summary, reference) if self._similarity else None,
            "profile_distance": document.distance(summary, reference),
            "novelty": document.novelty(summary),
            "unsupported": float(len(document.unsupported_numbers(summary))),
            "repetition": _repetition(_lower(summary)),
            "words": float(len(summary.split())),
        }


class Known:
    """What measuring needs to know of a document."""

    def __init__(self, text: str, keys: KeySentences) -> None:
        """`keys` has read the whole text."""
        self._keys = keys
        self._ids: dict[str, int] = {}
        self._pairs = self._numbered_pairs(text)
        self._facts: Facts = keys.facts
        self._num_bytes = max(1, len(text.encode()))
        # That of the reference is asked for with the summary of each method.
        self.profile = lru_cache(maxsize=2)(self._profile)

    def _numbered_pairs(self, text: str) -> Array:
        """Each pair of words as a number, in order: a tenth of the memory of the words themselves."""
        found = (each.group() for each in words.WORD.finditer(text.lower()))
        ids = self._ids
        numbers = np.fromiter((ids.setdefault(word, len(ids)) for word in found if word != "\n"), np.int64)
        return np.unique((numbers[:-1] << 32) | numbers[1:])

    def _profile(self, summary: str) -> Array:
        """Of the sentences of a summary, the shares that the tenths of the document support best."""
        places = [citation.start_byte for citation in grounding.citations(summary, self._keys)]
        parts = np.minimum(np.array(places, float) / self._num_bytes * NUM_PARTS, NUM_PARTS - 1).astype(int)
        return np.bincount(parts, minlength=NUM_PARTS) / max(1, len(parts))

    def distance(self, summary: str, reference: str) -> float:
        """Between the profiles of a summary and the reference: 0, the same tenths of the document, to 1, others; 1 too
        where nothing supports one of them."""
        return 1 - float(np.minimum(self.profile(reference), self.profile(summary)).sum())

    def novelty(self, summary: str) -> float:
        """The share of pairs of words that do not stand in the document."""
        pairs = list(pairwise(_lower(summary)))
        return sum(not self._holds(pair) for pair in pairs) / max(1, len(pairs))

    def _holds(self, pair: tuple[str, str]) -> bool:
        first, second = (self._ids.get(word) for word in pair)
        if first is None or second is None:
            return False
        wanted = first << 32 | second
        place = int(np.searchsorted(self._pairs, wanted))
        return place < len(self._pairs) and self._pairs[place] == wanted

    def unsupported_numbers(self, summary: str) -> list[str]:
        """Those of a summary that the document does not hold."""
        found = grounding.unsupported(summary, self._facts)
        return [each.text for each in found if each.kind == "number"]


def _lower(text: str) -> list[str]:
    return [word for word in words.tokens(text.lower()) if word != "\n"]


def _overlap(first: Counter[str], second: Counter[str]) -> float:
    """F1 of words in common."""
    total = first.total() + second.total()
    return 2 * (first & second).total() / total if total else 0.0


def _repetition(found: Sequence[str]) -> float:
    """The share of triples of words that stood before."""
    triples = list(zip(*(found[at:] for at in range(TRIPLE)), strict=False))
    return 1 - len(set(triples)) / len(triples) if triples else 0.0
