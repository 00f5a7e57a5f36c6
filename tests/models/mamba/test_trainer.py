"""Training hands the state from segment to segment, and never from document to document."""

import numpy as np
import pytest
import torch

from models.backends.losses import losses_by_token
from models.mamba.language_model import MambaLM
from models.mamba.trainer import (
    Example,
    Recipe,
    Stream,
    Trainer,
    multiply_in_bf16,
    recompute_blocks,
)
from tests.small_model import VOCAB_SIZE, build

STILL = Recipe(learning_rate=0.0)


def documents(lengths: list[int], num_tokens: int = VOCAB_SIZE, answer_tokens: int = 0):
    """Endless, each document of one repeated token."""
    return lambda number: Example(np.full(lengths[number % len(lengths)], number % num_tokens, np.int32), answer_tokens)


def random_document(length: int, answer_tokens: int = 0) -> Example:
    tokens = np.random.default_rng(1).integers(0, VOCAB_SIZE, length).astype(np.int32)
    return Example(tokens, answer_tokens)


def trainable(**mixer: object) -> MambaLM:
    return build(torch.float32, **mixer).train().requires_grad_(True)


def test_a_stream_covers_every_target_once_and_never_mixes_documents():
    stream = Stream(documents([5, 130, 2, 17]), 32)
    targets: dict[int, int] = {}
    for _ in range(20):
        segment = stream.next_segment()
        assert sum(len(piece.is_answer) for piece in segment) == 32
        for piece in segment:
            assert len(set(piece.tokens)) == 1
            assert len(piece.tokens) == len(piece.is_answer) + 1
            targets[int(piece.tokens[0])] = targets.get(int(piece.tokens[0]), 0) + len(piece.is_answer)
    whole = list(targets.values())[:-1]
    assert whole == [([5, 130, 2, 17] * 8)[index] - 1 for index in range(len(whole))]


def test_a_document_starts_from_an_empty_state_and_goes_on_from_its_own():
    stream = Stream(documents([40, 9]), 32)
    starts = [[piece.starts_document for piece in stream.next_segment()] for _ in range(2)]
    assert starts == [[True], [False, True, True]]


def test_a_stream_goes_on_from_any_place_as_if_it_had_never_stopped():
    whole = Stream(documents([40, 9, 75], answer_tokens=7), 32)
    for _ in range(12):
        again = Stream(documents([40, 9, 75], answer_tokens=7), 32, whole.place)
        for one, other in zip(whole.next_segment(), again.next_segment(), strict=True):
            assert one.starts_document == other.starts_document
            assert np.array_equal(one.tokens, other.tokens)
            assert np.array_equal(one.is_answer, other.is_answer)


def test_the_last_tokens_of_a_document_are_its_answer_wherever_it_is_cut():
    stream = Stream(documents([40], answer_tokens=7), 11)
    marks = np.concatenate([piece.is_answer for _ in range(39) for piece in stream.next_segment()])
    assert np.array_equal(marks, np.tile(np.arange(39) >= 32, 11))


@pytest.mark.parametrize("carried", [True, False])
def test_the_loss_of_a_step_is_that_of_the_whole_document_only_with_the_state_carried(carried):
    example = random_document(97)
    model = build(torch.float64)
    expected = losses_by_token(model, example.tokens, 96)
    model.requires_grad_(True)
    trainer = Trainer(model, [Stream(lambda number: example, 32)], STILL)
    found = []
    for _ in range(3):
        found.append(trainer.step(1.0).text_loss)
        if not carried:
            trainer.states = model.empty_state(1)
    assert np.allclose(found, expected.reshape(3, 32).mean(1)) == carried


