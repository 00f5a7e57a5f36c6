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
}
"""The prefix of transformers' classes, and what differs from their base."""


@cache
def their_model(family: str) -> Any:
    """Transformers' own, in fp32."""
    import transformers

    prefix, options = FAMILIES[family]
    base = DENSE
    config = getattr(transformers, f"{prefix}Config")(**base | options)
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


def write(family: str, directory: Path) -> Path:
    """A folder of the published layout."""
    their_model(family).save_pretrained(directory)
    return directory
