"""Tiny models of transformers' classes with weights that show what is forgotten, as `save_pretrained` writes them."""

from pathlib import Path
from typing import Any

import torch

from models.backends import carrying

SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
DELTA = {
    "head_dim": 16,
    "num_hidden_layers": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
MAMBA = {"mamba_d_state": 16, "mamba_n_groups": 1, "mamba_n_heads": 4, "mamba_d_head": 32, "mamba_chunk_size": 16}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
MROPE = {
    "rope_type": "default",
    "rope_theta": 1e7,
    "partial_rotary_factor": 0.25,
    "mrope_section": [1, 1, 0],
    "mrope_interleaved": True,
}

CARRYING: dict[str, dict[str, Any]] = {
    "falcon_h1": {"num_hidden_layers": 2, "mamba_d_ssm": 128, "mamba_rms_norm": False, **MAMBA},
    "qwen3_5_text": {**DELTA, "rope_parameters": MROPE},
    "qwen3_next": {**DELTA, **EXPERTS, "shared_expert_intermediate_size": 32},
    "olmo_hybrid": DELTA,
    "lfm2": {"num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"]},
    "lfm3": {"num_hidden_layers": 4, "sliding_window": 24},
    "minimax": {
        "num_hidden_layers": 2,
        "head_dim": 16,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "block_size": 16,
        "layer_types": ["full_attention", "linear_attention"],
    },
    "zamba2": {
        "num_hidden_layers": 4,
        "layers_block_type": ["mamba", "mamba", "hybrid", "mamba"],
        "mamba_d_state": 16,
        "mamba_ngroups": 1,
        "n_mamba_heads": 4,
        "mamba_headdim": 32,
        "chunk_size": 16,
        "num_mem_blocks": 1,
    },
    "kimi_linear": {
        "num_hidden_layers": 3,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
        "num_key_value_heads": 4,
        "linear_head_dim": 16,
        "linear_num_heads": 4,
        "kv_lora_rank": 16,
        "q_lora_rank": None,
        "qk_nope_head_dim": 16,
        "qk_rope_head_dim": 8,
        "v_head_dim": 16,
        **EXPERTS,
    },
    "gemma3_text": {"num_hidden_layers": 6, "head_dim": 16, "sliding_window": 24},
    "gpt_oss": {
        "num_hidden_layers": 2,
        "head_dim": 16,
        "sliding_window": 24,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
    "bamba": {"num_hidden_layers": 3, "attn_layer_indices": [1], **MAMBA},
    "mamba2": {
        "num_hidden_layers": 2,
        "state_size": 16,
        "num_heads": 4,
        "head_dim": 32,
        "n_groups": 1,
        "chunk_size": 16,
    },
}
"""Classes that carry their state between pieces."""
FORGETTING: dict[str, dict[str, Any]] = {
    # As published: its first layer is none of attention, and where a piece begins is asked of that.
    "minimax-published": CARRYING["minimax"] | {"layer_types": ["linear_attention", "full_attention"]},
    "mamba": {"num_hidden_layers": 2, "state_size": 8, "time_step_rank": 4},
    "falcon_mamba": {"num_hidden_layers": 2, "state_size": 8, "time_step_rank": 4},
    "jamba": {
        "num_hidden_layers": 4,
        "attn_layer_period": 4,
        "attn_layer_offset": 1,
        "num_experts": 2,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 8,
        "use_mamba_kernels": False,
    },
    "recurrent_gemma": {"num_hidden_layers": 3, "lru_width": 64, "attention_window_size": 32},
}
"""Classes that do not."""


def config(kind: str, **changes: Any) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(kind.partition("-")[0], **SIZES | (CARRYING | FORGETTING)[kind] | changes)


def build(kind: str, **changes: Any) -> Any:
    """With some of its config changed."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(config(kind, **changes), dtype=torch.float32).eval().requires_grad_(False)
    carrying.redraw(model)
    return model


def save(kind: str, directory: Path) -> Path:
    """In the published layout."""
    build(kind).save_pretrained(directory)
    return directory
