"""The two passes of a recurrent model, which kernels do as well as the model itself."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from models.state import State


class Passes(Protocol):
    """A recurrent model's passes over rows of a table, as `MambaLM` documents them."""

    def prefill_(
        self, tokens: Tensor, cu_seqlens: Sequence[int], slots: State, rows: Sequence[int], logits_at: Tensor
    ) -> Tensor:
        """Segments of a ragged pack, each from its row. Returns logits (len(logits_at), V)."""

    def decode_(self, tokens: Tensor, slots: State, rows: Sequence[int]) -> Tensor:
        """One token (S,) for each of S rows. Returns logits (S, V)."""
