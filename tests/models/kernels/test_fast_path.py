"""The kernels give what the plain path gives in float64: ragged packs, from used states, on rows of a table."""

from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
import torch

from models.backends.passes import Passes
from models.backends.recurrent import RecurrentBackend
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, Request, Sampling
from models.kernels.backbone import FastPath
from models.kernels.tiling import AMPERE, HOPPER, Tiling, of_capability
from models.state import State
from tests.delayed import Delayed
from tests.models.kernels.kernel_model import FORMS, MAMBA1_FORMS, MAMBA2_FORMS, VOCAB_SIZE, build

ROWS, SLOTS = [3, 0, 5, 1], 6
LENGTHS, SHORT_FIRST = [130, 1, 64, 5], [1, 2, 1, 66]
TOLERANCE = 1e-4


def tokens_of(length: int, device: str, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCAB_SIZE, (length,), generator=torch.Generator().manual_seed(seed)).to(device)


def used_slots(model, device: str) -> State:
    """Slots that hold documents already, each of another length."""
    lengths = list(range(3, 3 + SLOTS))
    _, slots = model.prefill(tokens_of(sum(lengths), device, 5), [0, *accumulate(lengths)], model.empty_state(SLOTS))
    return slots


def spans_of(tokens: int, tiling: Tiling = HOPPER) -> Tiling:
    """Spans of so many tokens, however few programs run."""
    return replace(tiling, least_span=tokens, programs=10**6)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()


def assert_same_state(actual: State, expected: State) -> None:
    assert set(actual) == set(expected)
    for name in actual:
        if name == "angle":
            turn = actual[name].double() - expected[name].double()
            assert (torch.remainder(turn + torch.pi, 2 * torch.pi) - torch.pi).abs().max() < 10 * TOLERANCE
        else:
            assert relative_error(actual[name], expected[name]) < TOLERANCE, name


@torch.no_grad()
@pytest.mark.parametrize(
    ("form", "lengths", "tiling"),
    [
        *((form, LENGTHS, spans_of(64)) for form in [*FORMS, *MAMBA2_FORMS, *MAMBA1_FORMS]),
        *((form, LENGTHS, spans_of(512)) for form in [*FORMS, "mamba2"]),
        *((form, SHORT_FIRST, spans_of(64)) for form in [*FORMS, "mamba2_groups_biases_two_taps"]),
        *((form, LENGTHS, spans_of(64, AMPERE)) for form in ["siso", "mimo", "mamba2"]),
    ],
)
def test_a_ragged_pack_and_the_steps_after_it(form, lengths, tiling, device):
    """Of several spans a document, the last one ending within a chunk, and of one; of whole chunks and of less."""
    model, judge = build(form, device), build(form, device, torch.float64)
    slots = used_slots(model, device)
    before = slots.map(torch.clone)
    state = slots.gather(ROWS).map(torch.Tensor.double)
    tokens, bounds = tokens_of(sum(lengths), device), [0, *accumulate(lengths)]
    fast = FastPath(model, tiling)

    expected, state = judge.prefill(tokens, bounds, state, logits_at=torch.arange(len(tokens)))
    hidden = fast.hidden_(tokens, bounds, slots, ROWS)
    assert relative_error(model.lm_head(hidden), expected) < TOLERANCE
    assert_same_state(slots.gather(ROWS), state)

    for step in range(2):
        following = tokens_of(len(ROWS), device, 20 + step)
        expected, state = judge.decode(following, state)
        assert relative_error(fast.decode_(following, slots, ROWS), expected) < TOLERANCE
    assert_same_state(slots.gather(ROWS), state)

    idle = sorted(set(range(SLOTS)) - set(ROWS))
    assert all(torch.equal(slots[name][:, idle], before[name][:, idle]) for name in slots)


@torch.no_grad()
@pytest.mark.parametrize("form", ["siso", "mimo", "mamba2"])
@pytest.mark.parametrize("count", [1, 40])
def test_packs_of_one_document_and_of_forty(form, count, device):
    """Of every length from one token on, every other one from an empty state."""
    model, judge = build(form, device), build(form, device, torch.float64)
    lengths = [1 + place % 7 for place in range(count - 1)] + [70]
    rows, bounds = list(range(count))[::-1], [0, *accumulate(lengths)]
    slots, tokens, used = model.empty_state(count), tokens_of(sum(lengths), device), rows[::2]
    model.prefill_(tokens_of(3 * len(used), device, 5), range(0, 3 * len(used) + 1, 3), slots, used, tokens[:0])
    state = slots.gather(rows).map(torch.Tensor.double)
    at = torch.tensor(bounds[1:]) - 1
    expected, state = judge.prefill(tokens, bounds, state, logits_at=at.to(device))
    assert relative_error(FastPath(model, spans_of(64)).prefill_(tokens, bounds, slots, rows, at), expected) < TOLERANCE
    assert_same_state(slots.gather(rows), state)


