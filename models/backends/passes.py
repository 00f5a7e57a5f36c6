"""The two passes of a recurrent model, which kernels do as well as the model itself."""

from collections.abc import Callable, Sequence
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


def in_turn(
    work: Sequence[Work], prefill: Callable[[Sequence[Work]], Tensor], decode: Callable[[Sequence[Work]], Tensor]
) -> Tensor:
    """The logits of a pass: prefill in one pack, then a step of decoding, each in its own way whatever runs beside
    it."""
    num_prefill = sum(not each.is_decode for each in work)
    parts = [run(part) for run, part in ((prefill, work[:num_prefill]), (decode, work[num_prefill:])) if part]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def ids(work: Sequence[Work]) -> Tensor:
    """All tokens of a pass (L,) int64, where they are: those of answers on the device, others on the host."""
    # Of an array a copy, since those of a store cannot be written to, which torch warns of.
    return torch.cat(
        [
            each.tokens.long() if isinstance(each.tokens, Tensor) else torch.from_numpy(np.array(each.tokens, np.int64))
            for each in work
        ]
    )