def gradients(recipe: Recipe, example: Example) -> dict[str, torch.Tensor]:
    """Of one step over the whole document."""
    model = trainable()
    trainer = Trainer(model, [Stream(lambda number: example, len(example.tokens) - 1)], recipe)
    found: dict[str, torch.Tensor] = {}
    trainer.optimizer.step = lambda: found.update(  # what the optimizer would be given
        {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    )
    trainer.step(1.0)
    return found


def test_a_masked_text_teaches_nothing_and_its_answer_all():
    """The gradients of the answer's mean loss alone, up to their clipping."""
    example, model = random_document(65, answer_tokens=9), trainable()
    tokens = torch.from_numpy(example.tokens.astype(np.int64))
    logits, _ = model.prefill(tokens[:-1], [0, 64], model.empty_state(1), torch.arange(64))
    torch.nn.functional.cross_entropy(logits[-9:], tokens[-9:]).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    found = gradients(Recipe(1e-2, text_weight=0.0, answer_weight=2.0), example)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, msg=name)
    assert any(not torch.allclose(found[name], other) for name, other in gradients(Recipe(1e-2), example).items())


def test_a_step_without_a_weight_changes_nothing_but_the_state():
    example, model = random_document(97, answer_tokens=5), trainable()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer = Trainer(model, [Stream(lambda number: example, 32)], Recipe(1e-1, text_weight=0.0))
    result = trainer.step(1.0)
    assert np.isnan(result.text_loss)
    assert result.num_tokens == 32
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert trainer.states["ssm"].abs().max() > 0
    trainer.step(1.0)
    assert trainer.step(1.0).answer_loss > 0
    assert not torch.equal(model.lm_head.weight, before["lm_head.weight"])


@pytest.mark.parametrize("mixer", [{}, {"is_mimo": True, "mimo_rank": 2}], ids=["siso", "mimo"])
def test_computing_blocks_again_gives_the_same_gradients(mixer):
    results = []
    for change in (lambda model: None, recompute_blocks):
        model = trainable(**mixer)
        change(model)
        trainer = Trainer(model, [Stream(documents([50, 70, 31]), 32) for _ in range(2)], Recipe(1e-2))
        for _ in range(2):
            trainer.step(1.0)
        results.append(model.state_dict())
    assert all(torch.equal(tensor, results[1][name]) for name, tensor in results[0].items())


def test_in_bf16_linear_layers_multiply_in_it_and_weights_and_states_stay_fp32():
    example = random_document(65)
    exact, model = trainable(), trainable()
    multiply_in_bf16(model)
    kinds: set[torch.dtype] = set()
    model.backbone.layers[0].mixer.in_proj.register_forward_hook(lambda layer, given, made: kinds.add(made.dtype))
    losses = [
        Trainer(each, [Stream(lambda number: example, 64)], Recipe(1e-3)).step(1.0).text_loss for each in (exact, model)
    ]
    assert kinds == {torch.bfloat16}
    assert losses[0] != losses[1]
    assert abs(losses[0] - losses[1]) < 0.02 * losses[0]
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert {parameter.grad is None for parameter in model.parameters()} == {True}
    _, state = model.prefill(torch.arange(8), [0, 8], model.empty_state(1))
    assert {tensor.dtype for tensor in state.tensors.values()} == {torch.float32}


def test_what_the_optimizer_remembers_goes_over_to_another():
    models = [trainable(), trainable()]
    trainers = [Trainer(model, [Stream(documents([50, 31]), 32)], Recipe(1e-2, 0.1)) for model in models]
    for _ in range(3):
        trainers[0].step(1.0)
    memory = {name: tensor.clone() for name, tensor in trainers[0].memory().items()}
    models[1].load_state_dict(models[0].state_dict())
    trainers[1].remember(memory)
    trainers[1].states = trainers[0].states
    trainers[1].streams = [Stream(documents([50, 31]), 32, trainers[0].streams[0].place)]
    for _ in range(2):
        for trainer in trainers:
            trainer.step(0.5)
    states = [model.state_dict() for model in models]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_gradients_that_are_no_numbers_change_nothing():
    model = trainable()
    with torch.no_grad():
        model.backbone.layers[1].mixer.D[0] = float("inf")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainer = Trainer(model, [Stream(documents([50]), 32)], Recipe(1e-2))
    with pytest.raises(FloatingPointError, match="norm is nan"):
        trainer.step(1.0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_training_learns():
    torch.manual_seed(0)
    model = MambaLM(build().config).initialize()
    streams = [Stream(documents([50, 70, 31], num_tokens=4), 32) for _ in range(3)]
    trainer = Trainer(model, streams, Recipe(learning_rate=1e-2))
    losses = [trainer.step(1.0).text_loss for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
