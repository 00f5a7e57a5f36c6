"""Training hands the state from segment to segment, and never from document to document."""

import itertools

import numpy as np
import pytest
import torch

from models.backends.losses import losses_by_token
from models.mamba.language_model import MambaLM
from models.mamba.trainer import Stream, Trainer
from tests.small_model import VOCAB_SIZE, build


def documents(lengths: list[int], num_tokens: int = VOCAB_SIZE):
    """Endless, each document of one repeated token."""
    for index in itertools.count():
        length = lengths[index % len(lengths)]
        yield np.full(length, index % num_tokens, np.int32), np.ones(length, np.float32)


def test_a_stream_covers_every_target_once_and_never_mixes_documents():
    stream = Stream(documents([5, 130, 2, 17]), 32)
    targets: dict[int, int] = {}
    for _ in range(20):
        segment = stream.next_segment()
        assert sum(len(piece.weights) for piece in segment) == 32
        for piece in segment:
            assert len(set(piece.tokens)) == 1
            assert len(piece.tokens) == len(piece.weights) + 1
            targets[int(piece.tokens[0])] = targets.get(int(piece.tokens[0]), 0) + len(piece.weights)
    whole = list(targets.values())[:-1]
    assert whole == [([5, 130, 2, 17] * 8)[index] - 1 for index in range(len(whole))]


def test_a_document_starts_from_an_empty_state_and_goes_on_from_its_own():
    stream = Stream(documents([40, 9]), 32)
    starts = [[piece.starts_document for piece in stream.next_segment()] for _ in range(2)]
    assert starts == [[True], [False, True, True]]


@pytest.mark.parametrize("carried", [True, False])
def test_the_loss_of_a_step_is_that_of_the_whole_document_only_with_the_state_carried(carried):
    tokens = np.random.default_rng(1).integers(0, VOCAB_SIZE, 97).astype(np.int32)
    model = build(torch.float64)
    expected = losses_by_token(model, tokens, 96)
    streams = [Stream(itertools.repeat((tokens, np.ones(97, np.float32))), 32)]
    trainer = Trainer(model, streams, learning_rate=0.0, weight_decay=0.0)
    found = []
    for _ in range(3):
        found.append(trainer.step(1.0).text_loss)
        if not carried:
            trainer._states = model.empty_state(1)
    assert np.allclose(found, expected.reshape(3, 32).mean(1)) == carried


def test_training_learns():
    torch.manual_seed(0)
    model = MambaLM(build().config).initialize()
    streams = [Stream(documents([50, 70, 31], num_tokens=4), 32) for _ in range(3)]
    trainer = Trainer(model, streams, learning_rate=1e-2, weight_decay=0.0)
    losses = [trainer.step(1.0).text_loss for _ in range(40)]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
