"""What simple methods make of a document: its beginning, and the sentences most like the others.

All see the same sentences, and are cut at exactly the words that they may have. LexRank takes the cosine of TF-IDF
vectors above a threshold (Erkan and Radev 2004), TextRank the words in common (Mihalcea and Tarau 2004); both rank by
PageRank. Vectors are scikit-learn's.
"""

import re
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from configs.errors import ConfigError

Array = npt.NDArray[Any]
ENDS = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
WORD = re.compile(r"\w+")
LEAST_WORDS = 5
MOST_SENTENCES = 3_000
"""Of a longer document, the first ones: the graph of all would not fit into memory."""
THRESHOLD = 0.1
DAMPING = 0.85
STEPS = 50


def sentences(text: str) -> list[str]:
    """As the baselines see them."""
    found = (part for part in split(text) if part.count(" ") + 1 >= LEAST_WORDS and WORD.search(part))
    return list(islice(found, MOST_SENTENCES))


def split(text: str) -> list[str]:
    """Sentences, each on one line, short ones too."""
    found = (" ".join(part.split()) for part in ENDS.split(text))
    return [part for part in found if part]


def lead(text: str, max_words: int) -> str:
    """The beginning."""
    return cut(sentences(text), max_words)


def lexrank(text: str, max_words: int) -> str:
    """The most central sentences. Raises ConfigError where scikit-learn is not installed."""
    found = sentences(text)
    if not found:
        return ""
    vectors = _vectorizer("TfidfVectorizer").fit_transform(found)
    likeness = (vectors @ vectors.T).toarray().astype(np.float32)
    likeness[likeness < THRESHOLD] = 0
    return _ranked(found, _page_rank(likeness), max_words)


def textrank(text: str, max_words: int) -> str:
    """Likewise, by words in common. Raises ConfigError where scikit-learn is not installed."""
    found = sentences(text)
    if not found:
        return ""
    vectors = (_vectorizer("CountVectorizer").fit_transform(found) > 0).astype(np.float32)
    lengths = np.log(np.maximum(2, np.asarray(vectors.sum(1)).ravel()))
    likeness = (vectors @ vectors.T).toarray() / (lengths[:, None] + lengths[None, :])
    np.fill_diagonal(likeness, 0)
    return _ranked(found, _page_rank(likeness), max_words)


def _vectorizer(name: str) -> Any:
    try:
        from sklearn.feature_extraction import text as vectorizers
    except ImportError as error:
        raise ConfigError("LexRank and TextRank need scikit-learn: pip install 'longhaul[evaluate]'.") from error
    return getattr(vectorizers, name)(token_pattern=WORD.pattern)


def _page_rank(likeness: Array) -> Array:
    num = len(likeness)
    total = likeness.sum(1, keepdims=True)
    chances = np.divide(likeness, total, out=np.full_like(likeness, 1 / num), where=total > 0)
    rank = np.full(num, 1 / num)
    for _ in range(STEPS):
        rank = (1 - DAMPING) / num + DAMPING * (chances.T @ rank)
    return np.asarray(rank)


def _ranked(found: list[str], rank: Array, max_words: int) -> str:
    """The best until the words are there, in the order of the document."""
    chosen: list[int] = []
    num_words = 0
    for place in np.argsort(-rank, kind="stable").tolist():
        if num_words >= max_words:
            break
        chosen.append(place)
        num_words += found[place].count(" ") + 1
    return cut([found[place] for place in sorted(chosen)], max_words)


def cut(found: list[str], max_words: int) -> str:
    """At so many words, a sentence a line."""
    kept, left = [], max_words
    for sentence in found:
        words = sentence.split()[:left]
        kept.append(" ".join(words))
        left -= len(words)
        if left <= 0:
            break
    return "\n".join(kept)
