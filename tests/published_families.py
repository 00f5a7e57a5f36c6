"""Tiny checkpoints of the families that we run natively, as transformers writes them, every weight redrawn.

Small initial weights hide faults: attention that sees nothing and states that are forgotten change logits little.
"""

from functools import cache
from pathlib import Path
from typing import Any

import torch

VOCAB_SIZE = 61
DENSE = {
    **{"vocab_size": VOCAB_SIZE, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
LLAMA3 = {
    **{"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
GRANITE = {"embedding_multiplier": 12.0, "logits_scaling": 3.0, "residual_multiplier": 0.22}
HYBRID = {
    **{"mamba_n_heads": 4, "mamba_d_head": 24, "mamba_d_state": 16, "mamba_n_groups": 1, "mamba_chunk_size": 16},
    **{"num_hidden_layers": 4, "layer_types": ["mamba", "mamba", "attention", "mamba"]},
    **{"num_local_experts": 0, "num_experts_per_tok": 0, "intermediate_size": 40, "shared_intermediate_size": 80},
    **{"attention_multiplier": 0.0625, "tie_word_embeddings": True, "position_embedding_type": "nope"},
}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, "mamba_n_groups": 2}
NEMOTRON = {
    **{"hybrid_override_pattern": "MEM*-M", "head_dim": 16, "mamba_num_heads": 4, "mamba_head_dim": 32},
    **{"ssm_state_size": 16, "n_groups": 2, "chunk_size": 16, "n_routed_experts": 8, "num_experts_per_tok": 3},
    **{"moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 64, "routed_scaling_factor": 2.5},
}
GROUPED = {"n_group": 4, "topk_group": 2, "norm_topk_prob": False, "moe_latent_size": 24, "mlp_bias": True}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama_tied_with_biases": ("Llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "llama_wide_heads": ("Llama", {"head_dim": 20, "num_key_value_heads": 4}),
    "llama3_positions": ("Llama", {"rope_parameters": LLAMA3}),
    "linear_positions": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}}),
    "yarn_positions": ("Qwen2", {"rope_parameters": YARN}),
    "mistral": ("Mistral", {"sliding_window": None, "num_key_value_heads": 1}),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {"head_dim": 16}),
    "smollm3": ("SmolLM3", {"no_rope_layer_interval": 2}),
    "granite": ("Granite", GRANITE | {"attention_multiplier": 0.0625, "tie_word_embeddings": True}),
    "granite_h": ("GraniteMoeHybrid", GRANITE | HYBRID),
    "granite_h_experts": ("GraniteMoeHybrid", GRANITE | HYBRID | EXPERTS),
    "granite_h_no_mamba": (
        "GraniteMoeHybrid",
        GRANITE | HYBRID | {"layer_types": ["attention"] * 4, "position_embedding_type": "rope"},
    ),
    "granite_h_no_attention": ("GraniteMoeHybrid", HYBRID | {"layer_types": ["mamba"] * 4, "mamba_proj_bias": True}),
    "nemotron_h": ("NemotronH", NEMOTRON),
    "nemotron_h_groups": ("NemotronH", NEMOTRON | GROUPED | {"use_bias": True, "use_conv_bias": False}),
}
"""The prefix of transformers' classes, and what differs from their base."""


@cache
def their_model(family: str) -> Any:
    """Transformers' own, in fp32."""
    return made(family)


def made(family: str, **changes: Any) -> Any:
    """With some of its config changed."""
    import transformers

    prefix, options = FAMILIES[family]
    base = {name: value for name, value in DENSE.items() if prefix != "NemotronH" or name != "num_hidden_layers"}
    config = getattr(transformers, f"{prefix}Config")(**base | options | changes)
    torch.manual_seed(len(family))
    model = getattr(transformers, f"{prefix}ForCausalLM")(config).eval().requires_grad_(False)
    redraw(model)
    return model


@torch.no_grad()
def redraw(model: torch.nn.Module) -> None:
    """Weights so large that nothing can be left out unseen."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=0.5 if "embed" in name else 0.15)
        else:
            parameter.add_(0.2 * torch.randn_like(parameter))
    for name, buffer in model.named_buffers():
        if name.endswith("correction_bias"):
            buffer.normal_(std=0.2)


def write(family: str, directory: Path) -> Path:
    """A folder of the published layout."""
    their_model(family).save_pretrained(directory)
    return directory