@torch.no_grad()
def test_with_eight_heads_rows_of_the_projection_are_told_to_be_whole_16_bytes(device):
    model, judge = build("siso", device, d_model=128), build("siso", device, torch.float64, d_model=128)
    assert model.config.num_heads == 8
    tokens, at = tokens_of(73, device), torch.tensor([2, 72])
    slots = model.empty_state(2)
    expected, _ = judge.prefill(tokens, [0, 3, 73], judge.empty_state(2), logits_at=at.to(device))
    actual = FastPath(model, spans_of(64)).prefill_(tokens, [0, 3, 73], slots, [1, 0], at)
    assert relative_error(actual, expected) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("wanted", [[], [129], [129, 130, 3]], ids=len)
def test_of_the_last_layer_only_wanted_tokens_are_computed_and_the_states_are_the_same(wanted, device):
    model, tokens, at = build("siso", device), tokens_of(sum(LENGTHS), device), torch.tensor(wanted, dtype=torch.long)
    fast, bounds = FastPath(model), [0, *accumulate(LENGTHS)]
    whole, slots = model.empty_state(SLOTS), model.empty_state(SLOTS)
    expected = model.lm_head(fast.hidden_(tokens, bounds, whole, ROWS)[at.to(device)])
    torch.testing.assert_close(fast.prefill_(tokens, bounds, slots, ROWS, at.to(device)), expected)
    assert all(torch.equal(slots[name], whole[name]) for name in slots)


@torch.no_grad()
@pytest.mark.parametrize("form", ["siso", "mimo", "mamba2", "mamba1"])
def test_pieces_of_any_length_equal_the_whole(form, device):
    model, tokens = build(form, device), tokens_of(133, device)
    fast, whole, pieces = FastPath(model, spans_of(64)), model.empty_state(1), model.empty_state(1)
    expected = fast.hidden_(tokens, [0, 133], whole, [0])
    parts = [fast.hidden_(part, [0, len(part)], pieces, [0]) for part in tokens.split([1, 63, 66, 1, 2])]
    assert relative_error(torch.cat(parts), expected) < TOLERANCE
    assert_same_state(pieces, whole)


@torch.no_grad()
@pytest.mark.parametrize("form", ["siso", "mimo", "mamba2", "falcon_biases_two_taps"])
def test_bfloat16_stays_close_to_float32_and_keeps_its_state_in_fp32(form, device):
    """Rounding of 8 bits, not a wrong formula: within a few per cent, and no worse than the plain path's own."""
    tokens = tokens_of(70, device)
    exact, narrow = build(form, device), build(form, device, torch.bfloat16)
    exact.load_state_dict(narrow.state_dict())
    slots, plain_slots = narrow.empty_state(1), narrow.empty_state(1)
    expected, _ = exact.prefill(tokens, [0, 70], exact.empty_state(1), torch.arange(70))
    actual = narrow.lm_head(FastPath(narrow).hidden_(tokens, [0, 70], slots, [0]))
    plain, _ = narrow.prefill(tokens, [0, 70], plain_slots, torch.arange(70))
    assert relative_error(actual, expected) < max(0.03, 1.5 * relative_error(plain, expected))
    assert {tensor.dtype for tensor in slots.tensors.values()} == {torch.float32}


def test_tiles_are_those_of_the_chip():
    assert [of_capability(major).rows for major in (8, 9, 10, 12)] == [32, 64, 64, 32]
    narrow = HOPPER.fitted(1, is_fp32=True)
    assert (narrow.rows, narrow.read.num_stages) == (32, 1)
    assert HOPPER.fitted(1, is_fp32=False) == HOPPER
    assert HOPPER.fitted(4, is_fp32=False).rows == 64 and HOPPER.fitted(4, is_fp32=False).read.num_stages == 1


def test_a_shape_that_the_kernels_do_not_take_is_named(device):
    model = build("siso", device)
    assert FastPath.why_not(model) is None
    model.double()
    assert "float64" in FastPath.why_not(model)


def test_the_engine_answers_as_on_the_plain_path(device):
    """Reading in packs, forking and decoding in slots, with the kernels in place of the plain path."""

    model = build("siso", device)

    def answers(passes: Passes, ahead: int = 0) -> dict[str, tuple[int, ...]]:
        backend = Delayed(RecurrentBackend(model, 6, passes), ahead)
        engine = Engine(backend, end_ids={60}, num_slots=3, step_tokens=64)
        for length in (70, 3, 20, 9):
            tokens = np.random.default_rng(length).integers(0, 60, length)
            prompts = tuple(Prompt(start, Sampling(2)) for start in ((3, 1), (5,)))
            engine.submit(Request(f"doc{length}", ArrayFeed(tokens), prompts[: 1 + (length == 20)]))
        found = {}
        while engine.busy:
            found |= {str(each.id): tuple(a.tokens for a in each.answers) for each in engine.step().finished}
        return found

    plain = answers(model)
    assert answers(FastPath(model)) == answers(FastPath(model), ahead=1) == plain
    assert {len(tokens) for each in plain.values() for tokens in each} == {2}
