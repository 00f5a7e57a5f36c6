"""Models and engines from the files and the settings of a run."""

from pathlib import Path
from typing import cast

import torch

from configs.errors import ModelError
from configs.settings import BackendName, SummarizeConfig
from models.backends import adapted, engines
from models.backends import device as devices
from models.backends.adapted import Adapted
from models.engine.engine import Engine
from models.hybrid import eight_bits
from models.hybrid.language_model import HybridLM
from models.mamba.language_model import MambaLM
from models.weights import checkpoint
from models.weights.endings import end_ids
from models.weights.tokenizer import Tokenizer


def of_run(config: SummarizeConfig, directory: Path, tokenizer: Tokenizer, device: str, dtype: str) -> Engine:
    """As a run has it on a type of torch device, warmed up, with the model of that directory in a dtype by the name
    that settings have for it. Raises ModelError."""
    settings = config.engine
    if device == "cpu":
        torch.set_num_threads(settings.cpus_per_actor)
    slots, step_tokens = settings.slots_on(device), settings.step_tokens_on(device)
    computed, kind = precision(dtype)
    model = loaded(directory, computed, device, config.model.backend, kind)
    ends = end_ids(directory, tokenizer)
    preamble = tokenizer.before(config.preamble)
    engine = engines.around(model, ends, slots, step_tokens, preamble, config.model.kernels, settings.kv_cache_bytes)
    engine.warm_up()
    return engine


def precision(name: str) -> tuple[torch.dtype, eight_bits.Kind | None]:
    """What a model computes in, and the kind of its matrices' codes if they have 8 bits, by the name of `model.dtype`
    on a device."""
    if name in ("int8", "float8"):
        return torch.bfloat16, cast("eight_bits.Kind", name)
    found: torch.dtype = getattr(torch, name)
    return found, None


def loaded(
    directory: Path,
    dtype: torch.dtype,
    device: str,
    backend: BackendName = "auto",
    kind: eight_bits.Kind | None = None,
) -> MambaLM | HybridLM | Adapted:
    """The model of that directory on a device, its matrices of 8 bits if `kind` says so.

    Raises ModelError where it cannot run there, or does not fit.
    """
    if device != "cpu":
        devices.check(dtype)
    try:
        if is_native(directory, backend):
            return checkpoint.load(directory, dtype, device, kind)
        checkpoint.check_dtype(directory, kind or "")
        return adapted.load(directory, dtype, device)
    except torch.OutOfMemoryError as error:
        free, total = torch.cuda.mem_get_info()
        raise ModelError(
            f"{devices.gpu_name()} has {total / 2**30:.1f} GiB, which the weights of {directory} do not fit into "
            f"({free / 2**30:.1f} are free): python -m jobs.sizing MODEL says which GPUs hold it"
        ) from error


def is_native(directory: Path, backend: BackendName) -> bool:
    """Whether the model of that directory is run by ourselves."""
    return backend == "native" or (backend == "auto" and checkpoint.is_native(directory))


def recurrent(directory: Path, dtype: torch.dtype, device: str) -> MambaLM:
    """`loaded` for what knows a model by its recurrent state alone. Raises ModelError too where it has attention."""
    model = loaded(directory, dtype, device, "native")
    if not isinstance(model, MambaLM):
        raise ModelError(f"{directory}: has attention, and this works with models of a recurrent state alone")
    return model
