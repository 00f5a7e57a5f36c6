"""How the layers of Mamba-2 run in a pass: in plain PyTorch, or by kernels that are put in its place.

L = tokens in a pass, S = sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from models.mamba.mamba2 import Mamba2Mixer
from models.mamba.packing import Packing
from models.state import State
from models.transfer import on_device


class Recurrence(Protocol):
    """One pass, laid out once for all layers."""

    def __call__(self, mixer: Mamba2Mixer, u: Tensor, layer: State) -> Tensor:
        """u (L, d_model) -> (L, d_model), moving the pass's rows of one layer's slots on in place."""


class Recurrences(Protocol):
    """Lays out passes."""

    def prefill(self, cu_seqlens: Sequence[int], rows: Sequence[int], device: torch.device) -> Recurrence:
        """Of a ragged pack of S + 1 cumulative lengths, segment i from row `rows[i]`."""

    def decode(self, rows: Sequence[int], device: torch.device) -> Recurrence:
        """Of one token of each of S sequences."""


@dataclass(frozen=True)
class Plain:
    """In PyTorch, each layer's rows copied out and back in."""

    chunk_size: int

    def prefill(self, cu_seqlens: Sequence[int], rows: Sequence[int], device: torch.device) -> Recurrence:
        """By chunks."""
        packing = Packing.of(cu_seqlens, self.chunk_size, device)
        return partial(_read, on_device(rows, torch.int64, device), packing)

    def decode(self, rows: Sequence[int], device: torch.device) -> Recurrence:
        """By single steps."""
        return partial(_read, on_device(rows, torch.int64, device), None)


def _read(rows: Tensor, packing: Packing | None, mixer: Mamba2Mixer, u: Tensor, layer: State) -> Tensor:
    before = layer.gather(rows, dim=0)
    mixed, after = mixer.decode(u, before) if packing is None else mixer.prefill(u, before, packing)
    layer.scatter_(rows, after, dim=0)
    return mixed
