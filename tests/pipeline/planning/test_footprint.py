"""What a quote says of memory and arithmetic is what the models and the formulas of the literature say."""

import pytest
import torch

from models.mamba.architecture import MambaConfig
from models.mamba.language_model import MambaLM
from pipeline.planning.footprint import (
    SSM_OVERHEAD,
    TRANSFORMER_OVERHEAD,
    TRANSFORMERS,
    Transformer,
    transformer_like,
    vram_gb,
)
from pipeline.planning.model import footprint
from tests.small_model import build

SISO = {"layer": "Mamba3", "d_state": 128, "headdim": 64, "chunk_size": 64, "rope_fraction": 0.5}
MAMBA3_1_5B = {"d_model": 2048, "n_layer": 24, "vocab_size": 128256, "d_intermediate": 4096, "ssm_cfg": SISO}


def test_parameters_and_states_are_those_of_the_model():
    model = build(torch.float32)
    found = footprint(model.config)
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert found.state_bytes == model.empty_state(1).nbytes
    assert found.weights_bytes("bfloat16") == 2 * found.parameters


def test_the_largest_published_model_has_its_published_size():
    found = footprint(MambaConfig.model_validate(MAMBA3_1_5B))
    assert found.parameters == pytest.approx(1.5e9, rel=0.05)
    # 48.8 MiB where B and x of the last token are kept in bf16; ours are fp32.
    assert found.state_bytes / 2**20 == pytest.approx(49.3, abs=0.05)
    # 129,000 tokens a second are near 32 % of an H100's 989 TFLOP/s.
    assert found.flops_per_token * 129_000 / 989e12 == pytest.approx(0.32, abs=0.05)


def test_arithmetic_is_that_of_the_projections_and_a_little_more():
    config = MambaConfig.model_validate(MAMBA3_1_5B)
    with torch.device("meta"):
        layers = MambaLM(config).backbone.layers
    weights = sum(parameter.numel() for parameter in layers.parameters() if parameter.ndim == 2)
    assert 2 * weights < footprint(config).flops_per_token < 1.15 * 2 * weights


def test_a_cache_grows_as_the_formula_says():
    seven = Transformer("7B", 7_000_000_000, 32, 8, 128, 4096)
    assert seven.kv_cache_bytes(32_768, batch=4) / 1e9 == pytest.approx(17, abs=0.3)
    assert transformer_like(1_500_000_000).name == "Llama-3.2-1B"
    assert TRANSFORMERS[0].kv_cache_bytes(1_000_000) / 2**30 == pytest.approx(30.5, abs=0.1)
    # Twice as long is twice the weights' work and four times the attention's.
    short, long = seven.flops(1000), seven.flops(2000)
    assert long > 2 * short and long - 4 * short == -2 * 2 * 7e9 * 1000


@pytest.mark.parametrize(
    ("billions", "bytes_per_parameter", "overhead", "states_gb", "expected"),
    [
        (7, 2, SSM_OVERHEAD, 4, 19),
        (7, 1, SSM_OVERHEAD, 3.5, 11),
        (34, 2, SSM_OVERHEAD, 3, 76),
        (34, 1, SSM_OVERHEAD, 2.5, 39),
        (70, 1, SSM_OVERHEAD, 3, 78),
        (7, 2, TRANSFORMER_OVERHEAD, 0, 16),
        (34, 2, TRANSFORMER_OVERHEAD, 0, 78),
    ],
)
def test_planning_figures(billions, bytes_per_parameter, overhead, states_gb, expected):
    """Of a served model 2 to 4 GB are usually added for states."""
    assert vram_gb(billions, bytes_per_parameter, overhead, states_gb) == pytest.approx(expected, abs=0.5)
