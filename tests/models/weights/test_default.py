"""The model that ships: it loads, knows some English, and stays stable far past the segments it was trained on."""

from pydoc_data.topics import topics

import numpy as np
import pytest
import torch

from models.backends.losses import losses_by_token
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize

DIRECTORY = checkpoint.DEFAULT


@pytest.fixture(scope="module")
def losses() -> np.ndarray:
    """Over 24,000 tokens of documents laid end to end, read in one stream."""
    tokens = tokenize.tokens(topics.values(), Tokenizer.load(DIRECTORY))[:24_000]
    return losses_by_token(checkpoint.load(DIRECTORY), tokens, 1024)


def test_it_predicts_english_far_better_than_chance(losses):
    vocab_size = Tokenizer.load(DIRECTORY).vocab_size
    assert losses.mean() < 0.65 * np.log(vocab_size)


def test_it_is_no_worse_after_twenty_thousand_tokens_than_at_first(losses):
    assert np.isfinite(losses).all()
    assert losses[-6000:].mean() < 1.1 * losses[:2000].mean()


def test_its_weights_are_small_and_its_card_and_tokenizer_are_beside_them():
    assert (DIRECTORY / "model.safetensors").stat().st_size < 40e6
    assert {path.name for path in DIRECTORY.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "training.json",
    }


def test_reading_it_twice_gives_the_same_bits():
    model = checkpoint.load(DIRECTORY)
    tokens = torch.arange(200)
    with torch.inference_mode():
        first, _ = model.prefill(tokens, [0, 200], model.empty_state(1))
        second, _ = model.prefill(tokens, [0, 200], model.empty_state(1))
    assert torch.equal(first, second)
