"""The chunked form, the single step and the paper's recurrence agree, whole, in pieces and in ragged packs."""

from itertools import accumulate

import pytest
import torch

from models.mamba import reference
from models.mamba.language_model import MambaLM
from models.state import State
from tests.small_model import VOCAB_SIZE, build

VARIANTS = {
    "released": {},
    "softplus": {"a_activation": "softplus"},
    "two_groups_full_rotation": {"ngroups": 2, "rope_fraction": 1.0},
    "outproj_norm": {"is_outproj_norm": True},
    "mimo": {"is_mimo": True, "mimo_rank": 4, "chunk_size": 4},
    "mimo_outproj_norm_two_groups": {"is_mimo": True, "mimo_rank": 2, "is_outproj_norm": True, "ngroups": 2},
}
FORMS = pytest.mark.parametrize("variant", ["released", "mimo"])
PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])


def tokens_of(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCAB_SIZE, (length,), generator=torch.Generator().manual_seed(seed))


def read_in_pieces(model: MambaLM, tokens: torch.Tensor, lengths: list[int]) -> tuple[torch.Tensor, State]:
    """Logits after every token, feeding the document in pieces of the given lengths."""
    state, logits, start = model.empty_state(1), [], 0
    for length in lengths:
        piece = tokens[start : start + length]
        part, state = model.prefill(piece, [0, length], state, logits_at=torch.arange(length))
        logits.append(part)
        start += length
    assert start == len(tokens)
    return torch.cat(logits), state


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


def assert_states_equal(actual: State, expected: State, tolerance: float) -> None:
    assert turn_between(actual, expected).abs().max() < tolerance * 10
    for name in ("ssm", "k", "v"):
        assert relative_error(actual[name], expected[name]) < tolerance


def turn_between(actual: State, expected: State) -> torch.Tensor:
    turn = actual["angle"].double() - expected["angle"].double()
    return torch.remainder(turn + torch.pi, 2 * torch.pi) - torch.pi


@torch.no_grad()
@pytest.mark.parametrize("variant", VARIANTS)
@PRECISIONS
def test_prefill_equals_the_papers_recurrence(variant, dtype, tolerance):
    tokens = tokens_of(45)
    expected = reference.logits(build(**VARIANTS[variant]), tokens)
    actual, _ = read_in_pieces(build(dtype, **VARIANTS[variant]), tokens, [45])
    assert relative_error(actual, expected) < tolerance


@torch.no_grad()
@FORMS
@PRECISIONS
@pytest.mark.parametrize("lengths", [[1] * 45, [8, 8, 8, 8, 8, 5], [1, 17, 1, 1, 9, 16], [44, 1], [3, 42]])
def test_whole_equals_any_pieces(variant, dtype, tolerance, lengths):
    model, tokens = build(dtype, **VARIANTS[variant]), tokens_of(45)
    whole, whole_state = read_in_pieces(model, tokens, [45])
    pieces, state = read_in_pieces(model, tokens, lengths)
    assert relative_error(pieces, whole) < tolerance
    assert_states_equal(state, whole_state, tolerance)


@torch.no_grad()
@FORMS
@PRECISIONS
def test_step_by_step_equals_whole(variant, dtype, tolerance):
    model, tokens = build(dtype, **VARIANTS[variant]), tokens_of(45)
    whole, whole_state = read_in_pieces(model, tokens, [45])
    state, logits = model.empty_state(1), []
    for token in tokens:
        row, state = model.decode(token.unsqueeze(0), state)
        logits.append(row)
    assert relative_error(torch.cat(logits), whole) < tolerance
    assert_states_equal(state, whole_state, tolerance)


