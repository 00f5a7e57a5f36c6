"""The summaries that are evaluated, by method, and one row for each."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from configs.errors import ConfigError
from pipeline.evaluation import baselines
from pipeline.evaluation.measures import MEASURES, Known, Measures
from pipeline.evaluation.references import Referenced
from pipeline.sentences.key_sentences import KeySentences
from pipeline.sentences.weights import Weights

EXTRACT = "extract"
BASELINES: dict[str, Callable[[str, int], str]] = {
    "lead": baselines.lead,
    "lexrank": baselines.lexrank,
    "textrank": baselines.textrank,
}
METHODS = (EXTRACT, *BASELINES)
PIECE = 2**16
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("document_id", "group", "length", "method", "summary", "reference")),
        *(pa.field(name, pa.float64()) for name in MEASURES),
        pa.field("standing_alone", pa.float64()),
        pa.field("broken", pa.float64()),
    ]
)
"""`standing_alone` and `broken` are shares of the sentences of an extract; null for other methods."""


def check(methods: Sequence[str]) -> None:
    """Raises ConfigError for a method that there is not."""
    for method in methods:
        if method == "answer":
            raise ConfigError("The method `answer` is not evaluated here: run jobs.summarize, whose rows hold answers.")
        if method not in METHODS:
            raise ConfigError(f"There is no method {method!r}: choose of {', '.join(METHODS)}.")


class Evaluation:
    """Makes and measures summaries. Raises ConfigError where a package is missing."""

    def __init__(
        self, methods: Sequence[str], budget: int | None, weights: Callable[[Referenced], Weights | None]
    ) -> None:
        """`budget` is the number of words; None, that of the reference. `weights` gives those for a document; None,
        the shipped ones."""
        check(methods)
        self._methods, self._budget, self._weights = methods, budget, weights
        self._measures = Measures()

    def rows(self, document: Referenced) -> Iterator[dict[str, Any]]:
        """One for each method."""
        max_words = self._budget or max(1, len(document.reference.split()))
        keys = read(document, max_words, self._weights(document))
        known = Known(document.text, keys)
        same = {
            "document_id": document.id,
            "group": document.group,
            "length": document.length,
            "reference": document.reference,
        }
        for method in self._methods:
            own: dict[str, float | None] = {"standing_alone": None, "broken": None}
            if method == EXTRACT:
                chosen = keys.select(max_words)
                summary, own = "\n".join(sentence.shown for sentence in chosen), _readable(keys, max_words)
            else:
                summary = BASELINES[method](document.text, max_words)
            measured = self._measures.of(summary, document.reference, known)
            yield same | {"method": method, "summary": summary} | measured | own


def read(document: Referenced, max_words: int, weights: Weights | None) -> KeySentences:
    """A document in one pass, as a run reads it."""
    keys = KeySentences(max_words, document.title, weights)
    for start in range(0, len(document.text), PIECE):
        keys.feed(document.text[start : start + PIECE])
    return keys.finish()


def _readable(keys: KeySentences, max_words: int) -> dict[str, float | None]:
    """Shares of the chosen sentences that lean on nothing before them, and that are fragments, by how they look."""
    chosen = keys.select(max_words)
    candidates = keys.knowledge.candidates
    rows = [int((candidates["start_byte"] == sentence.start_byte).argmax()) for sentence in chosen]
    if not rows:
        return {"standing_alone": None, "broken": None}
    broken = candidates["is_broken"][rows].astype(bool)
    leaning = candidates["leans"][rows].astype(bool)
    return {"standing_alone": float((~broken & ~leaning).mean()), "broken": float(broken.mean())}
