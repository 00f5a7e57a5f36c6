"""Published weights of transformers and hybrids, loaded strictly: put together from tensors of other names and shapes.

What their files call a tensor is what errors call it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.errors import ModelError
from models.hybrid import eight_bits
from models.hybrid.architecture import HybridConfig
from models.hybrid.families import published
from models.hybrid.families.sources import Source, sources
from models.hybrid.language_model import HybridLM
from models.weights import files

FP32_NAMES = (".dt_bias", ".A_log", ".D", ".router.weight", ".router.correction")
"""Ends of the names of what stays in fp32 in a model of bf16: a rounded step size or choice of experts costs more than
it saves."""
HEAD, EMBEDDING = "lm_head.weight", "embedding.weight"
Layout = dict[str, list[Source]]
"""Our tensors, and the published ones that each consists of."""


def config_of(directory: Path) -> dict[str, Any] | None:
    """The config.json of a directory, where it is one of these families."""
    try:
        config = json.loads((directory / "config.json").read_bytes())
    except (OSError, ValueError):
        return None  # whoever reads it as ours says what is wrong
    return config if isinstance(config, dict) and published.is_known(config) else None


def supports(theirs: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of these families, with nothing in it that they do not support."""
    try:
        return published.is_known(theirs) and bool(published.read(theirs))
    except ValueError:
        return False


def architecture(theirs: Mapping[str, Any], directory: Path) -> HybridConfig:
    """What the config says alone. Raises ModelError."""
    try:
        return published.read(theirs)
    except ValueError as error:
        raise ModelError(f"{directory / 'config.json'}: {error}") from error


def check(theirs: Mapping[str, Any], directory: Path) -> HybridConfig:
    """Config, and the names and shapes of the weights, without building a model. Raises ModelError."""
    return _read(theirs, directory)[0]


def load(
    theirs: Mapping[str, Any],
    directory: Path,
    dtype: torch.dtype,
    device: torch.device | str,
    kind: eight_bits.Kind | None = None,
) -> HybridLM:
    """The model of a directory, in evaluation mode, its weights copied to the device one at a time, the matrices of its
    layers as codes of that kind if one is given."""
    config, layout, tensors = _read(theirs, directory)
    model = empty(config, dtype, kind)
    kept: dict[str, Tensor] = {}
    for name, parts in layout.items():
        place = model.get_parameter(name)
        pieces = [tensors[part.name] for part in parts]
        if kind is not None and place.dtype == eight_bits.STORED[kind]:
            kept[name], kept[_scales(name)] = _codes(pieces, place.shape, kind, device)
        else:
            kept[name] = _together(pieces, place.shape, place.dtype, device)
    if config.tie_embeddings:
        kept[HEAD] = kept[EMBEDDING]
    model.load_state_dict(kept, strict=True, assign=True)
    if config.tie_embeddings:
        model.lm_head.weight = model.embedding.weight
    return model.eval().requires_grad_(False)


def empty(config: HybridConfig, dtype: torch.dtype, kind: eight_bits.Kind | None = None) -> HybridLM:
    """A model without memory behind its weights, of the dtypes and sizes of one that is loaded."""
    with torch.device("meta"):
        model = HybridLM(config).requires_grad_(False)
        for name, parameter in model.named_parameters():
            parameter.data = parameter.to(
                torch.promote_types(dtype, torch.float32) if name.endswith(FP32_NAMES) else dtype
            )
        if kind is not None:
            eight_bits.put_in(model, kind)
    return model


def nbytes(config: HybridConfig, dtype: torch.dtype, kind: eight_bits.Kind | None = None) -> int:
    """Of all weights of such a model once it is loaded; a tied head counts once."""
    return sum(parameter.nbytes for parameter in empty(config, dtype, kind).parameters())


def _codes(
    parts: list[Tensor], shape: torch.Size, kind: eight_bits.Kind, device: torch.device | str
) -> tuple[Tensor, Tensor]:
    """One tensor of codes from those that lie along its rows, and their scales."""
    codes = torch.empty(shape, dtype=eight_bits.STORED[kind], device=device)
    scales = torch.empty(shape[:-1], dtype=torch.float32, device=device)
    rows, of_rows, start = codes.view(-1, shape[-1]), scales.view(-1), 0
    for part in parts:
        flat = part.reshape(-1, shape[-1]).to(device)
        stop = start + len(flat)
        rows[start:stop], of_rows[start:stop] = eight_bits.codes_of(flat, kind)
        start = stop
    return codes, scales


def _scales(name: str) -> str:
    return name.removesuffix("weight") + "scales"


def _together(parts: list[Tensor], shape: torch.Size, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """One tensor from those that lie along its rows, read one at a time."""
    whole = torch.empty(shape, dtype=dtype, device=device)
    rows = whole if len(parts) == 1 else whole.view(-1, *parts[0].shape[1:])
    start = 0
    for part in parts:
        stop = start + len(part) if len(parts) > 1 else len(rows)
        rows[start:stop] = part.to(dtype)
        start = stop
    return whole


def _read(theirs: Mapping[str, Any], directory: Path) -> tuple[HybridConfig, Layout, dict[str, Tensor]]:
    """Config, layout and weights that fit each other, the weights mapped from their files and not yet read."""
    config = architecture(theirs, directory)
    tensors: dict[str, Tensor] = {}
    for file in files.of_weights(directory):
        tensors |= {name: tensor for name, tensor in files.mapped(file).items() if published.is_needed(name)}
    layout = _layout(theirs, config)
    _check(config, layout, tensors, directory)
    return config, layout, tensors


def _layout(theirs: Mapping[str, Any], config: HybridConfig) -> Layout:
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in HybridLM(config).named_parameters()}
    names = published.tensors(theirs, config)
    return {name: sources(names, name, shape) for name, shape in expected.items()}


def _check(config: HybridConfig, layout: Layout, tensors: Mapping[str, Tensor], directory: Path) -> None:
    shapes = {source.name: source.shape for parts in layout.values() for source in parts}
    if missing := sorted(shapes.keys() - tensors.keys()):
        raise ModelError(f"{directory}: the weights lack {missing[0]} (and {len(missing) - 1} more)")
    extra = sorted(tensors.keys() - shapes.keys())
    if config.tie_embeddings and HEAD in extra:
        extra.remove(HEAD)
        if not torch.equal(tensors[HEAD], tensors[layout[EMBEDDING][0].name]):
            raise ModelError(f"{directory}: {HEAD} differs from the embedding, though tie_word_embeddings = true")
    if extra:
        raise ModelError(
            f"{directory}: the weights hold {extra[0]} (and {len(extra) - 1} more), which config.json lacks"
        )
    for name, shape in shapes.items():
        tensor = tensors[name]
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            raise ModelError(f"{directory}: {name} is no tensor of floating-point numbers")
        if tuple(tensor.shape) != shape:
            raise ModelError(f"{directory}: {name} has shape {tuple(tensor.shape)}, config.json asks for {shape}")
