"""The official Mamba-3 checkpoints: their config.json, their sizes, and small ones written in exactly their format."""

import json
from pathlib import Path

import torch

from models.mamba.language_model import MambaLM

FP32 = {"dt_bias", "B_bias", "C_bias", "D", "mimo_x", "mimo_z", "mimo_o"}
"""Parameters that are no bfloat16 there, by the last part of their name."""

SIZES = {
    "mamba3-siso-187m": (768, 12, 1536, 1536, 186_849_600),
    "mamba3-siso-443m": (1024, 24, 2048, 2048, 443_015_680),
    "mamba3-siso-893m": (1536, 24, 3072, 3072, 892_782_336),
    "mamba3-siso-1.5b": (2048, 24, 4096, 4096, 1_494_723_584),
    "mamba3-mimo-187m": (768, 12, 1264, 1280, 187_291_968),
    "mamba3-mimo-444m": (1024, 24, 1792, 1792, 444_195_328),
    "mamba3-mimo-894m": (1536, 24, 2800, 2816, 894_551_808),
    "mamba3-mimo-1.5b": (2048, 24, 3824, 3840, 1_497_082_880),
}
"""d_model, n_layer, d_intermediate, the MLP's width after rounding, parameters."""


def config(name: str) -> dict:
    """config.json of an official repository, as published."""
    d_model, n_layer, d_intermediate, _, _ = SIZES[name]
    is_mimo = "mimo" in name
    return {
        "d_model": d_model,
        "d_intermediate": d_intermediate,
        "n_layer": n_layer,
        "vocab_size": 128256,
        "ssm_cfg": {
            "layer": "Mamba3",
            "d_state": 128,
            "expand": 2,
            "headdim": 64,
            "ngroups": 1,
            "rope_fraction": 0.5,
            "dt_min": 0.001,
            "dt_max": 0.1,
            "dt_init_floor": 0.0001,
            "A_floor": 0.0001,
            "chunk_size": 16 if is_mimo else 64,
            "is_mimo": is_mimo,
            **({"mimo_rank": 4} if is_mimo else {}),
            "is_outproj_norm": False,
        },
        "attn_layer_idx": [],
        "attn_cfg": {},
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 16,
        "tie_embeddings": True,
    }


def write(model: MambaLM, directory: Path) -> None:
    """config.json and pytorch_model.bin of a model, as published; rounds the model's own weights as the file does."""
    directory.mkdir(parents=True, exist_ok=True)
    ours = model.config.model_dump(mode="json")
    shape = config("mamba3-mimo-1.5b" if model.config.ssm_cfg.is_mimo else "mamba3-siso-1.5b")
    published = {field: ours[field] for field in shape}
    published["ssm_cfg"] = {field: ours["ssm_cfg"][field] for field in shape["ssm_cfg"]}
    (directory / "config.json").write_text(json.dumps(published))
    weights = model.state_dict()
    with torch.no_grad():
        for name, tensor in weights.items():
            weights[name] = tensor.float() if name.rpartition(".")[2] in FP32 else tensor.bfloat16()
            tensor.copy_(weights[name])
    # One storage under two names.
    weights["lm_head.weight"] = weights["backbone.embedding.weight"]
    torch.save(weights, directory / "pytorch_model.bin")
