"""Configs as published have the sizes that their cards name, whichever way they spell their layers."""

import pytest
import torch

from models.hybrid.families import published
from models.hybrid.language_model import HybridLM

MIB = 2**20
GRANITE_350M = {
    **{"model_type": "granitemoehybrid", "hidden_size": 768, "num_hidden_layers": 32, "vocab_size": 100352},
    **{"num_attention_heads": 12, "num_key_value_heads": 4, "tie_word_embeddings": True, "rms_norm_eps": 1e-5},
    **{"mamba_n_heads": 48, "mamba_d_head": 32, "mamba_d_state": 128, "mamba_n_groups": 1, "mamba_expand": 2},
    **{"num_local_experts": 0, "shared_intermediate_size": 2048, "intermediate_size": 2048},
    **{"position_embedding_type": "nope", "max_position_embeddings": 32768, "attention_multiplier": 0.015625},
    "layer_types": ["attention" if index in (10, 13, 17, 27) else "mamba" for index in range(32)],
}
NEMOTRON_NANO = {
    **{"model_type": "nemotron_h", "hidden_size": 2688, "num_hidden_layers": 52, "vocab_size": 131072},
    "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
    **{"num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 262144},
    **{"mamba_num_heads": 64, "mamba_head_dim": 64, "ssm_state_size": 128, "n_groups": 8, "chunk_size": 128},
    **{"n_routed_experts": 128, "num_experts_per_tok": 6, "moe_intermediate_size": 1856, "expand": 2},
    **{"moe_shared_expert_intermediate_size": 3712, "n_group": 1, "topk_group": 1, "routed_scaling_factor": 2.5},
    **{"mlp_hidden_act": "relu2", "time_step_limit": [0.0, {"__float__": "Infinity"}], "tie_word_embeddings": False},
}


def size(config) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in HybridLM(config).parameters())


def test_granite_350m():
    config = published.read(GRANITE_350M)
    assert size(config) == pytest.approx(350e6, rel=0.05)
    assert (len(config.attention_layers), len(config.mamba_layers), config.max_context) == (4, 28, 32768)
    assert config.kv_shape(torch.bfloat16).nbytes_per_token == 4096
    assert config.chunk_size == 64


def test_nemotron_nano():
    config = published.read(NEMOTRON_NANO)
    assert size(config) == pytest.approx(31.6e9, rel=0.01)
    assert config.kv_shape(torch.bfloat16).nbytes_per_token == 6 * 1024
    with torch.device("meta"):
        state = HybridLM(config).empty_state(1)
    assert state["ssm"].nbytes == 23 * 2 * MIB
    assert config.rotary is None


@pytest.mark.parametrize("name", ["layer_types", "layers_block_type"])
@pytest.mark.parametrize("spelled", [("mamba", "attention"), ("linear_attention", "full_attention")])
def test_all_spellings_of_layers_say_the_same(name, spelled):
    granite, nemotron = dict(GRANITE_350M), dict(NEMOTRON_NANO)
    kinds = [spelled[index in (10, 13, 17, 27)] for index in range(32)]
    del granite["layer_types"]
    assert published.read(granite | {name: kinds}) == published.read(GRANITE_350M)
    letters = {"M": spelled[0], "*": spelled[1], "E": "moe", "-": "mlp"}
    kinds = [letters[letter] for letter in nemotron.pop("hybrid_override_pattern")]
    assert published.read(nemotron | {name: kinds}) == published.read(NEMOTRON_NANO)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (GRANITE_350M | {"layer_types": ["mamba"] * 31 + ["rwkv"]}, "layer_types names 'rwkv'"),
        (GRANITE_350M | {"layer_types": ["mamba"] * 31}, "names 31 layers, num_hidden_layers says 32"),
        (GRANITE_350M | {"position_embedding_type": "alibi"}, "position_embedding_type = 'alibi'"),
        (GRANITE_350M | {"mamba_d_head": 64}, "mamba_expand \\* hidden_size = 1536 is not"),
        (NEMOTRON_NANO | {"hybrid_override_pattern": "MEX"}, "hybrid_override_pattern = 'MEX'"),
        (NEMOTRON_NANO | {"mlp_hidden_act": "silu"}, "mlp_hidden_act = 'silu': supported with 'relu2' only"),
        (NEMOTRON_NANO | {"tie_word_embeddings": True}, "tie_word_embeddings = True"),
        (NEMOTRON_NANO | {"sliding_window": 512}, "sliding_window = 512"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(config, says):
    with pytest.raises(ValueError, match=says):
        published.read(config)
