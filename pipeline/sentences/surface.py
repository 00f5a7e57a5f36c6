"""What each sentence shows by itself and beside those before it: about seventy numbers, for many sentences at a time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.sentences.headings import Role, role_of
from pipeline.sentences.lines import Kind
from pipeline.sentences.splitter import Sentence
from pipeline.sentences.vocabulary import WordTable
from pipeline.sentences.words import CJK, FLAGS, tokens

Array = npt.NDArray[Any]

CLASSES = ("digit", "quote", "opened", "closed", "said_open", "said_close", "bracket", "unbracket", "tick", "line", "comma",
           "symbol", "point", "final", "cjk")  # fmt: skip
_CHARACTERS = {
    "quote": '"', "opened": "(", "closed": ")", "said_open": "“", "said_close": "”", "bracket": "[", "unbracket": "]",
    "tick": "`", "line": "_", "comma": ",", "symbol": "{}|<>=\\^$#@~+*/&%", "point": ";:-—–'’‘", "final": ".!?…。！？",
}  # fmt: skip
_CLASS = np.zeros(0x10000, np.uint8)
for _place, _name in enumerate(CLASSES, start=1):
    for _character in _CHARACTERS.get(_name, ""):
        _CLASS[ord(_character)] = _place
_CLASS[ord("0") : ord("9") + 1] = CLASSES.index("digit") + 1
for _range in (CJK[at : at + 3] for at in range(0, len(CJK), 3)):
    _CLASS[ord(_range[0]) : ord(_range[2]) + 1] = CLASSES.index("cjk") + 1

SHARES = ("third_person", "first_person", "first_plural", "second_person", "they", "it", "article", "capital", "capitals",
          "number", "past", "going", "manner", "abstract", "filler", "negation", "pair")  # fmt: skip
"""Kinds of words of which the share counts."""
CUES = ("aim", "finding", "proposal", "definition", "result", "talk", "reference", "reason", "duty", "said", "legal",
        "lesson", "question")  # fmt: skip
"""Kinds of words of which the number counts."""
NEIGHBOURHOOD = 6
AROUND = ("quotes", "digits", "asks", "ends")
PLACES = ("log_place", "log_section_place", "log_section", "block_place", "is_first_of_block", "is_after_heading",
          "first_2", "first_4", "first_8", "first_16", "first_32", "is_item", "is_spoken")  # fmt: skip
LOOKS = ("words", "log_words", "digits", "quotes", "ends", "asks", "colon", "leans", "joins", "lower", "symbols", "points",
         "ticks", "brackets", "commas", "word_length", "repeats")  # fmt: skip
PAIRS = ("we_find", "this_work", "is_a", "content", "stop_share", "rarity", "rarest", "like_above", "like_heading")
ROLE_NAMES = tuple(f"in_{role.name.lower()}" for role in Role if role not in (Role.BODY, Role.APPARATUS))
NAMES = (*PLACES, *LOOKS, *SHARES, *CUES, *PAIRS, *(f"{name}_around" for name in AROUND), *ROLE_NAMES)
STATISTICS = ("quoted", "ticked", "spoken", "bracketed", "headed", "listed", "in_code", "first_persons", "digits",
              "characters", "words", "second_persons", "third_persons", "asked", "said", "fillers", "repeats", "long")  # fmt: skip
"""What is counted over the whole document."""


class Surface(NamedTuple):
    """Of a batch of sentences."""

    features: Array
    """(sentences, NAMES)"""
    words: Array
    rows: Array
    """Sentence of each distinct stem in it, in order; `slots` are the stems, `times` how often each stands there."""
    slots: Array
    times: Array
    leans: Array
    """Whether a sentence needs what is before it."""
    is_broken: Array
    is_apparatus: Array
    statistics: Array


class Reader:
    """Reads sentence after sentence, and remembers the few things about those before that the next depend on."""

    def __init__(self, table: WordTable) -> None:
        self._table = table
        self.index = 0
        """Number of sentences read."""
        self._around = np.zeros((NEIGHBOURHOOD, len(AROUND)))
        self._above = np.zeros(0, np.int64)
        """Stems of the last sentence."""
        self._heading = np.zeros(0, np.int64)
        """Stems of the last heading."""
        self._section_at = self._block_at = 0
        self._section = self._block = -1
        self._was_heading = True

    def state(self) -> dict[str, Any]:
        """To go on from here: what JSON can hold."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
            if name != "_table"
        }

    @classmethod
    def resumed(cls, table: WordTable, state: dict[str, Any]) -> "Reader":
        reader = cls(table)
        vars(reader).update(state, _around=np.array(state["_around"], float))
        vars(reader).update({name: np.array(state[name], np.int64) for name in ("_above", "_heading")})
        return reader

    def move(self, moved: Array) -> None:
        """Follow the stems to the slots that the table has given them."""
        self._above, self._heading = moved[self._above], moved[self._heading]

    def read(self, sentences: Sequence[Sentence]) -> Surface:
        """The next sentences; their words go into the table."""
        num = len(sentences)
        kinds = np.fromiter((sentence.kind for sentence in sentences), np.int64, num)
        found = _Tokens(sentences, self._table)
        rows, slots, times = found.stems(self._table, self.index, kinds)
        classes, lengths = _characters(sentences)
        counts, flag = found.counts(num), _Columns(FLAGS)
        words = np.maximum(found.words, np.fromiter((s.text.count(" ") + 1 for s in sentences), np.int64, num))
        words = np.where(classes[:, CLASSES.index("cjk")] * 2 > lengths, found.words // 2 + 1, words)
        spoken = np.fromiter((bool(sentence.speaker) for sentence in sentences), np.int64, num)
        features: dict[str, Array] = {}
        features |= self._places(sentences, kinds, spoken)
        features |= _looks(sentences, classes, lengths, words, found)
        per_word = np.maximum(1, found.words)
        features |= {name: counts[:, flag(name)] / per_word for name in SHARES}
        features |= {name: counts[:, flag(name)] for name in CUES}
        features |= self._pairs(found, num, rows, slots, times)
        features |= self._neighbors(features)
        roles = _roles(sentences)
        features |= {f"in_{role.name.lower()}": roles == role for role in Role}
        marks = _Columns(CLASSES)
        statistics = np.array([
            np.sum(marks.of(classes, "quote") + marks.of(classes, "said_open") > 0),
            np.sum(features["ticks"] > 0), spoken.sum(), features["brackets"].sum(), np.sum(kinds == Kind.HEADING),
            np.sum(kinds == Kind.LIST), np.sum((kinds == Kind.CODE) | (kinds == Kind.TABLE)),
            counts[:, flag("first_person")].sum() + counts[:, flag("first_plural")].sum(),
            marks.of(classes, "digit").sum(), lengths.sum(), found.words.sum(), counts[:, flag("second_person")].sum(),
            counts[:, flag("third_person")].sum(), features["asks"].sum(), counts[:, flag("said")].sum(),
            counts[:, flag("filler")].sum(), found.repeats.sum(), np.sum(words >= 8),
        ]).astype(np.int64)  # fmt: skip
        self.index += num
        leans = (features["leans"] + features["joins"] + features["asks"] + (features["filler"] > 0) + (found.repeats > 0)) > 0
        return Surface(
            np.stack([np.asarray(features[name], np.float32) for name in NAMES], 1), words, rows, slots, times, leans,
            _broken(sentences, kinds, classes, lengths, counts[:, flag("legal")], features), roles == Role.APPARATUS, statistics,
        )  # fmt: skip

    def _places(self, sentences: Sequence[Sentence], kinds: Array, spoken: Array) -> dict[str, Array]:
        num = len(sentences)
        index = np.arange(self.index, self.index + num)
        section_at, self._section, self._section_at = _starts(
            [sentence.section for sentence in sentences], index, self._section, self._section_at
        )
        block_at, self._block, self._block_at = _starts(
            [sentence.block for sentence in sentences], index, self._block, self._block_at
        )
        after_heading = np.concatenate([[self._was_heading], kinds[:-1] == Kind.HEADING])
        self._was_heading = bool(kinds[-1] == Kind.HEADING)
        sections = np.fromiter((sentence.section for sentence in sentences), np.int64, num)
        return {
            "log_place": np.log1p(index), "log_section_place": np.log1p(index - section_at),
            "log_section": np.log1p(sections), "block_place": np.minimum(index - block_at, 8),
            "is_first_of_block": index == block_at, "is_after_heading": after_heading,
            "is_item": kinds == Kind.LIST, "is_spoken": spoken,
        } | {f"first_{most}": index < most for most in (2, 4, 8, 16, 32)}  # fmt: skip

    def _pairs(self, tokens: "_Tokens", num: int, rows: Array, slots: Array, times: Array) -> dict[str, Array]:
        content = np.bincount(rows, times, num)
        distinct = np.maximum(1, np.bincount(rows, minlength=num))
        idf = self._table.idf[slots]
        rarest = np.zeros(num)
        np.maximum.at(rarest, rows, idf)
        return {
            "we_find": tokens.followed("first_plural", "research", num),
            "this_work": tokens.followed("leans", "work", num),
            "is_a": tokens.followed("pair", "article", num),
            "content": content, "stop_share": 1 - np.minimum(1, content / np.maximum(1, tokens.words)),
            "rarity": np.bincount(rows, idf, num) / distinct, "rarest": rarest,
            "like_above": self._like_above(rows, slots, num), "like_heading": self._like_heading(tokens, rows, slots, num),
        }  # fmt: skip

    def _like_above(self, rows: Array, slots: Array, num: int) -> Array:
        """Share of its words that a sentence has in common with the one before."""
        size = np.int64(len(self._table) + 1)
        above = np.concatenate([self._above, (rows + 1) * size + slots])
        shared = np.isin(rows * size + slots, above)
        counts = np.bincount(rows, minlength=num)
        before = np.concatenate([[len(self._above)], counts[:-1]])
        self._above = slots[rows == num - 1]
        return np.bincount(rows, shared, num) / np.sqrt(np.maximum(1, counts * before))

    def _like_heading(self, tokens: "_Tokens", rows: Array, slots: Array, num: int) -> Array:
        """How many words of the heading above a sentence has."""
        size = np.int64(len(self._table) + 1)
        number = np.cumsum(tokens.is_heading)
        keys = number[rows] * size + slots
        is_heading = tokens.is_heading[rows]
        shared = np.isin(keys, np.concatenate([self._heading, keys[is_heading]])) & ~is_heading
        last = number == number[-1]
        if tokens.is_heading.any():
            self._heading = slots[is_heading & last[rows]]
        return np.minimum(6, np.bincount(rows, shared, num))

    def _neighbors(self, features: dict[str, Array]) -> dict[str, Array]:
        """Means over a sentence and those right before it."""
        own = np.stack([np.asarray(features[name], float) for name in AROUND], 1)
        padded = np.concatenate([self._around, own])
        total = sum(padded[at : at + len(own)] for at in range(NEIGHBOURHOOD + 1))
        self._around = padded[-NEIGHBOURHOOD:]
        means = np.asarray(total) / (NEIGHBOURHOOD + 1)
        return {f"{name}_around": means[:, at] for at, name in enumerate(AROUND)}


class _Columns:
    """Places of names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._places = {name: place for place, name in enumerate(names)}

    def __call__(self, name: str) -> int:
        return self._places[name]

    def of(self, array: Array, name: str) -> Array:
        return np.asarray(array[:, self._places[name]])


class _Tokens:
    """The words of a batch: those of each sentence, then those of its speaker's name."""

    def __init__(self, sentences: Sequence[Sentence], table: WordTable) -> None:
        found = tokens_of(sentences)
        forms = table.forms
        self._rows = np.fromiter(map(forms.__getitem__, found), np.int64, len(found))
        is_end = self._rows == 0
        lines = np.cumsum(is_end) - is_end
        self._sentence = lines // 2
        self._is_own = (lines % 2 == 0) & ~is_end
        self._flags = forms.flags[self._rows]
        self._slots = forms.slots[self._rows]
        num = len(sentences)
        self.words = np.bincount(self._sentence[self._is_own], minlength=num)
        self.lengths = np.bincount(self._sentence[self._is_own], forms.lengths[self._rows][self._is_own], num)
        ends = np.flatnonzero(is_end)[::2]
        self._first_at = np.concatenate([[0], np.flatnonzero(is_end)[1::2] + 1])[:num]
        self.has_words = self._first_at < ends
        self.firsts = np.where(self.has_words[:, None], self._flags[np.minimum(self._first_at, len(found) - 1)], 0)
        same = (self._rows[1:] == self._rows[:-1]) & self._is_own[1:] & self._is_own[:-1]
        self.repeats = np.bincount(self._sentence[1:][same], minlength=num)
        self.is_heading = np.fromiter((sentence.kind is Kind.HEADING for sentence in sentences), bool, num)

    def counts(self, num: int) -> Array:
        """Of each flag in each sentence."""
        own = np.where(self._is_own[:, None], self._flags, 0)
        return np.asarray(np.add.reduceat(own, self._first_at, 0, dtype=np.int64))

    def followed(self, first: str, second: str, num: int) -> Array:
        """How often a word of one kind stands before one of another."""
        is_first = self._flags[:-1, FLAGS.index(first)] & self._is_own[:-1]
        pairs = (is_first & self._flags[1:, FLAGS.index(second)] & self._is_own[1:]).astype(bool)
        return np.bincount(self._sentence[:-1][pairs], minlength=num)

    def stems(self, table: WordTable, index: int, kinds: Array) -> tuple[Array, Array, Array]:
        """The distinct stems of each sentence, counted in the table on the way."""
        chosen = self._slots >= 0
        rows, slots = self._sentence[chosen], self._slots[chosen].astype(np.int64)
        is_inside = self._is_own.copy()
        is_inside[self._first_at] = False
        table.count(slots, is_inside[chosen], self._flags[chosen, FLAGS.index("capital")].astype(bool))
        size = np.int64(len(table))
        keys, times = np.unique(rows * size + slots, return_counts=True)
        rows, slots = keys // size, keys % size
        kind = kinds[rows]
        table.add(slots, rows + index, kind == Kind.HEADING, (kind == Kind.CODE) | (kind == Kind.TABLE))
        return rows, slots, times


def tokens_of(sentences: Sequence[Sentence]) -> list[str]:
    """Words of all sentences; two ends of lines behind each: of the sentence, and of its speaker."""
    return tokens("".join(f"{sentence.text}\n{sentence.speaker}\n" for sentence in sentences))


def _characters(sentences: Sequence[Sentence]) -> tuple[Array, Array]:
    """How many characters of each class each sentence has, and how many in all."""
    num = len(sentences)
    lengths = np.fromiter((len(sentence.text) for sentence in sentences), np.int64, num)
    joined = "".join(sentence.text for sentence in sentences).encode("utf-32-le", "surrogatepass")
    classes = _CLASS[np.minimum(np.frombuffer(joined, np.uint32), 0xFFFF)]
    width = len(CLASSES) + 1
    keys = np.repeat(np.arange(num) * width, lengths) + classes
    return np.bincount(keys, minlength=num * width).reshape(num, width)[:, 1:], lengths


def _starts(numbers: list[int], index: Array, last: int, last_at: int) -> tuple[Array, int, int]:
    """Where the section or block of each sentence begins, and the last one."""
    found = np.array(numbers)
    is_new = np.concatenate([[found[0] != last], found[1:] != found[:-1]])
    starts = np.maximum.accumulate(np.where(is_new, index, last_at))
    return starts, int(found[-1]), int(starts[-1])


def _looks(
    sentences: Sequence[Sentence], classes: Array, lengths: Array, words: Array, tokens: _Tokens
) -> dict[str, Array]:
    num, marks = len(sentences), _Columns(CLASSES)
    length = np.maximum(1, lengths)
    ends = [sentence.text.rstrip("\"'”’)*_] ")[-1:] for sentence in sentences]
    first = [sentence.text[:1] for sentence in sentences]
    per_word = np.maximum(1, tokens.words)
    of = marks.of
    return {
        "words": np.minimum(words, 80), "log_words": np.log1p(words), "digits": of(classes, "digit") / length,
        "quotes": of(classes, "quote") + of(classes, "said_open") + of(classes, "said_close"),
        "ends": np.array([end in ".!?…。！？" and end != "" for end in ends]),
        "asks": np.array([end in "?？" and end != "" for end in ends]), "colon": np.array([end == ":" for end in ends]),
        "leans": tokens.firsts[:, FLAGS.index("leans")], "joins": tokens.firsts[:, FLAGS.index("joins")],
        "lower": np.array([letter.islower() for letter in first]), "symbols": of(classes, "symbol") / length,
        "points": (of(classes, "point") + of(classes, "comma") + of(classes, "final")) / length,
        "ticks": of(classes, "tick") + of(classes, "line"), "brackets": of(classes, "opened") + of(classes, "bracket"),
        "commas": of(classes, "comma"), "word_length": tokens.lengths / per_word,
        "repeats": tokens.repeats / per_word,
    }  # fmt: skip


def _broken(
    sentences: Sequence[Sentence], kinds: Array, classes: Array, lengths: Array, legal: Array, features: dict[str, Array]
) -> Array:
    """Whether a reader would take a sentence for a fragment: cut off, unbalanced, a legend, a licence, mostly symbols."""
    of = _Columns(CLASSES).of
    is_cut = np.asarray([not _begins(sentence.text) for sentence in sentences]) | ~features["ends"]
    unbalanced = (
        (of(classes, "opened") != of(classes, "closed")) | (of(classes, "said_open") != of(classes, "said_close"))
        | (of(classes, "bracket") != of(classes, "unbracket")) | (of(classes, "quote") % 2 == 1) | (of(classes, "tick") % 2 == 1)
    )  # fmt: skip
    symbols = of(classes, "symbol") > 0.03 * lengths
    emptied = np.asarray(["()" in sentence.text or "[]" in sentence.text or ", ," in sentence.text for sentence in sentences])
    return np.asarray((is_cut | unbalanced | symbols | (legal > 0) | emptied) & (kinds != Kind.LOG))


def _begins(text: str) -> bool:
    """Whether a text begins as a sentence does."""
    start = text.lstrip("-*+•· \"'“‘(")
    first = start[:1]
    return bool(first) and (first.isupper() or first.isdigit() or first in "`_" or not first.islower() and first.isalpha())


def _roles(sentences: Sequence[Sentence]) -> Array:
    known: dict[str, Role] = {}
    for sentence in sentences:
        if sentence.heading not in known:
            known[sentence.heading] = role_of(sentence.heading)
    return np.fromiter((known[sentence.heading] for sentence in sentences), np.int64, len(sentences))
