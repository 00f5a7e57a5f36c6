"""The summaries that are evaluated, by method, and one row for each."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import structlog

from configs.errors import ConfigError
from pipeline.evaluation import baselines
from pipeline.evaluation.answers import Answers, Wanted
from pipeline.evaluation.measures import MEASURES, Known, Measures
from pipeline.evaluation.references import Referenced
from pipeline.evaluation.similarity import Similarity
from pipeline.sentences.key_sentences import KeySentences
from pipeline.sentences.weights import Weights

log = structlog.get_logger()

EXTRACT, ANSWER = "extract", "answer"
BASELINES: dict[str, Callable[[str, int], str]] = {
    "lead": baselines.lead,
    "lexrank": baselines.lexrank,
    "textrank": baselines.textrank,
}
METHODS = (EXTRACT, *BASELINES, ANSWER)
DEFAULT = (EXTRACT, *BASELINES)
PIECE = 2**16
PROFILE = pa.list_(pa.float64())
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("document_id", "group", "length", "method", "summary", "reference")),
        *(pa.field(name, pa.float64()) for name in MEASURES),
        pa.field("profile", PROFILE),
        pa.field("reference_profile", PROFILE),
        pa.field("standing_alone", pa.float64()),
        pa.field("broken", pa.float64()),
    ]
)
"""`standing_alone` and `broken` are shares of the sentences of an extract; null for other methods."""

Row = dict[str, Any]
UNREAD: dict[str, float | None] = {"standing_alone": None, "broken": None}


def check(methods: Sequence[str]) -> None:
    """Raises ConfigError for a method that there is not, or is twice."""
    for method in methods:
        if method not in METHODS:
            raise ConfigError(f"There is no method {method!r}: choose of {', '.join(METHODS)}.")
    if len(set(methods)) < len(methods):
        raise ConfigError(f"--methods {','.join(methods)}: each may stand there once.")


class Evaluation:
    """Makes and measures summaries. Raises ConfigError where a package is missing."""

    def __init__(
        self,
        methods: Sequence[str],
        budget: int | None,
        weights: Callable[[Referenced], Weights | None],
        answers: Answers | None = None,
    ) -> None:
        """`budget` is the number of words; None, that of the reference. `weights` gives those for a document; None,
        the shipped ones. `answers`, where the method `answer` takes its summaries from."""
        check(methods)
        assert ANSWER not in methods or answers is not None, "somebody must answer"
        self._methods, self._budget, self._weights, self._answers = methods, budget, weights, answers
        self._measures = Measures(Similarity.find())

    @property
    def batch(self) -> int:
        """Documents that are best evaluated together."""
        return self._answers.batch if self._answers else 1

    def rows(self, documents: Sequence[Referenced]) -> Iterator[Row]:
        """One for each document and method, but where there is no answer."""
        wanted = [Wanted(document, self._words(document)) for document in documents]
        answers = self._answers.of(wanted) if self._answers else [None] * len(wanted)
        for each, answer in zip(wanted, answers, strict=True):
            yield from self._of_document(each.document, each.max_words, answer)

    def _words(self, document: Referenced) -> int:
        return self._budget or max(1, len(document.reference.split()))

    def _of_document(self, document: Referenced, max_words: int, answer: str | None) -> Iterator[Row]:
        keys = read(document, max_words, self._weights(document))
        known = Known(document.text, keys)
        same = {"document_id": document.id} | {
            name: getattr(document, name) for name in ("group", "length", "reference")
        }
        same["reference_profile"] = known.profile(document.reference).tolist()
        for method in self._methods:
            summary = _summary(method, document, keys, max_words, answer)
            if summary is None:
                log.warning("document_without_answer", document_id=document.id)
                continue
            measured = self._measures.of(summary, document.reference, known)
            own = _readable(keys, max_words) if method == EXTRACT else UNREAD
            profile = known.profile(summary).tolist()
            yield same | {"method": method, "summary": summary, "profile": profile} | measured | own


def _summary(method: str, document: Referenced, keys: KeySentences, max_words: int, answer: str | None) -> str | None:
    """A sentence a line."""
    if method == EXTRACT:
        return "\n".join(sentence.shown for sentence in keys.select(max_words))
    if method == ANSWER:
        return None if answer is None else baselines.cut(baselines.split(answer), max_words)
    return BASELINES[method](document.text, max_words)


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
        return UNREAD
    broken = candidates["is_broken"][rows].astype(bool)
    leaning = candidates["leans"][rows].astype(bool)
    return {"standing_alone": float((~broken & ~leaning).mean()), "broken": float(broken.mean())}
