"""The chunked form, the single step and the paper's recurrence agree, whole, in pieces and in ragged packs."""

import pytest
import torch

from models.mamba import reference
from models.state import State
from tests.consistency import (
    assert_gradients_equal,
    assert_pack_equals_each_document,
    assert_pieces_equal_whole,
    assert_rows_move_in_place,
    assert_states_equal,
    assert_steps_equal_whole,
    read_in_pieces,
    relative_error,
    tokens_of,
    turn_between,
)
from tests.small_model import build

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
    assert_pieces_equal_whole(build(dtype, **VARIANTS[variant]), lengths, tolerance)


@torch.no_grad()
@FORMS
@PRECISIONS
def test_step_by_step_equals_whole(variant, dtype, tolerance):
    assert_steps_equal_whole(build(dtype, **VARIANTS[variant]), tolerance)


@torch.no_grad()
@FORMS
@PRECISIONS
@pytest.mark.parametrize("lengths", [[5, 1, 30, 8], [1, 1, 1], [16, 24, 8], [7, 45, 1, 2, 33, 8, 9]])
def test_a_ragged_pack_equals_each_document_alone(variant, dtype, tolerance, lengths):
    """Each document continues from its own state, which is not zero."""
    assert_pack_equals_each_document(build(dtype, **VARIANTS[variant]), lengths, tolerance)


@torch.no_grad()
@FORMS
def test_rows_of_slots_move_on_in_place_and_others_keep_still(variant):
    assert_rows_move_in_place(build(**VARIANTS[variant]))


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
    assert_gradients_equal(build(**VARIANTS[variant]))


def test_state_gradient_flows_through_a_piece():
    """Training with state passing needs gradients within a segment and none across a detached state."""
    model, tokens = build(), tokens_of(20)
    _, state = model.prefill(tokens[:10], [0, 10], model.empty_state(1))
    logits, _ = model.prefill(tokens[10:], [0, 10], state.detach())
    logits.square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
