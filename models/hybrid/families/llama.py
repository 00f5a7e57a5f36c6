"""Plain transformers of attention and a gated MLP: Llama, Mistral, Qwen 2 and 3, SmolLM3 and dense Granite."""

from models.hybrid import rotary
from models.hybrid.architecture import AttentionShape, HybridConfig, MLPShape, default_scale
from models.hybrid.families.fields import Fields
from models.hybrid.families.sources import Names, Pieces

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "granite")
THETA = {"smollm3": 2_000_000.0}
"""Of rotary positions, where a config says none."""


def config(fields: Fields) -> HybridConfig:
    """Raises ValueError for a field that is not supported."""
    kind = fields.of("model_type")
    _check(fields, kind)
    d_model, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    head_dim = fields.count("head_dim", 128 if kind == "qwen3" else d_model // heads)
    attention = AttentionShape(
        num_heads=heads,
        num_kv_heads=fields.count("num_key_value_heads", heads),
        head_dim=head_dim,
        scale=fields.of("attention_multiplier", 1.0) if kind == "granite" else default_scale(head_dim),
        bias=kind == "qwen2" or fields.of("attention_bias", False),
        out_bias=kind != "qwen2" and fields.of("attention_bias", False),
        has_norms=kind == "qwen3",
    )
    mlp = MLPShape(d_hidden=fields.count("intermediate_size"), bias=fields.of("mlp_bias", False))
    layers = [
        part
        for turns in _rotary_layers(fields, kind)
        for part in (attention.model_copy(update={"is_rotary": turns}), mlp)
    ]
    return HybridConfig(
        d_model=d_model,
        vocab_size=fields.count("vocab_size"),
        tie_embeddings=fields.of("tie_word_embeddings", kind == "smollm3"),
        eps=fields.of("rms_norm_eps", 1e-6),
        layers=tuple(layers),
        rotary=rotary.of_config(fields.published, head_dim, THETA.get(kind, 10_000.0)),
        max_context=fields.count("max_position_embeddings"),
        embedding_multiplier=fields.of("embedding_multiplier", 1.0),
        residual_multiplier=fields.of("residual_multiplier", 1.0),
        logits_divisor=fields.of("logits_scaling", 1.0),
    )


def names(model: HybridConfig) -> Names:
    """What our tensors are called in published files."""
    found: dict[str, str | Pieces] = {"embedding": "model.embed_tokens", "norm": "model.norm", "lm_head": "lm_head"}
    for index, shape in enumerate(model.layers):
        ours, theirs = f"layers.{index}", f"model.layers.{index // 2}"
        if isinstance(shape, AttentionShape):
            found |= {
                f"{ours}.norm": f"{theirs}.input_layernorm",
                **attention_names(ours, f"{theirs}.self_attn", shape),
            }
        else:
            assert isinstance(shape, MLPShape)
            parts = (f"{theirs}.mlp.gate_proj", f"{theirs}.mlp.up_proj")
            found |= {
                f"{ours}.norm": f"{theirs}.post_attention_layernorm",
                f"{ours}.mixer": f"{theirs}.mlp",
                f"{ours}.mixer.up_proj": Pieces(parts, (shape.d_hidden, shape.d_hidden)),
            }
    return found


def attention_names(ours: str, theirs: str, shape: AttentionShape) -> dict[str, str | Pieces]:
    """Of a layer of attention, whose published projections to queries, keys and values are one here."""
    heads = (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads)
    parts = tuple(f"{theirs}.{name}_proj" for name in "qkv")
    rows = tuple(count * shape.head_dim for count in heads)
    return {f"{ours}.mixer": theirs, f"{ours}.mixer.qkv_proj": Pieces(parts, rows)}


def _check(fields: Fields, kind: str) -> None:
    fields.require("hidden_act", "silu")
    if fields.of("num_attention_heads") % (fields.of("num_key_value_heads") or 1):
        raise ValueError("num_key_value_heads must divide num_attention_heads")
    if kind == "mistral" or fields.of("use_sliding_window", False):
        window = fields.published.get("sliding_window", 4096)
        if window is not None and window < fields.count("max_position_embeddings"):
            raise ValueError(f"sliding_window = {window}: attention within windows is not supported")
    if set(fields.of("layer_types", ())) - {"full_attention"} and fields.of("use_sliding_window", False):
        raise ValueError(f"layer_types = {fields.of('layer_types')}: supported with 'full_attention' only")


def _rotary_layers(fields: Fields, kind: str) -> list[bool]:
    """Of each layer, whether its queries and keys turn: all of them but in SmolLM3."""
    count = fields.count("num_hidden_layers")
    if kind != "smollm3":
        return [True] * count
    interval = fields.count("no_rope_layer_interval", 4)
    given = fields.of("no_rope_layers") or [(index + 1) % interval for index in range(count)]
    if len(given) != count:
        raise ValueError(f"no_rope_layers names {len(given)} layers, num_hidden_layers says {count}")
    return [bool(each) for each in given]
