"""The two passes of a recurrent model, which kernels do as well as the model itself."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.engine.backend import Work
from models.state import State


class Passes(Protocol):
    """A recurrent model's passes over rows of a table, as `MambaLM` documents them."""

    def prefill_(
        self, tokens: Tensor, cu_seqlens: Sequence[int], slots: State, rows: Sequence[int], logits_at: Tensor
    ) -> Tensor:
        """Segments of a ragged pack, each from its row; tokens and logits_at may be on the host. Returns logits
        (len(logits_at), V)."""

    def decode_(self, tokens: Tensor, slots: State, rows: Sequence[int]) -> Tensor:
        """One token (S,) for each of S rows. Returns logits (S, V)."""


def ids(work: Sequence[Work]) -> Tensor:
    """All tokens of a pass (L,) int64, where they are: those of answers on the device, others on the host."""
    # Of an array a copy, since those of a store cannot be written to, which torch warns of.
    return torch.cat(
        [
            each.tokens.long() if isinstance(each.tokens, Tensor) else torch.from_numpy(np.array(each.tokens, np.int64))
            for each in work
        ]
    )
