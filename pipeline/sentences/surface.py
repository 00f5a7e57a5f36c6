"""What each sentence shows by itself and beside those before it, for many sentences at a time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.sentences.headings import Role, role_of
from pipeline.sentences.lexicon import listed
from pipeline.sentences.lines import Kind
from pipeline.sentences.looks import CUES, SAYS, SHARES, Batch, is_broken, is_poor, leans, looks
from pipeline.sentences.speech import shown
from pipeline.sentences.splitter import Sentence
from pipeline.sentences.vocabulary import WordTable

Array = npt.NDArray[Any]

NEIGHBORS = 6
AROUND = ("quotes", "digits", "asks", "ends")
FIRST = (2, 4, 8, 16, 32)
PLACES = listed("""
    log_place log_section_place log_section block_place is_first_of_block is_after_heading first_2 first_4 first_8
    first_16 first_32 is_item is_spoken is_inside
""")
LOOKS = listed("""
    words log_words digits quotes ends asks colon leans joins lower symbols points ticks brackets commas word_length
    repeats
""")
PAIRS = listed("we_find this_work is_a content stop_share rarity rarest like_above like_heading")
ROLE_NAMES = tuple(f"in_{role.name.lower()}" for role in Role if role not in (Role.BODY, Role.APPARATUS))
NAMES = (*PLACES, *LOOKS, *SHARES, *CUES, *PAIRS, *(f"{name}_around" for name in AROUND), *ROLE_NAMES, *SAYS)
STATISTICS = listed("sentences quoted ticked spoken bracketed headed words first_persons")
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
    pair_rows: Array
    """Sentence of each distinct pair of neighboring words in it; `pairs` are the hashes, odd for two content words."""
    pairs: Array
    leans: Array
    """Whether a sentence needs what is before it."""
    is_poor: Array
    """Whether it can be read alone, but says little."""
    is_broken: Array
    is_apparatus: Array
    statistics: Array
    """Of STATISTICS."""


class Reader:
    """Reads sentence after sentence, and remembers the few things about those before that the next depend on."""

    def __init__(self, table: WordTable) -> None:
        self._table = table
        self.index = 0
        """Number of sentences read."""
        self._around = np.zeros((NEIGHBORS, len(AROUND)))
        self._above = np.zeros(0, np.int64)
        """Stems of the last sentence."""
        self._heading = np.zeros(0, np.int64)
        """Stems of the last heading."""
        self._section_at = self._block_at = 0
        self._section = self._block = -1
        self._was_heading = True
        self._marks = [0, 0]
        """Quotation marks of the open block: those that nothing has closed, and the straight ones."""

    def state(self) -> dict[str, Any]:
        """To go on from here: what JSON can hold."""
        return {
            name: value.tolist() if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
            if name != "_table"
        }

    @classmethod
    def resumed(cls, table: WordTable, state: dict[str, Any]) -> "Reader":
        """One that goes on from a state."""
        reader = cls(table)
        vars(reader).update(state, _around=np.array(state["_around"], float))
        vars(reader).update({name: np.array(state[name], np.int64) for name in ("_above", "_heading")})
        return reader

    def move(self, moved: Array) -> None:
        """Follow the stems to the slots that the table has given them."""
        self._above, self._heading = moved[self._above], moved[self._heading]

    def read(self, sentences: Sequence[Sentence]) -> Surface:
        """The next sentences; their words go into the table."""
        batch = Batch.of([_shown(sentence) for sentence in sentences], self._table)
        for place in np.flatnonzero(batch.characters.of("digit")).tolist():
            self._table.facts.add_numbers(sentences[place].text)
        rows, slots, times = batch.tokens.stems(self.index, batch.kinds)
        pair_rows, pairs = batch.tokens.pairs()
        found = looks(batch) | {"is_inside": self._inside(batch)} | self._places(batch)
        found |= self._content(batch, rows, slots, times) | self._neighbors(found)
        roles = _roles(sentences)
        found |= {f"in_{role.name.lower()}": roles == role for role in Role}
        self.index += len(sentences)
        return Surface(
            features=np.stack([np.asarray(found[name], np.float32) for name in NAMES], 1),
            words=batch.num_words,
            rows=rows,
            slots=slots,
            times=times,
            pair_rows=pair_rows,
            pairs=pairs,
            leans=leans(batch, found),
            is_poor=is_poor(batch, found["is_inside"]),
            is_broken=is_broken(batch, found),
            is_apparatus=roles == Role.APPARATUS,
            statistics=_statistics(batch, found),
        )

    def _places(self, batch: Batch) -> dict[str, Array]:
        index = np.arange(self.index, self.index + len(batch.sentences))
        sections = np.array([sentence.section for sentence in batch.sentences])
        blocks = np.array([sentence.block for sentence in batch.sentences])
        section_at, block_at = (
            _starts(numbers, index, last, last_at)
            for numbers, last, last_at in (
                (sections, self._section, self._section_at),
                (blocks, self._block, self._block_at),
            )
        )
        after_heading = np.concatenate([[self._was_heading], batch.kinds[:-1] == Kind.HEADING])
        self._section, self._section_at = int(sections[-1]), int(section_at[-1])
        self._block, self._block_at = int(blocks[-1]), int(block_at[-1])
        self._was_heading = bool(batch.kinds[-1] == Kind.HEADING)
        return {
            "log_place": np.log1p(index),
            "log_section_place": np.log1p(index - section_at),
            "log_section": np.log1p(sections),
            "block_place": np.minimum(index - block_at, 8),
            "is_first_of_block": index == block_at,
            "is_after_heading": after_heading,
            "is_item": batch.kinds == Kind.LIST,
            "is_spoken": batch.spoken,
        } | {f"first_{most}": index < most for most in FIRST}

    def _content(self, batch: Batch, rows: Array, slots: Array, times: Array) -> dict[str, Array]:
        num = len(batch.sentences)
        content = np.bincount(rows, times, num)
        distinct = np.maximum(1, np.bincount(rows, minlength=num))
        idf, rarest = self._table.idf[slots], np.zeros(num)
        np.maximum.at(rarest, rows, idf)
        return {
            "content": content,
            "stop_share": 1 - np.minimum(1, content / np.maximum(1, batch.tokens.num_words)),
            "rarity": np.bincount(rows, idf, num) / distinct,
            "rarest": rarest,
            "like_above": self._like_above(rows, slots, num),
            "like_heading": self._like_heading(batch.kinds == Kind.HEADING, rows, slots),
        }

    def _like_above(self, rows: Array, slots: Array, num: int) -> Array:
        """Share of its words that a sentence has in common with the one before."""
        size = np.int64(len(self._table))
        shared = np.isin(rows * size + slots, np.concatenate([self._above, (rows + 1) * size + slots]))
        counts = np.bincount(rows, minlength=num)
        above = np.concatenate([[len(self._above)], counts[:-1]])
        self._above = slots[rows == num - 1]
        return np.bincount(rows, shared, num) / np.sqrt(np.maximum(1, counts * above))

    def _like_heading(self, is_heading: Array, rows: Array, slots: Array) -> Array:
        """How many words of the heading above a sentence has."""
        number, inside = np.cumsum(is_heading), is_heading[rows]
        keys = number[rows] * np.int64(len(self._table)) + slots
        shared = np.isin(keys, np.concatenate([self._heading, keys[inside]])) & ~inside
        if is_heading.any():
            self._heading = slots[inside & (number[rows] == number[-1])]
        return np.minimum(6, np.bincount(rows, shared, len(is_heading)))

    def _inside(self, batch: Batch) -> Array:
        """Whether a sentence begins within what somebody says: after a quotation mark of its block that is open."""
        of = batch.characters.of
        blocks = np.array([sentence.block for sentence in batch.sentences])
        marks = np.stack([of("said_open") - of("said_close"), of("quote")], 1)
        before = np.cumsum(marks, 0) - marks
        goes_on = blocks == self._block
        before = before - before[np.searchsorted(blocks, blocks)] + np.where(goes_on[:, None], self._marks, 0)
        self._marks = (before + marks)[-1].tolist()
        return np.asarray((before[:, 0] > 0) | (before[:, 1] % 2 == 1))

    def _neighbors(self, found: dict[str, Array]) -> dict[str, Array]:
        """Means over a sentence and those right before it."""
        own = np.stack([np.asarray(found[name], float) for name in AROUND], 1)
        padded = np.concatenate([self._around, own])
        self._around = padded[-NEIGHBORS:]
        total = np.asarray(sum(padded[at : at + len(own)] for at in range(NEIGHBORS + 1)))
        return {f"{name}_around": total[:, at] / (NEIGHBORS + 1) for at, name in enumerate(AROUND)}


def _shown(sentence: Sentence) -> Sentence:
    """As a summary would show it: that is what is weighed."""
    text = shown(sentence.text, bool(sentence.speaker))
    return sentence if text == sentence.text else sentence._replace(text=text)


def _starts(numbers: Array, index: Array, last: int, last_at: int) -> Array:
    """Where the section or block of each sentence begins."""
    is_new = np.concatenate([[numbers[0] != last], numbers[1:] != numbers[:-1]])
    return np.asarray(np.maximum.accumulate(np.where(is_new, index, last_at)))


def _statistics(batch: Batch, found: dict[str, Array]) -> Array:
    """Whole numbers, so that sums do not depend on how sentences are grouped."""
    counts = {
        "sentences": len(batch.sentences),
        "quoted": np.sum(batch.characters.of("quote", "said_open") > 0),
        "ticked": np.sum(found["ticks"] > 0),
        "spoken": np.sum(batch.spoken),
        "bracketed": np.sum(found["brackets"]),
        "headed": np.sum(batch.kinds == Kind.HEADING),
        "words": np.sum(batch.tokens.num_words),
        "first_persons": np.sum(batch.tokens.of("first_person", "first_plural")),
    }
    return np.array([counts[name] for name in STATISTICS], np.int64)


def _roles(sentences: Sequence[Sentence]) -> Array:
    """Of the section of each sentence."""
    known = {heading: role_of(heading) for heading in {sentence.heading for sentence in sentences}}
    return np.fromiter((known[sentence.heading] for sentence in sentences), np.int64, len(sentences))
