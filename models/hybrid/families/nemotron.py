"""Nemotron-H and Nemotron 3: each layer one of Mamba-2, attention without positions, an MLP, or experts."""

import math
from collections.abc import Callable

from models.hybrid.architecture import (
    AttentionShape,
    ExpertsShape,
    HybridConfig,
    Layer,
    MambaShape,
    MLPShape,
    default_scale,
)
from models.hybrid.families.fields import Fields
from models.hybrid.families.llama import attention_names
from models.hybrid.families.sources import Names, Pieces

MODEL_TYPES = ("nemotron_h",)
LETTERS = {"M": "linear_attention", "E": "moe", "*": "full_attention", "-": "mlp"}
"""Of `hybrid_override_pattern`."""
ONLY = {
    **{"mlp_hidden_act": "relu2", "mamba_hidden_act": "silu"},
    **{"attention_bias": False, "mamba_proj_bias": False, "tie_word_embeddings": False},
}
"""Fields with one value that is supported."""


def config(fields: Fields) -> HybridConfig:
    """Raises ValueError for a field that is not supported."""
    for name, value in ONLY.items():
        fields.require(name, value)
    if window := fields.of("sliding_window"):
        raise ValueError(f"sliding_window = {window}: attention within windows is not supported")
    types = _types(fields)
    shapes: dict[str, Callable[[Fields], Layer]] = {
        "linear_attention": _mamba,
        "full_attention": _attention,
        "mlp": _mlp,
        "moe": _experts,
    }
    if unknown := set(types) - shapes.keys():
        raise ValueError(f"layers_block_type names {min(unknown)!r}: supported are {', '.join(shapes)}")
    made = {kind: shapes[kind](fields) for kind in sorted(set(types))}
    return HybridConfig(
        d_model=fields.count("hidden_size"),
        vocab_size=fields.count("vocab_size"),
        tie_embeddings=False,
        eps=fields.of("layer_norm_epsilon", 1e-5),
        layers=tuple(made[kind] for kind in types),
        max_context=fields.count("max_position_embeddings", 4096),
    )


def names(model: HybridConfig) -> Names:
    """What our tensors are called in published files."""
    found: dict[str, str | Pieces] = {
        **{"embedding": "backbone.embeddings", "norm": "backbone.norm_f", "lm_head": "lm_head"},
        "layers": "backbone.layers",
    }
    for index, shape in enumerate(model.layers):
        ours, theirs = f"layers.{index}", f"backbone.layers.{index}.mixer"
        if isinstance(shape, AttentionShape):
            found |= attention_names(ours, theirs, shape)
        elif isinstance(shape, ExpertsShape):
            found |= _expert_names(f"{ours}.mixer", theirs, shape, shape.d_latent or model.d_model)
    return found


def _expert_names(ours: str, theirs: str, shape: ExpertsShape, width: int) -> dict[str, str | Pieces]:
    """Of a layer of experts, each of which is published by itself."""
    found: dict[str, str | Pieces] = {
        f"{ours}.{name}": Pieces(
            tuple(f"{theirs}.experts.{expert}.{name}" for expert in range(shape.num_experts)),
            (rows,) * shape.num_experts,
        )
        for name, rows in (("up_proj", shape.expert.d_hidden), ("down_proj", width))
    }
    return found | {
        f"{ours}.router": f"{theirs}.gate",
        f"{ours}.router.correction": f"{theirs}.gate.e_score_correction_bias",
        f"{ours}.shared": f"{theirs}.shared_experts",
        f"{ours}.to_latent": f"{theirs}.fc1_latent_proj",
        f"{ours}.from_latent": f"{theirs}.fc2_latent_proj",
    }


def _types(fields: Fields) -> list[str]:
    """Of the layers, as a list or as a pattern of letters."""
    if types := fields.layer_types(("layers_block_type", "layer_types"), ()):
        return types
    pattern = fields.of("hybrid_override_pattern", "")
    if not pattern or set(pattern) - LETTERS.keys():
        raise ValueError(f"hybrid_override_pattern = {pattern!r}: one of {' '.join(LETTERS)} for each layer is needed")
    return [LETTERS[letter] for letter in pattern]


def _attention(fields: Fields) -> AttentionShape:
    heads, width = fields.count("num_attention_heads", 32), fields.count("head_dim", 128)
    return AttentionShape(
        num_heads=heads,
        num_kv_heads=fields.count("num_key_value_heads", 8),
        head_dim=width,
        scale=default_scale(width),
        is_rotary=False,
    )


def _mamba(fields: Fields) -> MambaShape:
    return MambaShape(
        num_heads=fields.count("mamba_num_heads", 128),
        headdim=fields.count("mamba_head_dim", 64),
        d_state=fields.count("ssm_state_size", 128),
        ngroups=fields.count("n_groups", 8),
        d_conv=fields.count("conv_kernel", 4),
        conv_bias=fields.of("use_conv_bias", True),
        bias=fields.of("use_bias", False),
        # As transformers reads a text; it holds the steps of single tokens nowhere, which are then not those of a text.
        dt_limit=(fields.of("time_step_min", 0.001), math.inf),
        chunk_size=fields.count("chunk_size", 128),
        eps=fields.of("layer_norm_epsilon", 1e-5),
    )


def _mlp(fields: Fields, size: str = "intermediate_size") -> MLPShape:
    return MLPShape(d_hidden=fields.count(size), is_gated=False, activation="relu2", bias=fields.of("mlp_bias", False))


def _experts(fields: Fields) -> ExpertsShape:
    return ExpertsShape(
        num_experts=fields.count("n_routed_experts", 8),
        top_k=fields.count("num_experts_per_tok", 2),
        expert=_mlp(fields, "moe_intermediate_size").model_copy(update={"bias": False}),
        shared=_mlp(fields, "moe_shared_expert_intermediate_size"),
        d_latent=fields.of("moe_latent_size"),
        latent_bias=fields.of("mlp_bias", False),
        router="sigmoid",
        num_groups=fields.count("n_group", 1),
        top_groups=fields.count("topk_group", 1),
        is_normalized=fields.of("norm_topk_prob", True),
        scaling=fields.of("routed_scaling_factor", 1.0),
    )
