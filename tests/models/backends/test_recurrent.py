"""Rows of a table, seen as sequences: opened, forked, run, exported and closed."""

import numpy as np
import pytest
import torch

from configs.errors import StateError
from models.backends.recurrent import RecurrentBackend
from models.engine.backend import Handle, Work
from tests.small_model import VOCAB_SIZE, build

MODEL = build(torch.float32)
LENGTHS = [37, 1, 130, 8]


def tokens_of(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, VOCAB_SIZE, length)


def opened(num_sequences: int) -> tuple[RecurrentBackend, list[Handle]]:
    """With four ragged documents that have been read."""
    backend = RecurrentBackend(MODEL, num_sequences)
    handles = [backend.open(0) for _ in LENGTHS]
    logits = backend.run([Work(handle, tokens_of(n)) for handle, n in zip(handles, LENGTHS, strict=True)])
    assert logits.shape == (0, VOCAB_SIZE)
    return backend, handles


def exported(backend: RecurrentBackend, handles: list[Handle]) -> list[dict[str, np.ndarray]]:
    return [dict(backend.export(handle)) for handle in handles]


def assert_equal(found: list[dict[str, np.ndarray]], expected: list[dict[str, np.ndarray]]) -> None:
    for one, two in zip(found, expected, strict=True):
        assert all(np.array_equal(one[name], two[name]) for name in two)


@torch.inference_mode()
def test_prefill_and_decode_in_one_call_give_bit_by_bit_what_they_give_in_two():
    prefill = [tokens_of(length) for length in (64, 5, 16)]
    results = []
    for together in (True, False):
        backend, handles = opened(10)
        answers = [backend.fork(handle, 0) for handle in handles[:3]]
        prompts = [Work(each, np.array([3, 1, 4]), wants_logits=True) for each in answers]
        work = [Work(handle, part) for handle, part in zip(handles[1:], prefill, strict=True)]
        new = backend.fork(handles[0], 0)
        work.append(Work(new, np.array([7, 7]), wants_logits=True))
        backend.run(prompts)
        decode = [Work(each, np.array([9]), wants_logits=True, is_decode=True) for each in answers]
        parts = [[*work, *decode]] if together else [work, decode]
        logits = torch.cat([backend.run(part) for part in parts])
        results.append((logits, exported(backend, [*handles, *answers, new])))
    (one, states), (two, expected) = results
    assert one.shape == (4, VOCAB_SIZE) and torch.equal(one, two)
    assert_equal(states, expected)


@torch.inference_mode()
def test_forks_continue_by_themselves_and_rows_are_free_again():
    backend, handles = opened(6)
    before = exported(backend, handles)
    forks = [backend.fork(handles[2], 0) for _ in range(2)]
    assert not backend.room_for(0)
    first, second = backend.run(
        [Work(each, np.array([token, 5, 6]), wants_logits=True) for each, token in zip(forks, (3, 4), strict=True)]
    )
    assert not torch.equal(first, second)
    assert_equal(exported(backend, handles), before)
    for each in forks:
        backend.close(each)
    assert backend.room_for(0)
    again = backend.fork(handles[2], 0)
    (alone,) = backend.run([Work(again, np.array([3, 5, 6]), wants_logits=True)])
    torch.testing.assert_close(alone, first, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_an_exported_sequence_opens_elsewhere_and_a_closed_row_is_forgotten():
    backend, handles = opened(4)
    other = RecurrentBackend(MODEL, 3)
    moved = [other.open(0, backend.export(handle)) for handle in handles[:3]]
    work = [np.array([1, 2]), tokens_of(40), tokens_of(11)]
    expected = backend.run([Work(h, part, wants_logits=True) for h, part in zip(handles, work, strict=False)])
    found = other.run([Work(h, part, wants_logits=True) for h, part in zip(moved, work, strict=True)])
    assert torch.equal(found, expected)
    other.close(moved[1])
    assert not any(array.any() for array in other.export(other.open(0)).values())


def test_a_state_of_another_shape_or_precision_is_refused():
    backend, handles = opened(5)
    state = dict(backend.export(handles[0]))
    wrong = [
        {name: array for name, array in state.items() if name != "k"},
        state | {"ssm": state["ssm"][:1]},
        state | {"ssm": state["ssm"].astype(np.float64)},
        state | {"more": state["k"]},
    ]
    for each in wrong:
        with pytest.raises(StateError, match="other tensors than this model's"):
            backend.open(0, each)
    assert backend.room_for(0)
