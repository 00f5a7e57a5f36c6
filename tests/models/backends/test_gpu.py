"""The plain PyTorch path gives on a GPU what it gives on the CPU. Run by `make test-gpu`."""

from itertools import accumulate

import numpy as np
import pytest
import torch

from models.backends import attention, engines, self_test
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, Request, Sampling
from models.hybrid.architecture import AttentionShape, HybridConfig
from models.hybrid.language_model import HybridLM
from models.mamba.architecture import Mamba1Config, Mamba2Config, Mamba3Config, MambaConfig
from models.mamba.language_model import MambaLM
from models.state import State
from tests import hybrid_model
from tests.small_model import VOCAB_SIZE, build

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]

LENGTHS = [7, 45, 1, 2, 33, 8, 9]


def to(state: State, device: str) -> State:
    return state.map(lambda tensor: tensor.to(device))


@torch.inference_mode()
def test_a_ragged_pack_and_a_step_equal_the_cpu():
    model, on_gpu = build(torch.float32), build(torch.float32).cuda()
    tokens = torch.arange(sum(LENGTHS)) % VOCAB_SIZE
    bounds = [0, *accumulate(LENGTHS)]
    expected, state = model.prefill(tokens, bounds, model.empty_state(len(LENGTHS)))
    actual, state_on_gpu = on_gpu.prefill(tokens.cuda(), bounds, on_gpu.empty_state(len(LENGTHS)))
    torch.testing.assert_close(actual.cpu(), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(to(state_on_gpu, "cpu")["ssm"], state["ssm"], rtol=1e-3, atol=1e-3)
    following = torch.arange(len(LENGTHS))
    expected, _ = model.decode(following, state)
    actual, _ = on_gpu.decode(following.cuda(), state_on_gpu)
    torch.testing.assert_close(actual.cpu(), expected, rtol=1e-3, atol=1e-3)


def answers(model: MambaLM | HybridLM) -> dict[str, tuple[int, ...]]:
    engine = engines.around(model, {60}, 3, 32)
    engine.warm_up()
    for length in LENGTHS:
        tokens = np.random.default_rng(length).integers(0, 60, length)
        engine.submit(Request(f"doc{length}", ArrayFeed(tokens), (Prompt((3, 1, 4), Sampling(12)),)))
    found = {}
    while engine.busy:
        found |= {str(finished.id): finished.answers[0].tokens for finished in engine.step().finished}
    return found


def test_the_engine_answers_as_on_the_cpu():
    assert answers(build(torch.float64).cuda()) == answers(build(torch.float64))


@pytest.mark.parametrize("form", ["hybrid", "transformer"])
def test_models_with_attention_answer_as_on_the_cpu(form):
    assert answers(hybrid_model.build(form, torch.float32).cuda()) == answers(hybrid_model.build(form, torch.float32))


@pytest.mark.parametrize("width", [64, 96, 128])
@pytest.mark.parametrize("heads", [(32, 8), (12, 4), (9, 3), (16, 16), (32, 1)], ids=str)
def test_attention_over_pages_agrees_at_the_head_shapes_of_published_models(heads, width):
    layer = AttentionShape(num_heads=heads[0], num_kv_heads=heads[1], head_dim=width, scale=width**-0.5)
    config = HybridConfig(d_model=64, vocab_size=64, tie_embeddings=True, eps=1e-5, layers=(layer,), max_context=None)
    model = HybridLM(config).to("cuda", torch.bfloat16)
    assert attention.difference(model, attention.ours(model)) < attention.OTHER_LIMIT / 2


@pytest.mark.parametrize(
    "mixer",
    [Mamba3Config(chunk_size=64), Mamba3Config(is_mimo=True, chunk_size=16), Mamba2Config(), Mamba1Config()],
    ids=["siso", "mimo", "mamba2", "mamba1"],
)
def test_the_kernels_agree_at_the_head_shapes_of_published_models(mixer):
    # Here, since kernels that are defined before tests/models/kernels is collected are not interpreted there.
    from models.kernels.backbone import FastPath

    config = MambaConfig(d_model=256, d_intermediate=256, n_layer=4, vocab_size=512, ssm_cfg=mixer)
    torch.manual_seed(3)
    model = MambaLM(config).initialize().to("cuda", torch.bfloat16).eval()
    assert self_test.difference(model, FastPath(model)) < self_test.OTHER_LIMIT / 3
