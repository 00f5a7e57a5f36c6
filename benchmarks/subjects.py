"""What the programs of this folder compare: our model of 18 million parameters and transformers' Mamba-2 of its shape.

Both with random weights in fp32: how fast they are does not depend on them.
"""

import inspect
import sys
from typing import Any

import torch

from models.mamba.architecture import Mamba3Config, MambaConfig
from models.mamba.language_model import MambaLM

VOCAB_SIZE, D_MODEL, NUM_LAYERS, NUM_HEADS, HEADDIM, D_STATE = 8192, 512, 8, 16, 64, 128
PIECE_TOKENS = 1024
CACHE_ARGUMENTS = ("cache", "past_key_values", "cache_params", "state")
"""What transformers' models call the cache they go on from, the newest name first."""


def ours() -> MambaLM:
    mixer = Mamba3Config(d_state=D_STATE, headdim=HEADDIM)
    config = MambaConfig(d_model=D_MODEL, d_intermediate=0, n_layer=NUM_LAYERS, vocab_size=VOCAB_SIZE, ssm_cfg=mixer)
    torch.manual_seed(0)
    return MambaLM(config).initialize().eval()


def transformers_mamba2(chunk_size: int) -> Any:
    try:
        from transformers import Mamba2Config, Mamba2ForCausalLM
    except ImportError:
        sys.exit("this compares with transformers, which `make setup` installs")
    config = Mamba2Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=D_MODEL,
        num_hidden_layers=NUM_LAYERS,
        num_heads=NUM_HEADS,
        head_dim=HEADDIM,
        state_size=D_STATE,
        n_groups=1,
        chunk_size=chunk_size,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    return Mamba2ForCausalLM(config).eval()


def cache_argument(model: torch.nn.Module) -> str:
    """What its `forward` calls the cache: its signature says so, and a version does not.

    A model takes a name that it does not know without a word, and reads on as if nothing had come before. Raises
    TypeError where `forward` has none of `CACHE_ARGUMENTS`.
    """
    taken = inspect.signature(model.forward).parameters
    for name in CACHE_ARGUMENTS:
        if name in taken:
            return name
    raise TypeError(f"{type(model).__name__}.forward takes none of {', '.join(CACHE_ARGUMENTS)}: it cannot go on")


def read_on(model: torch.nn.Module, tokens: torch.Tensor, cache: Any = None, **options: Any) -> tuple[Any, Any]:
    """A transformers model's output for the next `tokens` (batch, length), and the cache that holds them too."""
    name = cache_argument(model)
    output = model(tokens, use_cache=True, **{name: cache}, **options)
    return output, output[name]


def transformers_version() -> str:
    import transformers

    return transformers.__version__


def num_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def projection_flops(model: MambaLM) -> int:
    """Floating-point operations a token in the projections of all layers."""
    return sum(
        2 * p.numel()
        for name, p in model.named_parameters()
        if p.ndim == 2 and ".layers." in name and "bias" not in name
    )