@torch.no_grad()
@FORMS
@PRECISIONS
@pytest.mark.parametrize("lengths", [[5, 1, 30, 8], [1, 1, 1], [16, 24, 8], [7, 45, 1, 2, 33, 8, 9]])
def test_a_ragged_pack_equals_each_document_alone(variant, dtype, tolerance, lengths):
    """Each document continues from its own state, which is not zero."""
    model = build(dtype, **VARIANTS[variant])
    documents = [tokens_of(length, seed) for seed, length in enumerate(lengths)]
    histories = [read_in_pieces(model, tokens_of(3 + seed, 100 + seed), [3 + seed])[1] for seed in range(len(lengths))]
    total = sum(lengths)
    packed, states = model.prefill(
        torch.cat(documents),
        [0, *accumulate(lengths)],
        State.concatenate(histories),
        logits_at=torch.arange(total),
    )
    for row, (document, history) in enumerate(zip(documents, histories, strict=True)):
        alone, state = model.prefill(document, [0, len(document)], history, logits_at=torch.arange(len(document)))
        start = sum(lengths[:row])
        assert relative_error(packed[start : start + len(document)], alone) < tolerance
        assert_states_equal(states.gather([row]), state, tolerance)


@torch.no_grad()
@FORMS
def test_rows_of_slots_move_on_in_place_and_others_keep_still(variant):
    model, lengths, rows = build(**VARIANTS[variant]), [7, 1, 12], [4, 0, 2]
    histories = [read_in_pieces(model, tokens_of(3 + seed, 100 + seed), [3 + seed])[1] for seed in range(5)]
    slots = State.concatenate(histories)
    before, tokens, bounds = slots.map(torch.clone), tokens_of(sum(lengths)), [0, *accumulate(lengths)]
    expected, state = model.prefill(tokens, bounds, before.gather(rows))
    lasts = torch.tensor(bounds[1:]) - 1
    assert relative_error(model.prefill_(tokens, bounds, slots, rows, lasts), expected) < 1e-12
    assert_states_equal(slots.gather(rows), state, 1e-12)
    expected, state = model.decode(tokens[:3], state)
    assert relative_error(model.decode_(tokens[:3], slots, rows), expected) < 1e-12
    assert_states_equal(slots.gather(rows), state, 1e-12)
    assert_states_equal(slots.gather([1, 3]), before.gather([1, 3]), 1e-300)


@torch.no_grad()
def test_batched_decode_equals_each_document_alone():
    model = build()
    histories = [read_in_pieces(model, tokens_of(5 + seed, seed), [5 + seed])[1] for seed in range(4)]
    next_tokens = tokens_of(4, 9)
    batched, states = model.decode(next_tokens, State.concatenate(histories))
    for row, history in enumerate(histories):
        alone, state = model.decode(next_tokens[row : row + 1], history)
        assert relative_error(batched[row : row + 1], alone) < 1e-12
        assert_states_equal(states.gather([row]), state, 1e-12)


@torch.no_grad()
def test_angle_stays_exact_over_a_long_document():
    """fp32 phases in one piece of 4,000 tokens keep to fp64's, whatever the pack's length."""
    tokens = tokens_of(4000)
    _, narrow = read_in_pieces(build(torch.float32), tokens, [4000])
    _, wide = read_in_pieces(build(torch.float64), tokens, [4000])
    assert turn_between(narrow, wide)[0].abs().max() < 1e-3


@FORMS
def test_gradients_of_a_pass_are_those_of_single_steps(variant):
    model, tokens, gradients = build(**VARIANTS[variant]), tokens_of(13), []

    def in_steps():
        state, logits = model.empty_state(1), []
        for token in tokens:
            row, state = model.decode(token.unsqueeze(0), state)
            logits.append(row)
        return torch.cat(logits)

    for read in (in_steps, lambda: model.prefill(tokens, [0, 13], model.empty_state(1), torch.arange(13))[0]):
        model.zero_grad()
        read().square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert relative_error(one, other) < 1e-9


def test_state_gradient_flows_through_a_piece():
    """Training with state passing needs gradients within a segment and none across a detached state."""
    model, tokens = build(), tokens_of(20)
    _, state = model.prefill(tokens[:10], [0, 10], model.empty_state(1))
    logits, _ = model.prefill(tokens[10:], [0, 10], state.detach())
    logits.square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
