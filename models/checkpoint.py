"""Weights on disk: config.json with model.safetensors or pytorch_model.bin, loaded strictly, running no code."""

from hashlib import file_digest
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from configs.errors import ModelError
from models.architecture import MambaConfig, read_config
from models.language_model import MambaLM

SAFETENSORS, TORCH_BIN = "model.safetensors", "pytorch_model.bin"
TIED = "lm_head.weight"
FP32_NAMES = ("dt_bias", "B_bias", "C_bias", ".D")


DEFAULT = Path(__file__).parent / "default"


def resolve(uri: str) -> Path:
    """The directory of a model: `default` is the one that ships beside this file.

    Raises ModelError where there is no such directory.
    """
    directory = DEFAULT if uri == "default" else Path(uri).expanduser()
    if not directory.is_dir():
        raise ModelError(f"model.uri = {uri!r}: no such directory; give one with config.json, weights, tokenizer.json")
    return directory


def save(model: MambaLM, directory: Path) -> None:
    """Write config.json and weights in bf16; the few parameters that are fp32 in published checkpoints stay so."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().to(torch.float32 if name.endswith(FP32_NAMES) else torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if not (name == TIED and model.config.tie_embeddings)
    }
    save_file(tensors, directory / SAFETENSORS, metadata={"format": "pt"})
    (directory / "config.json").write_text(model.config.model_dump_json(indent=2) + "\n")


def load(directory: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> MambaLM:
    """The model of a directory, in evaluation mode.

    Raises ModelError naming a tensor that is missing, extra or misshapen.
    """
    config = read_config(directory / "config.json")
    tensors = _read_tensors(directory)
    _check(config, _expected(config), tensors, directory)
    if config.tie_embeddings:
        tensors[TIED] = tensors["backbone.embedding.weight"]
    kept = {
        name: tensor.to(device, torch.promote_types(dtype, torch.float32) if name.endswith(FP32_NAMES) else dtype)
        for name, tensor in tensors.items()
    }
    with torch.device("meta"):
        model = MambaLM(config)
    model.load_state_dict(kept, strict=True, assign=True)
    if config.tie_embeddings:
        model.lm_head.weight = model.backbone.embedding.weight
    return model.eval().requires_grad_(False)


def check(directory: Path) -> None:
    """Read config and the names and shapes of the weights without building a model. Raises ModelError."""
    config = read_config(directory / "config.json")
    _check(config, _expected(config), _read_tensors(directory), directory)


def fingerprint(directory: Path) -> str:
    """SHA-256 over the config and the weights file: what a result depends on."""
    with _weights_file(directory).open("rb") as weights:
        digest = file_digest(weights, "sha256")
    digest.update((directory / "config.json").read_bytes())
    return digest.hexdigest()


def _weights_file(directory: Path) -> Path:
    for name in (SAFETENSORS, TORCH_BIN):
        if (path := directory / name).exists():
            return path
    raise ModelError(f"{directory} holds neither {SAFETENSORS} nor {TORCH_BIN}")


def _read_tensors(directory: Path) -> dict[str, Tensor]:
    path = _weights_file(directory)
    try:
        if path.name == SAFETENSORS:
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as weights: {error}") from error


def _expected(config: MambaConfig) -> dict[str, Tensor]:
    """Every tensor of such a model, without memory behind it."""
    with torch.device("meta"):
        return MambaLM(config).state_dict()


def _check(config: MambaConfig, expected: dict[str, Tensor], tensors: dict[str, Tensor], directory: Path) -> None:
    optional = {TIED} if config.tie_embeddings else set()
    if missing := sorted(expected.keys() - tensors.keys() - optional):
        raise ModelError(f"{directory}: the weights lack {missing[0]} (and {len(missing) - 1} more)")
    if extra := sorted(tensors.keys() - expected.keys()):
        raise ModelError(
            f"{directory}: the weights hold {extra[0]} (and {len(extra) - 1} more), which config.json lacks"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{directory}: {name} has shape {tuple(tensor.shape)}, "
                f"config.json asks for {tuple(expected[name].shape)}"
            )
