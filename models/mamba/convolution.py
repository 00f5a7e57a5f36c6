"""The short causal convolution of Mamba-1 and Mamba-2, with its SiLU, continued from the last inputs of each document.

L = tokens in a pack, S = segments (documents), C = channels, W = taps.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.mamba.packing import Packing


class CausalConv(nn.Conv1d):
    """One kernel of W taps for each channel; parameters as published, the last tap for the token itself."""

    def __init__(self, channels: int, taps: int, bias: bool) -> None:
        super().__init__(channels, channels, taps, groups=channels, bias=bias)

    def read(self, x: Tensor, before: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        """x (L, C), before (S, C, W - 1) the last inputs of each document -> (L, C) and the last inputs after it.

        The inputs that went before are laid in front of each segment, so that no window reaches into a neighbor.
        """
        taps, bias = self._taps(x.dtype)
        reach = len(taps) - 1
        pieces = zip(before.mT.contiguous(), x.split(packing.lengths), strict=True)
        rows = torch.cat([part for pair in pieces for part in pair])
        size = len(rows) - reach
        mixed = torch.addcmul(bias, rows[:size], taps[0])
        for tap in range(1, len(taps)):
            mixed.addcmul_(rows[tap : tap + size], taps[tap])
        if len(before) > 1:
            tokens = torch.arange(len(x), device=x.device)
            mixed = mixed.index_select(0, tokens + reach * torch.searchsorted(packing.lasts, tokens))
        ends = packing.lasts + reach * torch.arange(1, len(before) + 1, device=x.device)
        after = rows[ends.unsqueeze(-1) + torch.arange(1 - reach, 1, device=x.device)]
        return F.silu(mixed), after.mT

    def step(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """One token x (S, C) for each document -> (S, C) and the last inputs after it."""
        taps, bias = self._taps(x.dtype)
        window = torch.cat((before, x.unsqueeze(-1)), dim=-1)
        return F.silu((window * taps.mT).sum(-1) + bias), window[..., 1:]

    def _taps(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Weights (W, C) and bias (C,)."""
        taps = self.weight.squeeze(1).to(dtype).mT.contiguous()
        return taps, taps.new_zeros(taps.shape[1]) if self.bias is None else self.bias.to(dtype)
