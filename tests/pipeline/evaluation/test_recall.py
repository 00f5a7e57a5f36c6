"""Recall of a made-up model that knows exactly the last so many tokens."""

import re
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from models.engine.backend import Handle, Limits, Work
from models.weights.tokenizer import Tokenizer
from pipeline.evaluation import needles, recall
from pipeline.evaluation.needles import VALUES, Needle
from pipeline.evaluation.recall import Places, Recall, Spot

FACT = re.compile(r"The secret word of (.+?) is (\w+)\.")
SAID = re.compile(r"(?:secret word of .+? is|### Response\n)(.*)$")
LINE = "Nothing of note happened in the year that followed.\n"


class Remembering:
    """A `models.engine.backend.Backend`."""

    limits = Limits(chunk=16)
    nbytes = 0

    def __init__(self, tokenizer: Tokenizer, memory_tokens: int, num_sequences: int) -> None:
        self._tokenizer, self._memory, self._most = tokenizer, memory_tokens, num_sequences
        self._sequences: dict[Handle, list[int]] = {}
        self._next, self.tokens_read, self.open_now = 0, 0, self._sequences

    def open(self, tokens: int, start: None = None) -> Handle:
        return self._new([])

    def fork(self, handle: Handle, tokens: int) -> Handle:
        return self._new(list(self._sequences[handle]))

    def _new(self, tokens: list[int]) -> Handle:
        assert len(self._sequences) < self._most, "more sequences than was said"
        self._next += 1
        self._sequences[Handle(self._next)] = tokens
        return Handle(self._next)

    def close(self, handle: Handle) -> None:
        del self._sequences[handle]

    def run(self, work: Sequence[Work]) -> torch.Tensor:
        assert len({each.handle for each in work}) == len(work)
        for each in work:
            self._sequences[each.handle] += each.tokens.tolist()
            self.tokens_read += len(each.tokens)
        wanted = [self._logits(self._sequences[each.handle]) for each in work if each.wants_logits]
        return torch.stack(wanted) if wanted else torch.empty(0)

    def _logits(self, tokens: list[int]) -> torch.Tensor:
        """Sure of the next token of the word where the needle is remembered; else each token is as likely."""
        text = self._tokenizer.decode(tokens[-self._memory :])
        logits = torch.zeros(self._tokenizer.vocab_size)
        facts, said = FACT.search(text), SAID.search(text)
        if facts and said:
            rest = f" {facts[2]}".removeprefix(said[1])
            logits[self._tokenizer.encode(rest)[0] if rest else self._tokenizer.end_id] = 20.0
        return logits


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.shipped()


def probe(tokenizer, memory_tokens, places, trials=8):
    document = np.array([tokenizer.begin_id, *tokenizer.encode(LINE * 400)], np.int32)
    spots = places.spots(np.array(["\n" in tokenizer.decode([token]) for token in document]))
    backend = Remembering(tokenizer, memory_tokens, recall.most_sequences(spots, trials))
    heard: list[int] = []
    found = list(Recall(backend, tokenizer, needles.draw(trials, 0), 256, heard.append).rows(document, spots))
    assert not backend.open_now, "all are closed"
    assert sum(heard) == recall.tokens_to_read(spots, trials)
    return found


def test_what_is_remembered_is_found_and_what_is_forgotten_is_not(tokenizer):
    rows = probe(tokenizer, 600, Places([400, 2000], [0, 50, 100]))
    assert len(rows) == 2 * 3 * 8
    for row in rows:
        remembers = row["length"] - row["position"] < 500
        assert row["found"] == remembers, row
        assert row["rank"] == 1 and row["picked"] == (1 if remembers else 1 / 8)
        assert (row["margin"] > 1) == (row["lift"] > 1) == remembers
    assert {(row["length"], row["depth"]) for row in rows if row["found"]} == {
        (400, 0),
        (400, 50),
        (400, 100),
        (2000, 100),
    }


def test_the_work_grows_with_the_longest_length_and_not_with_the_number_of_lengths(tokenizer):
    at_start = [Places(lengths, [0]).spots(np.zeros(4000, bool)) for lengths in ([4000], [500, 1000, 2000, 4000])]
    assert [recall.tokens_to_read(spots, 8) for spots in at_start] == [1 + 8 * 3999] * 2
    rows = probe(tokenizer, 4000, Places([500, 1000, 2000, 3000], [0]))
    assert len(rows) == 32 and all(row["found"] for row in rows)


def test_needles_lie_at_ends_of_lines_and_places_that_coincide_are_read_once():
    ends = np.zeros(2000, bool)
    ends[[299, 899]] = True
    spots = Places([500, 1000], [0, 50, 100]).spots(ends)
    assert spots == [
        Spot(1, ((500, 0), (1000, 0))),
        Spot(250, ((500, 50),)),
        Spot(300, ((500, 100), (1000, 50))),
        Spot(900, ((1000, 100),)),
    ]


def test_without_memory_the_true_word_is_picked_once_in_eight():
    chance = np.random.default_rng(0)
    words = chance.normal(size=8)
    picked = []
    for _ in range(300):
        true = chance.permutation(8)
        frame = words + chance.normal(scale=0.01, size=(8, 8))
        picked += [recall.judged(lift, at)["picked"] for lift, at in zip(recall.lifts(frame, true), true, strict=True)]
    assert np.mean(picked) == pytest.approx(1 / 8, abs=0.02)


def test_a_trace_of_the_needle_shows_above_what_its_frame_does_to_all_words():
    true = np.arange(8)
    frame = np.tile(np.linspace(-3, 3, 8), (8, 1)) + 0.01 * np.eye(8)
    found = [recall.judged(lift, at) for lift, at in zip(recall.lifts(frame, true), true, strict=True)]
    assert all(row["picked"] == row["rank"] == 1 and row["lift"] == pytest.approx(0.01) for row in found)


def test_needles_are_drawn_by_their_seed_each_word_once_in_a_round():
    drawn = needles.draw(16, 3)
    assert drawn == needles.draw(16, 3) != needles.draw(16, 4)
    for some in (drawn[:8], drawn[8:]):
        assert {needle.value for needle in some} == set(VALUES) and len({needle.key for needle in some}) == 1
    assert drawn[0].key != drawn[8].key


@pytest.mark.parametrize(
    ("answer", "is_named"),
    [("Copper.", True), ("It is “copper”!", True), ("The word is **copper**, not velvet", True),
     ("velvet or copper", False), ("coppersmith", False), ("", False)],
)  # fmt: skip
def test_an_answer_names_the_word_if_it_says_it_before_any_decoy(answer, is_named):
    assert Needle("Norby Mill", "copper").is_named_in(answer) == is_named
