"""Files of weights: which of a directory's they are, and what tensors they hold. None of their code is run."""

import json
from pathlib import Path
from pickle import UnpicklingError
from zipfile import is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor

from configs.errors import ModelError
from models.weights.hub import SAFETENSORS, SHARDS, TORCH_BIN


def of_weights(directory: Path) -> list[Path]:
    """The files that hold the weights of a directory. Raises ModelError where there are none."""
    for name in (SAFETENSORS, TORCH_BIN):
        if (directory / name).exists():
            return [directory / name]
        if (index := directory / (name + SHARDS)).exists():
            return _shards(index)
    raise ModelError(f"{directory} holds neither {SAFETENSORS} nor {TORCH_BIN}")


def _shards(index: Path) -> list[Path]:
    """The files that an index names, which must lie beside it."""
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
        files = [index.parent / name for name in sorted(names)]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{index} is no index of weights: {error!r}") from error
    for file in files:
        if file.parent != index.parent or not file.exists():
            raise ModelError(f"{index} names {file}, which is not beside it")
    return files


def mapped(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, mapped and not yet read. Raises ModelError."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        # Only what torch saves as a zip can be mapped.
        tensors = torch.load(file, map_location="cpu", weights_only=True, mmap=is_zipfile(file))
    except UnpicklingError as error:
        raise ModelError(
            f"{file} is broken, or holds more than tensors, which only code in it could unpack: that is never run; "
            "have its weights saved as safetensors"
        ) from error
    except Exception as error:  # broken bytes make these readers raise almost anything
        raise ModelError(f"{file} cannot be read as weights: {error}") from error
    if not isinstance(tensors, dict) or not all(isinstance(name, str) for name in tensors):
        raise ModelError(f"{file} holds no tensors by name")
    return tensors
