"""A document gives the same tokens whole, in any pieces, and up to its last part after it has grown."""

import random
from functools import cache

import numpy as np
import pytest

from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.formats.trail import Piece

WORDS = ["stream", "state", "the", "of", "océan", "漢字", "🙂", "a", "longer-word", "1234"]


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.train([" ".join(random.Random(1).choices(WORDS, k=4000))], vocab_size=400)


def prose(chars: int, seed: int, line_words: int = 12) -> str:
    rng = random.Random(seed)
    lines = []
    while chars > 0:
        lines.append(" ".join(rng.choices(WORDS, k=rng.randint(0, 2 * line_words))) + "\n")
        chars -= len(lines[-1])
    return "".join(lines)


TEXTS = {
    "prose": prose(40_000, seed=2),
    "long lines": prose(60_000, seed=3, line_words=700),
    "one line with blanks": prose(60_000, seed=4).replace("\n", " "),
    "one line without blanks": "x漢" * 25_000,
    "blank lines": "\n" * 30_000,
    "blanks": " " * 30_000,
    "exactly one part": "a" * (tokenize.PART_CHARS - 1) + "\n",
    "a line end right after a part": "a" * tokenize.PART_CHARS + "\n" + "b" * tokenize.PART_CHARS,
    "short": "hello",
}


def pieces_of(text: str, seed: int, largest: int) -> list[str]:
    rng = random.Random(seed)
    pieces, start = [], 0
    while start < len(text):
        pieces.append(text[start : start + rng.randint(0, largest)])
        start += len(pieces[-1])
    return pieces


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_parts_are_the_text_and_do_not_depend_on_how_it_arrives(text: str) -> None:
    whole = list(tokenize.cut([text]))
    assert "".join(whole) == text
    assert all(whole) and max(map(len, whole)) <= 3 * tokenize.PART_CHARS
    for seed, largest in enumerate((7, 100, 5_000, 30_000)):
        assert list(tokenize.cut(pieces_of(text, seed, largest))) == whole
    if len(text) < 20_000:
        assert list(tokenize.cut(text)) == whole


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_append_changes_no_part_but_the_last(text: str) -> None:
    before = list(tokenize.cut([text]))
    for addition in ("!", "\n", " ", prose(9_000, seed=5), "y" * 20_000):
        after = list(tokenize.cut([text + addition]))
        assert after[: len(before) - 1] == before[:-1]
        assert "".join(after) == text + addition


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_tokens_are_equal_whole_and_in_pieces_and_decode_to_the_text(text: str) -> None:
    whole = tokenize.tokens([text], tokenizer())
    assert whole.dtype == tokenize.TOKEN_DTYPE
    assert whole[0] == tokenizer().begin_id
    assert tokenizer().decode(whole[1:].tolist()) == text
    for seed, largest in enumerate((50, 4_000)):
        assert np.array_equal(tokenize.tokens(pieces_of(text, seed, largest), tokenizer()), whole)


def test_tokens_before_the_last_cut_survive_an_append() -> None:
    text = TEXTS["prose"]
    kept = sum(len(tokenizer().encode(part)) for part in list(tokenize.cut([text]))[:-1])
    after = tokenize.tokens([text, prose(5_000, seed=6)], tokenizer())
    assert kept > 0
    assert np.array_equal(after[: 1 + kept], tokenize.tokens([text], tokenizer())[: 1 + kept])


def parts_of(text: str, seed: int = 0) -> list[tokenize.Part]:
    pieces, offset = [], 0
    for piece in filter(None, pieces_of(text, seed, 5_000)):
        pieces.append(Piece(piece, offset))
        offset += len(piece)
    return list(tokenize.parts(tokenize.passages(pieces), tokenizer()))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_parts_have_the_tokens_of_the_text_and_begin_at_its_cuts(text: str) -> None:
    parts = parts_of(text)
    assert np.array_equal(np.concatenate([part.tokens for part in parts]), tokenize.tokens([text], tokenizer()))
    tokens, offset, digest = 0, 0, ""
    for number, (part, passage) in enumerate(zip(parts, tokenize.cut([text]), strict=True)):
        assert part.start == tokenize.Position(tokens, offset, None, number, digest)
        tokens, offset = tokens + len(part.tokens), offset + len(passage)
        digest = tokenize.chained(digest, passage)
    assert [part.start for part in parts_of(text, seed=1)] == [part.start for part in parts]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_digest_tells_the_text_before_a_cut(text: str) -> None:
    starts = [part.start for part in parts_of(text)]
    assert [part.start for part in parts_of(text + "more")][: len(starts)] == starts
    for number, start in enumerate(starts[1:], 1):
        before = start.offset - 1
        changed = parts_of(text[:before] + "~" + text[before + 1 :])
        assert start.digest not in {part.start.digest for part in changed}
        assert [part.start for part in changed][:number] == starts[:number]


def test_a_single_line_of_500_kb_is_cut_at_blanks() -> None:
    text = " ".join(["word"] * 100_000)
    assert len(text) == 499_999
    parts = list(tokenize.cut([text]))
    assert all(part.endswith(" ") for part in parts[:-1])
    assert np.array_equal(
        tokenize.tokens(pieces_of(text, 0, 10_000), tokenizer()), tokenize.tokens([text], tokenizer())
    )


def test_an_empty_document_is_only_the_begin_token() -> None:
    assert tokenize.tokens([], tokenizer()).tolist() == [tokenizer().begin_id]
    assert tokenize.tokens([""], tokenizer()).tolist() == [tokenizer().begin_id]


def test_special_tokens_in_a_text_are_ordinary_characters() -> None:
    text = "before <|endoftext|> after"
    ids = tokenize.tokens([text], tokenizer())[1:]
    assert tokenizer().end_id not in ids
    assert tokenizer().decode(ids.tolist()) == text
