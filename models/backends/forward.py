"""One sequence through a model of transformers, whatever its forward calls things."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

CACHE_NAMES = ("cache", "past_key_values", "cache_params", "state")
"""What forwards call the cache, the newest name first. A wrong one raises nothing and forgets the document."""


class Forward:
    """A model's next tokens, from the cache of those before."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        known = inspect.signature(model.forward).parameters
        self.cache_name = next((name for name in CACHE_NAMES if name in known), None)
        self._takes = {name for name in ("position_ids", "logits_to_keep") if name in known}

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, cache: Any = None, start: int = 0, last_only: bool = True) -> tuple[Tensor, Any]:
        """tokens (L,) that follow `start` others, which `cache` holds. Returns logits (L, V), or (1, V) of the last
        alone, and the cache with them; None where the model gives none."""
        given: dict[str, Any] = {"input_ids": tokens[None], "use_cache": True}
        if cache is not None and self.cache_name is not None:
            given[self.cache_name] = cache
        if "position_ids" in self._takes:
            # Some number them from 0 in every piece unless they are told.
            given["position_ids"] = torch.arange(start, start + len(tokens), device=tokens.device)[None]
        if "logits_to_keep" in self._takes and last_only:
            given["logits_to_keep"] = 1
        output = self.model(**given)
        logits = output.logits[0]
        return logits[-1:] if last_only else logits, output.get(self.cache_name) if self.cache_name else None
