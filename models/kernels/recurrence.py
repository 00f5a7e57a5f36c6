"""Layers of Mamba-2 between others, by our kernels: `models.hybrid.recurrence.Recurrences`."""

from collections.abc import Sequence

import torch
from torch import Tensor

from models.hybrid.recurrence import Recurrence
from models.kernels import ssd
from models.kernels.spans import Spans
from models.kernels.tiling import Tiling, tiling_of
from models.mamba.mamba2 import Mamba2Mixer
from models.state import State
from models.transfer import on_device


class TritonRecurrences:
    """Projections are torch's, the rest is ours."""

    def __init__(self, num_heads: int, device: torch.device, tiling: Tiling | None = None) -> None:
        """Of mixers with so many heads; `tiling` is by default that of the device."""
        self._num_heads, self._tiling = num_heads, tiling or tiling_of(device)

    @staticmethod
    def why_not(mixer: Mamba2Mixer, dtype: torch.dtype) -> str | None:
        """Why such a layer of a model of that dtype has to take the plain path, or None."""
        return ssd.Widths.of(mixer).why_not(dtype)

    def prefill(self, cu_seqlens: Sequence[int], rows: Sequence[int], device: torch.device) -> Recurrence:
        """By spans, several of a long segment at once."""
        span_tokens = self._tiling.span_tokens(cu_seqlens, self._num_heads)
        spans, _ = Spans.of(cu_seqlens, rows, span_tokens).moved_with([], device)

        def scan(mixer: Mamba2Mixer, u: Tensor, layer: State) -> Tensor:
            return mixer.out_proj(ssd.scan_(mixer, mixer.in_proj(u), layer, spans, self._tiling))

        return scan

    def decode(self, rows: Sequence[int], device: torch.device) -> Recurrence:
        """One program for each head and sequence."""
        index = on_device(rows, torch.int32, device)

        def step(mixer: Mamba2Mixer, u: Tensor, layer: State) -> Tensor:
            return mixer.out_proj(ssd.step_(mixer, mixer.in_proj(u), layer, index))

        return step
