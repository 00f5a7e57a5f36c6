"""How good each candidate is, by all that is known of the document: its words, statistics, a sample of sentences."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.sentences.candidates import Candidates
from pipeline.sentences.lexicon import listed
from pipeline.sentences.surface import NAMES, STATISTICS
from pipeline.sentences.vocabulary import WordTable
from pipeline.sentences.weights import Weights

Array = npt.NDArray[Any]

TABLE_NAMES = listed("""
    place from_end like_all like_all_counted common mean_count mean_sentences top_20 top_60 share_top_60 once new
    new_recurring like_first_6 like_first_30 like_headings in_title of_title mean_promise sum_promise spread pairs_twice
    pairs_thrice pair_count
""")
RANKED = ("like_all", "common", "words", "rarity", "like_first_6", "mean_promise", "content")
ALL_NAMES = (*NAMES, *TABLE_NAMES, *(f"rank_{name}" for name in RANKED))
ADAPTED_BY = ("quoted", "ticked", "spoken", "bracketed", "headed", "sentences", "first_persons")
"""Statistics of a document that change how much properties count."""
WORD_NAMES = listed("""
    count sentences rarity weight rank first log_first last early front headings share_headings code title spread
    capital length times
""")
AS_THEY_ARE = [ALL_NAMES.index(name) for name in ALL_NAMES if re.match(r"first_\d|in_(?!title)|says_", name)]
"""What is true of few sentences, or of none."""
FAR = 4.0
"""Standard deviations beyond which nothing counts more."""


@dataclass(frozen=True)
class Document:
    """What is known of a document, or its part so far."""

    num_sentences: int
    num_sections: int
    totals: Array
    """Of STATISTICS, over all sentences."""
    title: frozenset[int]
    """Slots of the title's stems."""

    def statistics(self) -> Array:
        """Of ADAPTED_BY."""
        total = dict(zip(STATISTICS, self.totals.tolist(), strict=True))
        num = max(1, total["sentences"])
        found = {name: total[name] / num for name in ("quoted", "ticked", "spoken", "bracketed", "headed")}
        found |= {"sentences": float(np.log(num)), "first_persons": total["first_persons"] / max(1, total["words"])}
        return np.array([found[name] for name in ADAPTED_BY])


@dataclass(frozen=True)
class Knowledge:
    """All that choosing needs."""

    candidates: Candidates
    table: WordTable
    document: Document
    is_sampled: Array
    """Which candidates stand for all sentences of the document."""


def promises(knowledge: Knowledge, weights: Weights) -> Array:
    """For each stem, how likely it stands in a summary."""
    adapted = (knowledge.document.statistics() - weights.statistics_mean) / weights.statistics_scale
    known = np.clip(
        (word_properties(knowledge.table, knowledge.document) - weights.words_mean) / weights.words_scale, -FAR, FAR
    )
    own, squared, products, rest = _split(weights.words, known.shape[1])
    found = known @ (own + adapted @ products) + known**2 @ squared + adapted @ rest[:-1] + rest[-1]
    promise = np.clip(np.maximum(found, 0.001) * knowledge.table.favor, 0.001, 1.0)
    promise[0] = 0.001
    return np.asarray(promise)


def _split(words: Array, size: int) -> tuple[Array, Array, Array, Array]:
    num = len(ADAPTED_BY)
    flat = words[: (2 + num) * size].reshape(2 + num, size)
    return flat[0], flat[1], flat[2:], words[(2 + num) * size :]


def word_properties(table: WordTable, document: Document) -> Array:
    """(stems, WORD_NAMES)"""
    num = max(1, document.num_sentences)
    column = table.column
    count, sentences = np.maximum(1, column("count")), np.maximum(1, column("sentences"))
    weight = count * table.idf
    title = np.zeros(len(table))
    title[list(document.title)] = 1
    written = column("capital") + column("plain")
    rank = np.empty(len(table))
    rank[np.argsort(-weight, kind="stable")] = np.arange(len(table))
    values = {
        "count": np.log1p(count),
        "sentences": np.log(sentences / num),
        "rarity": table.idf,
        "weight": weight / (weight.max() + 1e-9),
        "rank": np.log1p(rank),
        "first": column("first") / num,
        "log_first": np.log1p(column("first")),
        "last": column("last") / num,
        "early": np.log1p(column("early")),
        "front": np.log1p(column("front")),
        "headings": np.log1p(column("headings")),
        "share_headings": column("headings") / max(1, document.num_sections),
        "code": column("code") / sentences,
        "title": title,
        "spread": table.spread(num),
        "capital": np.where(written > 0, column("capital") / np.maximum(1, written), -1.0),
        "length": np.minimum(20, column("length")),
        "times": np.minimum(200, sentences),
    }
    return np.stack([values[name] for name in WORD_NAMES], 1)


