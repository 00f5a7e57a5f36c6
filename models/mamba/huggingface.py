"""Mamba-2 as Hugging Face lays it out, put into the published layout: fields of config.json and names of tensors.

Fields that do not change what the model computes are left behind.
"""

from typing import Any

NO_MAMBA1 = (
    "Mamba-1 is not supported, because its published scan cannot start from a state: "
    "ssm_cfg.layer names Mamba2 or Mamba3"
)
FIELDS = {
    "hidden_size": ("d_model", 4096),
    "num_hidden_layers": ("n_layer", 64),
    "vocab_size": ("vocab_size", 32768),
    "residual_in_fp32": ("residual_in_fp32", True),
    "tie_word_embeddings": ("tie_embeddings", False),
}
"""Theirs to ours, with the value of a config that leaves it out."""
MIXER_FIELDS = {
    "state_size": ("d_state", 128),
    "conv_kernel": ("d_conv", 4),
    "expand": ("expand", 2),
    "head_dim": ("headdim", 64),
    "n_groups": ("ngroups", 8),
    "time_step_min": ("dt_min", 0.001),
    "time_step_max": ("dt_max", 0.1),
    "time_step_floor": ("dt_init_floor", 1e-4),
    "time_step_limit": ("dt_limit", (0.0, float("inf"))),
    "use_bias": ("bias", False),
    "use_conv_bias": ("conv_bias", True),
    "chunk_size": ("chunk_size", 256),
}
"""The same for `ssm_cfg`."""
SUPPORTED = {"hidden_act": "silu", "layer_norm_epsilon": 1e-5, "rms_norm": True}
"""Fields with one value that is supported. `norm_before_gate` is not among them: their model does not heed it."""


def published(config: dict[str, Any]) -> dict[str, Any]:
    """The published config.json that says the same. Raises ValueError for a model that is not supported."""
    _check(config)
    return {
        "d_intermediate": 0,
        "pad_vocab_size_multiple": 1,
        **_renamed(config, FIELDS),
        "ssm_cfg": {"layer": "Mamba2", **_renamed(config, MIXER_FIELDS)},
    }


def tensor_name(name: str) -> str:
    """The published name of a tensor; published names stay."""
    return name.replace("backbone.embeddings.", "backbone.embedding.")


def _check(config: dict[str, Any]) -> None:
    kind = config["model_type"]
    if kind in ("mamba", "falcon_mamba"):
        raise ValueError(NO_MAMBA1)
    if kind != "mamba2":
        raise ValueError(f"model_type = {kind!r}: of Hugging Face's layouts only 'mamba2' is supported")
    for field, value in SUPPORTED.items():
        if (given := config.get(field, value)) != value:
            raise ValueError(f"{field} = {given!r}: supported with {value!r} only")
    ours = _renamed(config, FIELDS | MIXER_FIELDS)
    inner, width, heads = ours["expand"] * ours["d_model"], ours["headdim"], config.get("num_heads", 128)
    if inner != heads * width:
        raise ValueError(f"expand * hidden_size = {inner} is not num_heads * head_dim = {heads} * {width}")


def _renamed(config: dict[str, Any], fields: dict[str, tuple[str, Any]]) -> dict[str, Any]:
    return {ours: _plain(config.get(theirs, default)) for theirs, (ours, default) in fields.items()}


def _plain(value: Any) -> Any:
    """Their JSON writes infinity as an object: {"__float__": "Infinity"}."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value["__float__"]) if isinstance(value, dict) and "__float__" in value else value
