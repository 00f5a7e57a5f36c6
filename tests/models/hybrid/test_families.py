"""Every family loads as published and agrees with transformers, and with itself in any pieces, packs and forks."""

from functools import cache
from itertools import accumulate

import pytest
import torch

from models.hybrid.attention import WholeCache
from models.hybrid.language_model import HybridLM
from models.state import State
from models.weights import checkpoint
from tests.consistency import relative_error, tokens_of
from tests.published_families import FAMILIES, their_model, write

EVERY = pytest.mark.parametrize("family", sorted(FAMILIES))
WIDE = torch.float64


class Reader:
    """A model with what its sequences hold."""

    def __init__(self, model: HybridLM, num_rows: int = 1) -> None:
        self.model, self.slots = model, model.empty_state(num_rows)
        self.cache = WholeCache(model.kv_shape, num_rows)

    @torch.inference_mode()
    def read(self, pieces: list[torch.Tensor], rows: list[int] | None = None) -> list[torch.Tensor]:
        """Logits after every token of each piece, read in one pack."""
        rows = list(range(len(pieces))) if rows is None else rows
        lengths = [len(piece) for piece in pieces]
        bounds, every = [0, *accumulate(lengths)], torch.arange(sum(lengths))
        cache = self.cache.of_pass(rows, lengths)
        return self.model.prefill_(torch.cat(pieces), bounds, self.slots, rows, cache, every).split(lengths)

    @torch.inference_mode()
    def decode(self, tokens: torch.Tensor, rows: list[int]) -> torch.Tensor:
        return self.model.decode_(tokens, self.slots, rows, self.cache.of_pass(rows, [1] * len(rows)))

    def fork(self, row: int, into: int) -> None:
        self.cache.fork(row, into)
        if self.slots.tensors:
            self.slots.scatter_([into], self.slots.gather([row]))

    def carried(self, row: int) -> State:
        keys, values = self.cache.row(row)
        tensors = {name: self.slots[name][:, row] for name in self.slots}
        return State(tensors | ({"keys": keys, "values": values} if len(keys) else {}))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The folder of a family's checkpoint."""
    return cache(lambda family: write(family, tmp_path_factory.mktemp(family)))


@pytest.fixture(scope="module")
def ours(published):
    return cache(lambda family, dtype=WIDE: checkpoint.load(published(family), dtype))


def read_whole(model: HybridLM, tokens: torch.Tensor) -> torch.Tensor:
    return Reader(model).read([tokens])[0]


def assert_same(actual: State, expected: State, tolerance: float) -> None:
    assert sorted(actual) == sorted(expected)
    for name in actual:
        assert relative_error(actual[name], expected[name]) < tolerance, name


@EVERY
def test_logits_are_those_of_transformers(family, ours):
    tokens = tokens_of(150)
    expected = their_model(family)(input_ids=tokens[None], use_cache=False).logits[0]
    assert relative_error(read_whole(ours(family, torch.float32), tokens), expected) < 1e-5
    without_a_past = their_model(family)(input_ids=tokens[None, 100:], use_cache=False).logits[0]
    assert relative_error(without_a_past, expected[100:]) > 0.01


@EVERY
@pytest.mark.parametrize(("dtype", "tolerance"), [(WIDE, 1e-9), (torch.float32, 1e-4)])
def test_pieces_and_steps_equal_the_whole(family, dtype, tolerance, ours):
    tokens = tokens_of(90)
    whole, pieces = Reader(ours(family, dtype)), Reader(ours(family, dtype))
    expected = whole.read([tokens])[0]
    parts = [pieces.read([piece])[0] for piece in tokens[:70].split([16, 1, 33, 20])]
    parts += [pieces.decode(token[None], [0]) for token in tokens[70:]]
    assert relative_error(torch.cat(parts), expected) < tolerance
    assert_same(pieces.carried(0), whole.carried(0), tolerance)


@EVERY
def test_single_steps_equal_the_whole(family, ours):
    tokens, steps = tokens_of(40), Reader(ours(family))
    logits = torch.cat([steps.decode(token[None], [0]) for token in tokens])
    assert relative_error(logits, read_whole(ours(family), tokens)) < 1e-9


@EVERY
def test_a_ragged_pack_equals_each_document_alone(family, ours):
    """Each goes on from a past of its own, in rows of another order."""
    model, lengths, rows = ours(family), [5, 1, 70, 8], [2, 4, 0, 3]
    pasts = [tokens_of(4 + row, 100 + row) for row in rows]
    documents = [tokens_of(length, seed) for seed, length in enumerate(lengths)]
    packed = Reader(model, 5)
    packed.read(pasts, rows)
    logits = packed.read(documents, rows)
    for part, row, past, document in zip(logits, rows, pasts, documents, strict=True):
        alone = Reader(model)
        alone.read([past])
        assert relative_error(part, alone.read([document])[0]) < 1e-9
        assert_same(packed.carried(row), alone.carried(0), 1e-9)
    assert packed.cache.length(1) == 0
    assert not any(packed.slots[name][:, 1].any() for name in packed.slots)


@EVERY
def test_a_fork_goes_on_by_itself(family, ours):
    model, past, left, right = ours(family), tokens_of(20), tokens_of(9, 1), tokens_of(9, 2)
    reader = Reader(model, 2)
    reader.read([past], [0])
    reader.fork(0, 1)
    logits = reader.read([left, right])
    for part, document in zip(logits, (left, right), strict=True):
        assert relative_error(part, read_whole(model, torch.cat((past, document)))[20:]) < 1e-9


@EVERY
def test_answers_side_by_side_equal_each_alone(family, ours):
    """A step of decoding of several, and a piece of one token, are the same."""
    model, documents = ours(family), [tokens_of(length, length) for length in (3, 30, 11)]
    reader, again = Reader(model, 3), Reader(model, 3)
    reader.read(documents)
    again.read(documents)
    tokens = tokens_of(3, 9)
    steps = reader.decode(tokens, [2, 0, 1])
    pieces = torch.cat(again.read(list(tokens[:, None]), [2, 0, 1]))
    assert relative_error(steps, pieces) < 1e-9
    for row in range(3):
        assert_same(reader.carried(row), again.carried(row), 1e-9)
