"""All chunks at once give what chunk after chunk gives, of ragged packs from any state: outputs, states, gradients."""

import pytest
import torch

from models.mamba.language_model import MambaLM
from models.mamba.trainer import scan_at_once
from models.state import State
from tests.small_model import VOCAB_SIZE, build

VARIANTS = {
    "siso": {},
    "mimo": {"is_mimo": True, "mimo_rank": 4, "chunk_size": 4},
    "mimo_outproj_norm_two_groups": {"is_mimo": True, "mimo_rank": 2, "is_outproj_norm": True, "ngroups": 2},
    "full_rotation": {"rope_fraction": 1.0},
    "mamba2": {"layer": "Mamba2", "ngroups": 1},
    "mamba2_two_groups": {"layer": "Mamba2", "ngroups": 2},
}


def read(model: MambaLM, lengths: list[int], entering: State) -> tuple[torch.Tensor, State, list[torch.Tensor]]:
    """Logits and states after a pack, and the gradients of the weights and of the entering states."""
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(VOCAB_SIZE, (sum(lengths),), generator=generator)
    bounds = torch.tensor([0, *lengths]).cumsum(0).tolist()
    states = [tensor.clone().requires_grad_() for tensor in entering.tensors.values()]
    state = State(dict(zip(entering.tensors, states, strict=True)))
    logits, after = model.prefill(tokens, bounds, state, torch.arange(len(tokens)))
    total = sum(tensor.square().sum() for tensor in (logits, *(after[name] for name in after if name != "angle")))
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return logits, after, list(torch.autograd.grad(total, [*learned, *states], allow_unused=True))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("lengths", [[64], [8, 8], [1], [45, 1, 8, 17, 30]], ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-3)], ids=["fp64", "fp32"])
def test_it_is_the_same_as_chunk_after_chunk(variant, lengths, dtype, tolerance):
    models = [build(dtype, **VARIANTS[variant]).requires_grad_(True) for _ in range(2)]
    # From states that have read something, each another number of tokens.
    begun = [3 + 5 * row for row in range(len(lengths))]
    with torch.no_grad():
        tokens = torch.arange(sum(begun)) % VOCAB_SIZE
        _, entering = models[0].prefill(
            tokens, torch.tensor([0, *begun]).cumsum(0).tolist(), models[0].empty_state(len(begun))
        )
    scan_at_once(models[1])
    plain, fast = (read(model, lengths, entering) for model in models)
    assert_close(fast[0], plain[0], tolerance)
    for name in plain[1]:
        if name != "angle":
            assert_close(fast[1][name], plain[1][name], tolerance)
    if "angle" in plain[1]:
        assert torch.sin((fast[1]["angle"] - plain[1]["angle"]) / 2).abs().max() < tolerance
    assert len(plain[2]) == len(fast[2])
    for expected, found in zip(plain[2], fast[2], strict=True):
        assert (expected is None) == (found is None)
        if expected is not None:
            assert_close(found, expected, tolerance)


def assert_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Relative to the largest number."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1e-6)
