"""The plain PyTorch path gives on a GPU what it gives on the CPU. Run by `make test-gpu`."""

from itertools import accumulate

import numpy as np
import pytest
import torch

from models.backends import engines, self_test
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, Request, Sampling
from models.mamba.architecture import Mamba1Config, Mamba2Config, Mamba3Config, MambaConfig
from models.mamba.language_model import MambaLM
from models.state import State
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


def test_the_engine_answers_as_on_the_cpu():
    def answers(device: str) -> dict[str, tuple[int, ...]]:
        engine = engines.around(build(torch.float64).to(device), {60}, 3, 32)
        engine.warm_up()
        for length in LENGTHS:
            tokens = np.random.default_rng(length).integers(0, 60, length)
            engine.submit(Request(f"doc{length}", ArrayFeed(tokens), (Prompt((3, 1, 4), Sampling(12)),)))
        found = {}
        while engine.busy:
            found |= {str(finished.id): finished.answers[0].tokens for finished in engine.step().finished}
        return found

    assert answers("cuda") == answers("cpu")


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
