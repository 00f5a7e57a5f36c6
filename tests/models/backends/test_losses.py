import numpy as np
import torch

from models.backends.losses import losses_by_token
from tests.small_model import VOCAB_SIZE, build


def test_forgetting_every_so_often_is_reading_each_part_alone():
    tokens = np.random.default_rng(2).integers(0, VOCAB_SIZE, 65).astype(np.int32)
    model = build(torch.float64)
    forgetful = losses_by_token(model, tokens, 16, forget_every=32)
    parts = [losses_by_token(model, tokens[start : start + 33], 16) for start in (0, 32)]
    assert np.allclose(forgetful, np.concatenate(parts))


def test_losses_are_those_of_the_whole_document_however_it_is_cut():
    tokens = np.random.default_rng(3).integers(0, VOCAB_SIZE, 50).astype(np.int32)
    model = build(torch.float64)
    ids = torch.from_numpy(tokens.astype(np.int64))
    with torch.no_grad():
        logits, _ = model.prefill(ids[:-1], [0, 49], model.empty_state(1), torch.arange(49))
    expected = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
    assert np.allclose(losses_by_token(model, tokens, 16), expected, rtol=1e-5)