def _by_table(candidates: Candidates, table: WordTable, document: Document, promise: Array) -> Array:
    rows, slots, size = candidates.rows, candidates.slots, len(candidates)
    idf, column = table.idf, table.column
    num, index = max(1, document.num_sentences), candidates["index"]
    distinct = np.maximum(1, candidates["num"])
    count, sentences = np.maximum(1, column("count")), np.maximum(1, column("sentences"))
    weight = candidates.times * idf[slots]
    norm = np.sqrt(np.bincount(rows, weight**2, size)) + 1e-6

    def total(values: Array) -> Array:
        return np.bincount(rows, values[slots].astype(float), size)

    def like(values: Array) -> Array:
        center = values * idf
        return np.bincount(rows, weight * center[slots], size) / norm / (np.linalg.norm(center) + 1e-9)

    order = np.argsort(-(count * idf), kind="stable")
    top_20, top_60, title = (np.zeros(len(table)) for _ in range(3))
    top_20[order[:20]], top_60[order[:60]], title[list(document.title)] = 1, 1, 1
    new = column("first")[slots] == index[rows]
    values = {
        "place": index / num,
        "from_end": np.log1p(np.maximum(0, num - 1 - index)),
        "like_all": like(sentences),
        "like_all_counted": like(count),
        "common": np.bincount(rows, candidates.times * count[slots], size)
        / np.maximum(1, np.bincount(rows, candidates.times, size))
        / max(1, count.sum())
        * 100,
        "mean_count": total(np.log(count)) / distinct,
        "mean_sentences": total(np.log(sentences / num)) / distinct,
        "top_20": total(top_20),
        "top_60": total(top_60),
        "share_top_60": total(top_60) / distinct,
        "once": total(sentences == 1) / distinct,
        "new": np.bincount(rows, new, size) / distinct,
        "new_recurring": np.bincount(rows, new & (sentences[slots] >= 4), size),
        "like_first_6": like(column("early")),
        "like_first_30": like(column("front")),
        "like_headings": like(column("headings")),
        "in_title": total(title),
        "of_title": total(title) / max(1, len(document.title)),
        "mean_promise": total(promise) / distinct,
        "sum_promise": total(promise) / np.sqrt(np.maximum(1, candidates["words"])),
        "spread": total(table.spread(num)) / distinct,
    } | _by_pairs(candidates, table)
    return np.stack([values[name] for name in TABLE_NAMES], 1).astype(np.float32)


def _by_pairs(candidates: Candidates, table: WordTable) -> dict[str, Array]:
    rows, size = candidates.pair_rows, len(candidates)
    times = np.maximum(1, table.pairs(candidates.pairs))
    is_content = candidates.pairs % 2 == 1
    return {
        "pairs_twice": np.bincount(rows, is_content & (times >= 2), size),
        "pairs_thrice": np.bincount(rows, is_content & (times >= 3), size),
        "pair_count": np.bincount(rows, np.log(times), size) / np.maximum(1, candidates["num_pairs"]),
    }


def standardized(knowledge: Knowledge, promise: Array) -> Array:
    """(candidates, ALL_NAMES): their properties, as those of this document's sentences differ."""
    candidates = knowledge.candidates
    by_table = _by_table(candidates, knowledge.table, knowledge.document, promise)
    found = np.concatenate([candidates.features, by_table], 1)
    sample = found[knowledge.is_sampled].astype(float)
    ranks = []
    for name in RANKED:
        at = [*NAMES, *TABLE_NAMES].index(name)
        ranks.append(np.searchsorted(np.sort(sample[:, at]), found[:, at], "left") / max(1, len(sample)))
    found = np.concatenate([found, np.stack(ranks, 1)], 1)
    sample = found[knowledge.is_sampled]
    scaled = np.clip((found - sample.mean(0)) / (sample.std(0) + 1e-3), -FAR, FAR)
    scaled[:, AS_THEY_ARE] = found[:, AS_THEY_ARE]
    return np.asarray(scaled)


def scores(scaled: Array, knowledge: Knowledge, weights: Weights) -> Array:
    """One number for each candidate."""
    adapted = np.concatenate(
        [[1.0], (knowledge.document.statistics() - weights.statistics_mean) / weights.statistics_scale]
    )
    heads = [scaled @ (adapted @ head) for head in weights.sentences]
    return np.asarray(sum(z(head, knowledge.is_sampled) for head in heads) / len(heads))


def z(values: Array, chosen: Array) -> Array:
    """Values in standard deviations of the chosen ones from their mean."""
    some = values[chosen] if chosen.any() else values
    return np.asarray((values - some.mean()) / (some.std() + 1e-9))
