"""Mamba-1, Falcon Mamba and Mamba-2 as Hugging Face lays them out, put into the published layout: fields of config.json
and names of tensors.

Fields that do not change what the model computes are left behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Fields = Mapping[str, tuple[str, Any]]
"""Theirs to ours, with the value of a config that leaves it out."""


@dataclass(frozen=True)
class Layout:
    """What the config.json of one `model_type` says."""

    layer: str
    """Ours: `ssm_cfg.layer`."""
    fields: Fields
    mixer_fields: Fields
    """Those of `ssm_cfg`."""
    supported: Mapping[str, Any]
    """Fields with one value that is supported."""


OF_STEPS: Fields = {
    "time_step_min": ("dt_min", 0.001),
    "time_step_max": ("dt_max", 0.1),
    "time_step_floor": ("dt_init_floor", 1e-4),
}
MAMBA_1 = Layout(
    layer="Mamba1",
    fields={
        "hidden_size": ("d_model", 768),
        "num_hidden_layers": ("n_layer", 32),
        "vocab_size": ("vocab_size", 50280),
        "layer_norm_epsilon": ("norm_epsilon", 1e-5),
        "residual_in_fp32": ("residual_in_fp32", True),
        "tie_word_embeddings": ("tie_embeddings", True),
    },
    mixer_fields={
        **OF_STEPS,
        "state_size": ("d_state", 16),
        "conv_kernel": ("d_conv", 4),
        "expand": ("expand", 2),
        "time_step_rank": ("dt_rank", "auto"),
        "time_step_scale": ("dt_scale", 1.0),
        "time_step_init_scheme": ("dt_init", "random"),
        "use_bias": ("bias", False),
        "use_conv_bias": ("conv_bias", True),
    },
    supported={"hidden_act": "silu", "rms_norm": True},
)
FALCON_MAMBA = Layout(
    layer="Mamba1",
    fields=MAMBA_1.fields,
    mixer_fields={**MAMBA_1.mixer_fields, "mixer_rms_eps": ("mixer_rms_eps", 1e-6)},
    supported=MAMBA_1.supported,
)
MAMBA_2 = Layout(
    layer="Mamba2",
    fields={
        "hidden_size": ("d_model", 4096),
        "num_hidden_layers": ("n_layer", 64),
        "vocab_size": ("vocab_size", 32768),
        "residual_in_fp32": ("residual_in_fp32", True),
        "tie_word_embeddings": ("tie_embeddings", False),
    },
    mixer_fields={
        **OF_STEPS,
        "state_size": ("d_state", 128),
        "conv_kernel": ("d_conv", 4),
        "expand": ("expand", 2),
        "head_dim": ("headdim", 64),
        "n_groups": ("ngroups", 8),
        "time_step_limit": ("dt_limit", (0.0, float("inf"))),
        "use_bias": ("bias", False),
        "use_conv_bias": ("conv_bias", True),
        "chunk_size": ("chunk_size", 256),
    },
    # Not `norm_before_gate`: their model does not heed it.
    supported={"hidden_act": "silu", "layer_norm_epsilon": 1e-5, "rms_norm": True},
)
LAYOUTS = {"falcon_mamba": FALCON_MAMBA, "mamba": MAMBA_1, "mamba2": MAMBA_2}
"""By `model_type`."""


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The published config.json that says the same. Raises ValueError for a model that is not supported."""
    kind = config["model_type"]
    if kind not in LAYOUTS:
        raise ValueError(f"model_type = {kind!r}: of Hugging Face's layouts only {', '.join(LAYOUTS)} are supported")
    layout = LAYOUTS[kind]
    for field, value in layout.supported.items():
        if (given := config.get(field, value)) != value:
            raise ValueError(f"{field} = {given!r}: supported with {value!r} only")
    shape, mixer = _renamed(config, layout.fields), _renamed(config, layout.mixer_fields)
    expand = _expansion(config, shape["d_model"], mixer)
    return {
        "d_intermediate": 0,
        "pad_vocab_size_multiple": 1,
        **shape,
        "ssm_cfg": {"layer": layout.layer, **mixer, "expand": expand},
    }


def tensor_name(name: str) -> str:
    """The published name of a tensor; published names stay."""
    return name.replace("backbone.embeddings.", "backbone.embedding.")


def _expansion(config: dict[str, Any], width: int, mixer: dict[str, Any]) -> Any:
    """`expand`, which must agree with what else says how wide a mixer is inside."""
    if "headdim" in mixer:
        inner, heads = mixer["expand"] * width, config.get("num_heads", 128)
        if inner != heads * mixer["headdim"]:
            raise ValueError(
                f"expand * hidden_size = {inner} is not num_heads * head_dim = {heads} * {mixer['headdim']}"
            )
        return mixer["expand"]
    # Falcon Mamba 7B says expand = 16 and is twice as wide inside: what `intermediate_size` says goes before.
    inner = config.get("intermediate_size")
    if inner is None or not isinstance(width, int) or width < 1:
        return mixer["expand"]
    if not isinstance(inner, int) or inner % width:
        raise ValueError(f"intermediate_size = {inner} is no multiple of hidden_size = {width}")
    return inner // width


def _renamed(config: dict[str, Any], fields: Fields) -> dict[str, Any]:
    return {ours: _plain(config.get(theirs, default)) for theirs, (ours, default) in fields.items()}


def _plain(value: Any) -> Any:
    """Their JSON writes infinity as an object: {"__float__": "Infinity"}."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value["__float__"]) if isinstance(value, dict) and "__float__" in value else value
