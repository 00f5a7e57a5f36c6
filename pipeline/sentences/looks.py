"""What each sentence shows by itself."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.sentences.characters import Characters
from pipeline.sentences.lexicon import COMMON, listed
from pipeline.sentences.lines import Kind
from pipeline.sentences.splitter import Sentence
from pipeline.sentences.tokens import Tokens
from pipeline.sentences.vocabulary import WordTable

Array = npt.NDArray[Any]

SHARES = listed("""
    third_person first_person first_plural second_person they it article capital capitals number past going manner
    abstract filler negation pair
""")
"""Kinds of words of which the share counts."""
CUES = listed("aim finding proposal definition result talk reference reason duty said legal lesson question")
"""Kinds of words of which the number counts."""
SAYS = tuple(f"says_{word}" for word in COMMON)
ENDS, QUESTIONS = frozenset(".!?…。！？"), frozenset("?？")
CLOSERS = "\"'”’)*_] "
OPENERS = "-*+•· \"'“‘("
QUOTES = ("“", '"')
MOST_SYMBOLS = 0.03
LEAST_CONTENT = 3
"""Words that are about something; fewer are a reply."""
SHORT = 12
"""A sentence of fewer words without a verb that is known has none."""


class Batch(NamedTuple):
    """Sentences that follow each other, with their words and characters as arrays."""

    sentences: Sequence[Sentence]
    kinds: Array
    tokens: Tokens
    characters: Characters
    num_words: Array
    """As people count: between blanks, and two characters of Chinese or Japanese."""
    spoken: Array

    @classmethod
    def of(cls, sentences: Sequence[Sentence], table: WordTable) -> "Batch":
        """The words get their slots in the table."""
        num = len(sentences)
        tokens, characters = Tokens(sentences, table), Characters(sentences)
        words = np.fromiter((sentence.text.count(" ") + 1 for sentence in sentences), np.int64, num)
        words = np.where(characters.of("cjk") * 2 > characters.lengths, tokens.num_words // 2 + 1, words)
        kinds = np.fromiter((sentence.kind for sentence in sentences), np.int64, num)
        spoken = np.fromiter((bool(sentence.speaker) for sentence in sentences), np.int64, num)
        return cls(sentences, kinds, tokens, characters, words, spoken)


def looks(batch: Batch) -> dict[str, Array]:
    """Properties by name."""
    tokens, of, words = batch.tokens, batch.characters.of, batch.num_words
    length, per_word = np.maximum(1, batch.characters.lengths), np.maximum(1, tokens.num_words)
    ends = [sentence.text.rstrip(CLOSERS)[-1:] for sentence in batch.sentences]
    found = {
        "words": np.minimum(words, 80),
        "log_words": np.log1p(words),
        "digits": of("digit") / length,
        "quotes": of("quote", "said_open", "said_close"),
        "ends": np.array([end in ENDS for end in ends]),
        "asks": np.array([end in QUESTIONS for end in ends]),
        "colon": np.array([end == ":" for end in ends]),
        "leans": tokens.first("leans"),
        "joins": tokens.first("joins"),
        "lower": np.array([sentence.text[:1].islower() for sentence in batch.sentences]),
        "symbols": of("symbol") / length,
        "points": of("point", "comma", "final") / length,
        "ticks": of("tick", "line"),
        "brackets": of("opened", "bracket"),
        "commas": of("comma"),
        "word_length": tokens.lengths / per_word,
        "repeats": tokens.repeats / per_word,
        "we_find": tokens.followed("first_plural", "research"),
        "this_work": tokens.followed("leans", "work"),
        "is_a": tokens.followed("pair", "article"),
    }
    found |= {name: tokens.of(name) / per_word for name in SHARES}
    found |= {name: tokens.of(name) for name in CUES}
    return found | {name: np.minimum(3, 10 * tokens.of(name) / np.maximum(1, words)) for name in SAYS}


def leans(batch: Batch, found: dict[str, Array]) -> Array:
    """Whether a sentence cannot do without what is before it: it begins with a pronoun or a conjunction, points to what
    stands elsewhere, asks, or hesitates. `This paper` and `in this study` lean on nothing."""
    first = batch.tokens.first
    pronoun = found["leans"] & ~first("work", at=1)
    case = first("preposition") & first("demonstrative", at=1) & ~first("work", at=2)
    points = batch.tokens.followed("article", "pointing") > 0
    return np.asarray(pronoun | case | points | found["joins"] | found["asks"] | (found["filler"] > 0))


def is_poor(batch: Batch, is_inside: Array) -> Array:
    """Whether a sentence can be read alone, but says little: it is of what somebody says, has a `he` or `she` and
    nobody's name, tells the reader what to do, or is about the order of a meeting."""
    begins = np.array([sentence.text[:1] in QUOTES for sentence in batch.sentences])
    nobody = (batch.tokens.of("third_person") > 0) & (batch.tokens.num_names == 0)
    order = (batch.tokens.of("chair") > 0) & (batch.spoken > 0)
    return np.asarray(is_inside | begins | nobody | order | batch.tokens.first("instruction"))


def is_broken(batch: Batch, found: dict[str, Array]) -> Array:
    """Whether a reader would take a sentence for a fragment: cut off, unbalanced, a legend, legal, mostly symbols,
    small talk."""
    of = batch.characters.of
    cut = np.array([not _begins(sentence.text) for sentence in batch.sentences]) | ~found["ends"]
    unbalanced = (
        (of("opened") != of("closed"))
        | (of("said_open") != of("said_close"))
        | (of("bracket") != of("unbracket"))
        | (of("quote") % 2 == 1)
        | (of("tick") % 2 == 1)
    )
    symbols = of("symbol") > MOST_SYMBOLS * batch.characters.lengths
    emptied = np.array([_is_emptied(sentence.text) for sentence in batch.sentences])
    broken = cut | unbalanced | symbols | emptied | (found["legal"] > 0) | (found["repeats"] > 0)
    broken |= _has_no_clause(batch) | _is_small_talk(batch)
    return np.asarray(broken & (batch.kinds != Kind.LOG))


def _has_no_clause(batch: Batch) -> Array:
    """Whether an English sentence has no verb, or none but in a clause that depends on one that is not there."""
    of = batch.tokens.of
    is_english = of("article", "duty", "it", "pair", "says_with", "says_for") > 0
    is_short = batch.num_words < SHORT
    no_verb = is_short & (of("verb", "past") == 0)
    depends = batch.tokens.first("depends") & (batch.characters.of("comma") == 0)
    return np.asarray(is_english & (no_verb | depends))


def _is_small_talk(batch: Batch) -> Array:
    """Whether somebody replies in a few words that mean nothing without their occasion, greets, or gives the word."""
    is_short = batch.tokens.num_content < LEAST_CONTENT
    return np.asarray((batch.spoken > 0) & (is_short | batch.tokens.first("courtesy")))


def _begins(text: str) -> bool:
    """Whether a text begins as a sentence does."""
    first = text.lstrip(OPENERS)[:1]
    return bool(first) and (first in "`_" or first.isdigit() or (first.isalpha() and not first.islower()))


def _is_emptied(text: str) -> bool:
    """Whether something was left out where the text was extracted: a number, a formula, a figure."""
    return "()" in text or "[]" in text or ", ," in text or "[Figure" in text
