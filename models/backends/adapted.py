"""Models of transformers from their files: published classes alone, safetensors alone, nothing fetched and no code run.

A class that forgets between pieces is refused before it reads a document.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from configs.errors import ModelError
from models.backends import carrying
from models.backends.forward import Forward
from models.backends.probe import probed

REMEDY = "pip install 'longhaul[transformers]'"
CHUNK_FIELDS = ("chunk_size", "mamba_chunk_size", "block_size")
CHUNK = 64
"""Of the delta rules of transformers, whose configs do not tell it."""


@dataclass(frozen=True)
class Adapted:
    """A model of a class of transformers."""

    model: nn.Module
    config: Any
    """Of the text."""
    error: float | None = None
    """Between pieces and the whole, as `carrying` measured it with these weights."""

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def chunk(self) -> int:
        """A multiple of the chunks of its scans."""
        found = [value for name in CHUNK_FIELDS if isinstance(value := getattr(self.config, name, None), int) and value]
        return math.lcm(CHUNK, *found)

    @property
    def max_context(self) -> int | None:
        """As its config states it."""
        stated = getattr(self.config, "max_position_embeddings", None)
        return stated if isinstance(stated, int) else None


class Sizes(NamedTuple):
    """What a model takes, by its config."""

    parameters: int
    state_bytes: int
    """Of a sequence, whatever its length."""
    token_bytes: int
    """Of each token of a sequence, where the weights are bfloat16."""
    vocab_size: int
    max_context: int | None


def sizes(directory: Path) -> Sizes:
    """Of a model that is not loaded. Raises ModelError where transformers has no such class, or that class forgets
    between pieces."""
    auto_config, auto_model = _auto_classes()
    config = _read(auto_config, directory).get_text_config()
    try:
        carrying.check_class(auto_model, config, "cpu")
        with torch.device("meta"):
            model = auto_model.from_config(config, dtype=torch.bfloat16, trust_remote_code=False).eval()
        measured = probed(Forward(model), torch.device("meta"))
    except (ValueError, RuntimeError, ImportError) as error:
        raise ModelError(f"{directory}: transformers cannot build it: {error}") from error
    max_context = Adapted(model, config).max_context if measured.per_token else None
    return Sizes(model.num_parameters(), measured.fixed, measured.per_token, config.vocab_size, max_context)


def load(directory: Path, dtype: torch.dtype, device: str) -> Adapted:
    """The model of a directory, in evaluation mode. Raises ModelError where transformers is not installed or has no
    such class, weights are missing or misshapen, or the class forgets between pieces."""
    auto_config, auto_model = _auto_classes()
    config = _read(auto_config, directory)
    try:
        carrying.check_class(auto_model, config.get_text_config(), device)
        model, found = auto_model.from_pretrained(
            directory,
            config=config,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `_check` names them
        )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ModelError(f"{directory}: transformers cannot load it: {error}") from error
    _check(found, directory)
    model = model.to(device).eval().requires_grad_(False)
    return Adapted(model, model.config.get_text_config(), carrying.check_weights(model, directory))


def _read(auto_config: Any, directory: Path) -> Any:
    try:
        return auto_config.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{directory}: transformers does not know its config.json: {error}") from error


def _auto_classes() -> tuple[Any, Any]:
    # Read when it is imported: kernels from the hub are code that somebody else may change.
    os.environ.setdefault("USE_HUB_KERNELS", "NO")
    try:
        from transformers import AutoConfig, AutoModelForCausalLM
        from transformers.utils import logging
    except ImportError as error:
        raise ModelError(f"model.backend = 'transformers' needs it: {REMEDY}") from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return AutoConfig, AutoModelForCausalLM


def _check(found: dict[str, Any], directory: Path) -> None:
    """Raises ModelError for what transformers would fill with random numbers."""
    for kind in ("missing_keys", "mismatched_keys"):
        if names := sorted(each if isinstance(each, str) else str(each[0]) for each in found.get(kind) or ()):
            problem = "lack" if kind == "missing_keys" else "have another shape of"
            raise ModelError(f"{directory}: the weights {problem} {names[0]} (and {len(names) - 1} more)")
