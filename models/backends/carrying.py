"""Whether a model of transformers carries its state from piece to piece, measured before it reads a document.

What forgets gives plausible text and raises nothing. So each class is tried with weights that show it (those of a new
model hide it), and each checkpoint with its own: pieces of several lengths, single tokens among them, beside another
sequence, against the whole at once.
"""

import copy
from pathlib import Path
from typing import Any

import structlog
import torch
from torch import Tensor, nn

from configs.errors import ModelError
from models.backends.forward import Forward

log = structlog.get_logger()

PIECES = (16, 13, 1, 20, 1, 1, 12)
LIMIT = 1e-3
"""Largest difference over the largest logit in fp32: what carries stays within 1e-4, what forgets exceeds 5e-3."""
ROUNDED_LIMIT, ROUNDED_PIECES = 0.1, (256, 256, 256)
"""In 16 bits, where other pieces are other roundings too; of whole chunks."""
VOCABULARY, FEW_EXPERTS, MOST_PARAMETERS = 512, 16, 2 * 10**9
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
LATER = "its own weights are tried when they are loaded"
GAIN = 1.2
"""Of a matrix that is drawn: what is read must matter."""
RECURRENT = (("A_log", -3.0, 1.0), ("dt_bias", -4.0, -1.0))
"""Parameters from which decay and step size come, with bounds that make a long memory."""


def check_class(auto_model: Any, config: Any, device: str) -> None:
    """Raises ModelError where a small model of a config's class, with weights drawn for it, forgets."""
    small = _small(auto_model, config)
    if small is None:
        log.warning("class_not_tried", model_type=config.model_type, remedy=LATER)
        return
    with torch.random.fork_rng(devices=[]), torch.device(device):
        model = _made(auto_model, small).eval().requires_grad_(False)
    redraw(model)
    try:
        error = difference(Forward(model), PIECES, config.model_type)
    except ModelError:
        raise
    except Exception as problem:  # a small one of this class may be none
        log.warning("class_not_tried", model_type=config.model_type, reason=str(problem), remedy=LATER)
        return
    if not error <= LIMIT:
        raise _forgets(config.model_type, error, LIMIT)


def check_weights(model: nn.Module, directory: Path) -> float:
    """How far pieces are from the whole with the weights of a checkpoint. Raises ModelError where that is more than
    rounding, or its forward fails."""
    is_exact = next(model.parameters()).dtype in (torch.float32, torch.float64)
    limit, pieces = (LIMIT, PIECES) if is_exact else (ROUNDED_LIMIT, ROUNDED_PIECES)
    try:
        error = difference(Forward(model), pieces, str(directory))
    except (ModelError, torch.OutOfMemoryError):
        raise
    except Exception as problem:  # whatever it is, it would be the same with a document
        raise ModelError(f"{directory}: its forward in transformers fails: {problem}") from problem
    if not error <= limit:
        raise _forgets(str(directory), error, limit)
    return round(error, 6)


def difference(forward: Forward, pieces: tuple[int, ...], name: str) -> float:
    """Largest difference of the logits of pieces from those of the whole, over the largest logit. Raises ModelError
    where the model, by that name, gives no cache."""
    ids, other = (_tokens(sum(pieces), seed, forward.model) for seed in (0, 1))
    whole, cache = forward(ids, last_only=False)
    if cache is None:
        raise ModelError(
            f"{name}: its forward in transformers gives no cache ({type(forward.model).__name__}): the state stays "
            "within the model, where no second document can have its own"
        )
    parts, cache, beside, start = [], None, None, 0
    for length in pieces:
        piece = slice(start, start + length)
        logits, cache = forward(ids[piece], cache, start, last_only=False)
        _, beside = forward(other[piece], beside, start)
        parts.append(logits)
        start += length
    return ((torch.cat(parts).double() - whole.double()).abs().max() / whole.double().abs().max()).item()


def _forgets(name: str, error: float, limit: float) -> ModelError:
    return ModelError(
        f"{name}: its forward in transformers forgets what it read between two pieces of a document: logits of pieces "
        f"differ from those of the whole by {error:.2g} of their scale (rounding stays below {limit:g})"
    )


def _small(auto_model: Any, config: Any) -> Any:
    """A config of that class with few layers, of every kind that it has, and few experts; None where that cannot be
    told, and a model of its own size is too large for a try."""
    whole = copy.deepcopy(config)
    whole.vocab_size, whole.pad_token_id = min(config.vocab_size, VOCABULARY), 0
    small = _with_layers(copy.deepcopy(whole), min(config.num_hidden_layers, _num_layers(config)))
    for name in EXPERTS:
        if isinstance(count := getattr(small, name, None), int) and count > FEW_EXPERTS:
            setattr(small, name, FEW_EXPERTS)
    for tried in (small, whole):
        try:
            with torch.device("meta"):
                if _made(auto_model, tried).num_parameters() <= MOST_PARAMETERS:  # type: ignore[operator]
                    return tried
        except Exception:  # each class has rules of its own about its layers
            continue
    return None


def _made(auto_model: Any, config: Any) -> nn.Module:
    model: nn.Module = auto_model.from_config(config, dtype=torch.float32, trust_remote_code=False)
    return model


def _num_layers(config: Any) -> int:
    """Of the shortest beginning that has all kinds of layers."""
    kinds = getattr(config, "layer_types", None) or getattr(config, "layers_block_type", None) or ["same"]
    first = [kinds.index(kind) + 1 for kind in set(kinds)]
    return max(2, *first)


def _with_layers(config: Any, count: int) -> Any:
    total = config.num_hidden_layers
    for name, value in list(vars(config).items()):
        if isinstance(value, list | tuple) and len(value) == total:
            setattr(config, name, value[:count])
    config.num_hidden_layers = count
    return config


@torch.no_grad()
def redraw(model: nn.Module) -> None:
    """Draw weights anew, so that what is read matters and is long remembered: the same ones each time."""
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        bounds = next((bounds for end, *bounds in RECURRENT if name.endswith(end)), None)
        if bounds is not None:
            drawn = torch.rand(parameter.shape, generator=generator) * (bounds[1] - bounds[0]) + bounds[0]
        elif parameter.ndim > 1:
            scale = 0.5 if "embed" in name else GAIN / parameter.shape[-1] ** 0.5
            drawn = torch.randn(parameter.shape, generator=generator) * scale
        else:
            continue
        parameter.copy_(drawn)


def _tokens(count: int, seed: int, model: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    weight = next(model.parameters())
    vocabulary = int(model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
    return torch.randint(1, vocabulary, (count,), generator=generator).to(weight.device)
