"""What every recurrent model must do: read the same whole, in pieces, step by step and in a ragged pack."""

from collections.abc import Sequence
from itertools import accumulate

import torch

from models.mamba.language_model import MambaLM
from models.state import State
from tests.small_model import VOCAB_SIZE


def tokens_of(length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCAB_SIZE, (length,), generator=torch.Generator().manual_seed(seed))


def read_in_pieces(model: MambaLM, tokens: torch.Tensor, lengths: Sequence[int]) -> tuple[torch.Tensor, State]:
    """Logits after every token, feeding the document in pieces of the given lengths."""
    state, logits = model.empty_state(1), []
    for piece in tokens.split(list(lengths)):
        part, state = model.prefill(piece, [0, len(piece)], state, logits_at=torch.arange(len(piece)))
        logits.append(part)
    return torch.cat(logits), state


def read_in_steps(model: MambaLM, tokens: torch.Tensor) -> tuple[torch.Tensor, State]:
    """Logits after every token, decoded one at a time."""
    state, logits = model.empty_state(1), []
    for token in tokens:
        row, state = model.decode(token.unsqueeze(0), state)
        logits.append(row)
    return torch.cat(logits), state


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return ((actual.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


def assert_states_equal(actual: State, expected: State, tolerance: float) -> None:
    assert sorted(actual) == sorted(expected)
    for name in actual:
        if name == "angle":
            assert turn_between(actual, expected).abs().max() < tolerance * 10
        else:
            assert relative_error(actual[name], expected[name]) < tolerance


def turn_between(actual: State, expected: State) -> torch.Tensor:
    turn = actual["angle"].double() - expected["angle"].double()
    return torch.remainder(turn + torch.pi, 2 * torch.pi) - torch.pi


@torch.no_grad()
def assert_pieces_equal_whole(model: MambaLM, lengths: Sequence[int], tolerance: float) -> None:
    tokens = tokens_of(sum(lengths))
    whole, whole_state = read_in_pieces(model, tokens, [len(tokens)])
    pieces, state = read_in_pieces(model, tokens, lengths)
    assert relative_error(pieces, whole) < tolerance
    assert_states_equal(state, whole_state, tolerance)


@torch.no_grad()
def assert_steps_equal_whole(model: MambaLM, tolerance: float) -> None:
    tokens = tokens_of(45)
    whole, whole_state = read_in_pieces(model, tokens, [45])
    steps, state = read_in_steps(model, tokens)
    assert relative_error(steps, whole) < tolerance
    assert_states_equal(state, whole_state, tolerance)


def histories(model: MambaLM, count: int) -> list[State]:
    """States of documents that have been read for a while, so that none is zero."""
    return [read_in_pieces(model, tokens_of(3 + seed, 100 + seed), [3 + seed])[1] for seed in range(count)]


@torch.no_grad()
def assert_pack_equals_each_document(model: MambaLM, lengths: Sequence[int], tolerance: float) -> None:
    documents, before = [tokens_of(length, seed) for seed, length in enumerate(lengths)], histories(model, len(lengths))
    bounds = [0, *accumulate(lengths)]
    packed, states = model.prefill(
        torch.cat(documents), bounds, State.concatenate(before), logits_at=torch.arange(bounds[-1])
    )
    for row, (document, history) in enumerate(zip(documents, before, strict=True)):
        alone, state = model.prefill(document, [0, len(document)], history, logits_at=torch.arange(len(document)))
        assert relative_error(packed[bounds[row] : bounds[row + 1]], alone) < tolerance
        assert_states_equal(states.gather([row]), state, tolerance)


@torch.no_grad()
def assert_rows_move_in_place(model: MambaLM) -> None:
    lengths, rows = [7, 1, 12], [4, 0, 2]
    slots = State.concatenate(histories(model, 5))
    before, tokens, bounds = slots.map(torch.clone), tokens_of(sum(lengths)), [0, *accumulate(lengths)]
    expected, state = model.prefill(tokens, bounds, before.gather(rows))
    lasts = torch.tensor(bounds[1:]) - 1
    assert relative_error(model.prefill_(tokens, bounds, slots, rows, lasts), expected) < 1e-12
    assert_states_equal(slots.gather(rows), state, 1e-12)
    expected, state = model.decode(tokens[:3], state)
    assert relative_error(model.decode_(tokens[:3], slots, rows), expected) < 1e-12
    assert_states_equal(slots.gather(rows), state, 1e-12)
    assert_states_equal(slots.gather([1, 3]), before.gather([1, 3]), 1e-300)


def assert_gradients_equal(model: MambaLM) -> None:
    """Those of a pass, and those of single steps."""
    gradients = []
    for read in (lambda tokens: read_in_steps(model, tokens), lambda tokens: read_in_pieces(model, tokens, [13])):
        model.zero_grad()
        read(tokens_of(13))[0].square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert relative_error(one, other) < 1e-9
