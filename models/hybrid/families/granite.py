"""Granite 4: layers of Mamba-2 or attention, each followed by a shared MLP, with experts beside it or without."""

import math

from models.hybrid import rotary
from models.hybrid.architecture import AttentionShape, ExpertsShape, HybridConfig, Layer, MambaShape, MLPShape
from models.hybrid.families.fields import Fields
from models.hybrid.families.llama import attention_names
from models.hybrid.families.sources import Names, Pieces

MODEL_TYPES = ("granitemoehybrid",)


def config(fields: Fields) -> HybridConfig:
    """Raises ValueError for a field that is not supported."""
    fields.require("hidden_act", "silu")
    fields.require("position_embedding_type", None, "nope", "rope")
    is_rotary = fields.of("position_embedding_type") == "rope"
    attention, mixer, second = _attention(fields, is_rotary), _mamba(fields), _second(fields)
    kinds: dict[str, Layer] = {"full_attention": attention, "linear_attention": mixer}
    count = fields.count("num_hidden_layers")
    types = fields.layer_types(("layer_types", "layers_block_type"), ["linear_attention"] * count)
    if unknown := set(types) - kinds.keys():
        raise ValueError(f"layer_types names {min(unknown)!r}: supported are {', '.join(kinds)}")
    if len(types) != count:
        raise ValueError(f"layer_types names {len(types)} layers, num_hidden_layers says {count}")
    return HybridConfig(
        d_model=fields.count("hidden_size"),
        vocab_size=fields.count("vocab_size"),
        tie_embeddings=fields.of("tie_word_embeddings", False),
        eps=fields.of("rms_norm_eps", 1e-6),
        layers=tuple(part for kind in types for part in (kinds[kind], second)),
        rotary=rotary.of_config(fields.published, attention.head_dim) if is_rotary else None,
        max_context=fields.count("max_position_embeddings", 2048),
        embedding_multiplier=fields.of("embedding_multiplier", 1.0),
        residual_multiplier=fields.of("residual_multiplier", 1.0),
        logits_divisor=fields.of("logits_scaling", 1.0),
    )


def names(model: HybridConfig) -> Names:
    """What our tensors are called in published files."""
    found: dict[str, str | Pieces] = {"embedding": "model.embed_tokens", "norm": "model.norm", "lm_head": "lm_head"}
    for index, shape in enumerate(model.layers):
        ours, theirs = f"layers.{index}", f"model.layers.{index // 2}"
        found[f"{ours}.norm"] = f"{theirs}.post_attention_layernorm" if index % 2 else f"{theirs}.input_layernorm"
        if isinstance(shape, AttentionShape):
            found |= attention_names(ours, f"{theirs}.self_attn", shape)
        elif isinstance(shape, MambaShape):
            found[f"{ours}.mixer"] = f"{theirs}.mamba"
        elif isinstance(shape, MLPShape):
            found |= _mlp_names(f"{ours}.mixer", f"{theirs}.shared_mlp")
        else:
            found |= _mlp_names(f"{ours}.mixer.shared", f"{theirs}.shared_mlp")
            experts = f"{theirs}.block_sparse_moe"
            found[f"{ours}.mixer.up_proj"] = f"{experts}.input_linear"
            found[f"{ours}.mixer.down_proj"] = f"{experts}.output_linear"
            found[f"{ours}.mixer.router"] = f"{experts}.router.layer"
    return found


def _mlp_names(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.up_proj": f"{theirs}.input_linear", f"{ours}.down_proj": f"{theirs}.output_linear"}


def _attention(fields: Fields, is_rotary: bool) -> AttentionShape:
    d_model, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    bias = fields.of("attention_bias", False)
    return AttentionShape(
        num_heads=heads,
        num_kv_heads=fields.count("num_key_value_heads", heads),
        head_dim=fields.count("head_dim", d_model // heads),
        scale=fields.of("attention_multiplier", 1.0),
        bias=bias,
        out_bias=bias,
        is_rotary=is_rotary,
    )


def _mamba(fields: Fields) -> MambaShape:
    heads, inner = fields.count("mamba_n_heads", 128), fields.of("mamba_expand", 2) * fields.count("hidden_size")
    width = fields.of("mamba_d_head", "auto")
    if width == "auto":
        width = inner // heads
    if heads * width != inner:
        raise ValueError(f"mamba_expand * hidden_size = {inner} is not mamba_n_heads * mamba_d_head = {heads * width}")
    return MambaShape(
        num_heads=heads,
        headdim=width,
        d_state=fields.count("mamba_d_state", 256),
        ngroups=fields.count("mamba_n_groups", 1),
        d_conv=fields.count("mamba_d_conv", 4),
        conv_bias=fields.of("mamba_conv_bias", True),
        bias=fields.of("mamba_proj_bias", False),
        dt_limit=fields.of("time_step_limit", (0.0, math.inf)),
        chunk_size=fields.count("mamba_chunk_size", 256),
        eps=fields.of("rms_norm_eps", 1e-6),
    )


def _second(fields: Fields) -> MLPShape | ExpertsShape:
    """Of each layer, what follows on Mamba-2 or attention."""
    shared = MLPShape(d_hidden=fields.count("shared_intermediate_size", 1024))
    if not (count := fields.count("num_local_experts", 8)):
        return shared
    return ExpertsShape(
        num_experts=count,
        top_k=fields.count("num_experts_per_tok", 2),
        expert=MLPShape(d_hidden=fields.count("intermediate_size")),
        shared=shared,
        router="softmax",
    )
