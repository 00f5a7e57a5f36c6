"""Weights on disk: config.json with safetensors or pytorch_model.bin, loaded strictly, running no code.

Published configs do not say how A comes from its logit. The official weights need the heavy tail, which is the default
here; for weights that were trained with softplus (by mamba-ssm 2.3.2.post1 or flash-linear-attention), write
`"a_activation": "softplus"` into `ssm_cfg` of their config.json.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from configs.errors import ModelError
from models.hybrid import eight_bits
from models.hybrid.architecture import HybridConfig
from models.hybrid.language_model import HybridLM
from models.mamba import huggingface
from models.mamba.architecture import MambaConfig, read_config
from models.mamba.language_model import MambaLM
from models.weights import files, hub, hybrid
from models.weights.hub import CONFIG, GENERATION, SAFETENSORS

EMBEDDING, TIED = "backbone.embedding.weight", "lm_head.weight"
FP32_NAMES = ("dt_bias", "dt_proj.bias", "B_bias", "C_bias", ".D", ".A_log", "mimo_x", "mimo_z", "mimo_o")
REMEMBERED_BYTES = 64 * 1024 * 1024
"""The fingerprint of weights from this size on is kept in the cache."""

DEFAULT = hub.DEFAULT


def resolve(uri: str, setting: str = hub.OF_A_RUN.model) -> Path:
    """The local directory of the model that a setting names, fetched if it is remote. Raises ModelError."""
    return hub.model(uri, setting)


def save(model: MambaLM, directory: Path) -> None:
    """Write config.json and weights in bf16; the few parameters that are fp32 in published checkpoints stay so."""
    save_weights(model.config, model.state_dict(), directory)


def save_weights(config: MambaConfig, tensors: Mapping[str, Tensor], directory: Path) -> None:
    """`save` for weights by their published names."""
    directory.mkdir(parents=True, exist_ok=True)
    stored = {
        name: tensor.detach().to("cpu", torch.float32 if name.endswith(FP32_NAMES) else torch.bfloat16).contiguous()
        for name, tensor in tensors.items()
        if not (name == TIED and config.tie_embeddings)
    }
    save_file(stored, directory / SAFETENSORS, metadata={"format": "pt"})
    (directory / CONFIG).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load(
    directory: Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    kind: eight_bits.Kind | None = None,
) -> MambaLM | HybridLM:
    """The model of a directory, in evaluation mode, its weights copied to the device one at a time, the matrices of its
    layers as codes of 8 bits if `kind` says so.

    Raises ModelError naming a tensor that is missing, extra or misshapen.
    """
    if published := hybrid.config_of(directory):
        return hybrid.load(published, directory, dtype, device, kind)
    check_dtype(directory, kind or "")
    config, tensors = _read(directory)
    # Copies, also where nothing changes: what is mapped goes wrong when the file is written anew.
    kept = {
        name: tensor.to(
            device, torch.promote_types(dtype, torch.float32) if name.endswith(FP32_NAMES) else dtype, copy=True
        )
        for name, tensor in tensors.items()
        if not (name == TIED and config.tie_embeddings)
    }
    if config.tie_embeddings:
        kept[TIED] = kept[EMBEDDING]
    with torch.device("meta"):
        model = MambaLM(config)
    model.load_state_dict(kept, strict=True, assign=True)
    if config.tie_embeddings:
        model.lm_head.weight = model.backbone.embedding.weight
    return model.eval().requires_grad_(False)


def is_native(directory: Path) -> bool:
    """Whether its config.json is of an architecture of ours; what is wrong with one that is, `check` says."""
    try:
        config = json.loads((directory / CONFIG).read_bytes())
    except (OSError, ValueError):
        return True
    kind = config.get("model_type") if isinstance(config, dict) else None
    return kind is None or kind in huggingface.LAYOUTS or hybrid.supports(config)


def architecture(directory: Path) -> MambaConfig | HybridConfig:
    """What config.json says, without the weights. Raises ModelError."""
    if published := hybrid.config_of(directory):
        return hybrid.architecture(published, directory)
    return read_config(directory / CONFIG)


def check(directory: Path) -> MambaConfig | HybridConfig:
    """Read config and the names and shapes of the weights without building a model. Raises ModelError."""
    if published := hybrid.config_of(directory):
        return hybrid.check(published, directory)
    return _read(directory)[0]


def check_dtype(directory: Path, name: str) -> None:
    """Raises ModelError where a model cannot have a `model.dtype`."""
    if name in eight_bits.STORED and hybrid.config_of(directory) is None:
        raise ModelError(
            f"model.dtype = {name!r}: weights of 8 bits are for models with attention that run natively, and "
            f"{directory} is none; bfloat16 runs it on a GPU"
        )


def fingerprint(directory: Path) -> str:
    """SHA-256 over the weights, the config, and where there is one, generation_config.json: what a result depends on.

    That of large weights is remembered by the files' paths, sizes and times, since every actor asks for it.
    """
    paths, config = files.of_weights(directory), (directory / CONFIG).read_bytes()
    if (generation := directory / GENERATION).exists():
        config += generation.read_bytes()
    stats = [(str(file.resolve()), file.stat()) for file in paths]
    if sum(stat.st_size for _, stat in stats) < REMEMBERED_BYTES:
        return _digest(paths, config)
    versions = [(path, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in stats]
    key = sha256(json.dumps([versions, config.decode()]).encode()).hexdigest()
    remembered = hub.cache() / "fingerprints" / key
    try:
        return remembered.read_text(encoding="utf-8")
    except OSError:
        digest = _digest(paths, config)
    with suppress(OSError):  # no cache, no memory
        hub.publish(remembered, digest)
    return digest


def _digest(paths: list[Path], config: bytes) -> str:
    digest = sha256()
    for file in paths:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    digest.update(config)
    return digest.hexdigest()


def _read(directory: Path) -> tuple[MambaConfig, dict[str, Tensor]]:
    """Config and weights that fit each other, the weights mapped from their files and not yet read."""
    config = read_config(directory / "config.json")
    tensors: dict[str, Tensor] = {}
    for file in files.of_weights(directory):
        tensors |= {huggingface.tensor_name(name): tensor for name, tensor in files.mapped(file).items()}
    _check(config, _expected(config), tensors, directory)
    return config, tensors


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
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise ModelError(f"{directory}: {name} is no tensor of floating-point numbers")
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{directory}: {name} has shape {tuple(tensor.shape)}, "
                f"config.json asks for {tuple(expected[name].shape)}"
            )
    if config.tie_embeddings and TIED in tensors and not _same(tensors[TIED], tensors[EMBEDDING]):
        raise ModelError(f"{directory}: {TIED} differs from {EMBEDDING}, though config.json says tie_embeddings = true")


def _same(left: Tensor, right: Tensor) -> bool:
    """Published files hold one storage under both names, which needs no reading."""
    return left.data_ptr() == right.data_ptr() or torch.equal(left, right)
