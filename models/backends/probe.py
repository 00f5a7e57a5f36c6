"""What a sequence of a transformers model takes, found by reading two of a few tokens."""

from typing import Any, NamedTuple

import torch

from models.backends import caches
from models.backends.forward import Forward

TOKENS = 16, 48
"""Of the two, whose difference tells what a token takes."""


class Probed(NamedTuple):
    """A cache of a few tokens, and bytes."""

    cache: Any
    fixed: int
    """Of a sequence, whatever its length; of what looks back through a window, its whole."""
    per_token: int


def probed(forward: Forward, device: torch.device) -> Probed:
    """On `meta` too, where nothing is computed."""
    made = [forward(torch.zeros(count, dtype=torch.long, device=device))[1] for count in TOKENS]
    small, large = (caches.nbytes(cache) for cache in made)
    count, more = TOKENS
    per_token = {name: (large[name] - small[name]) // (more - count) for name in small}
    windows = caches.window_tokens(made[0])
    fixed = sum(small[name] - per_token[name] * count for name in small)
    fixed += sum(per_token[name] * windows[name] for name in windows)
    return Probed(made[0], fixed, sum(each for name, each in per_token.items() if name not in windows))
