"""Causal attention over a ragged pack, whose keys and values a cache keeps from pass to pass.

L = tokens of a pass, T = tokens that a sequence holds, HQ = heads of queries, HKV = heads of keys and values,
D = channels of a head.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.hybrid.architecture import AttentionShape, KVShape
from models.hybrid.rotary import turned
from models.mamba.norms import RMSNorm


class Cache(Protocol):
    """What the sequences of one pass hold: their tokens, of one after the other, are the pass's."""

    @property
    def positions(self) -> Tensor:
        """(L,) int64, of the pass's tokens in their sequences, from 0."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """Take in the keys and values of the pass's tokens and attend to all that their sequences hold.

        `layer` counts attention from 0; q (L, HQ, D), k and v (L, HKV, D), turned to their positions. Returns
        (L, HQ, D): of each token, the attention to itself and all before it in its sequence.
        """


class WholeCache:
    """Keeps whole tensors of each sequence: the judge of other caches, in any dtype. A pass copies all that it holds.

    `cache.of_pass(rows, lengths)` before each pass is that pass's `Cache`.
    """

    def __init__(self, shape: KVShape, num_rows: int, device: torch.device | str = "cpu") -> None:
        empty = torch.empty((shape.num_layers, 0, shape.num_heads, shape.head_dim), dtype=shape.dtype, device=device)
        self._rows = [(empty, empty)] * num_rows

    def length(self, row: int) -> int:
        """T."""
        return self._rows[row][0].shape[1]

    def row(self, row: int) -> tuple[Tensor, Tensor]:
        """Keys and values (layers, T, HKV, D)."""
        return self._rows[row]

    def fork(self, row: int, into: int) -> None:
        """The other row then holds the same, and goes on by itself."""
        self._rows[into] = self._rows[row]

    def forget(self, row: int) -> None:
        """Empty it."""
        self._rows[row] = tuple(part[:, :0] for part in self._rows[row])  # type: ignore[assignment]

    def of_pass(self, rows: Sequence[int], lengths: Sequence[int]) -> "WholePass":
        """For the next `lengths[i]` tokens of sequence `rows[i]`."""
        return WholePass(self, rows, lengths)

    def extend(self, row: int, length: int) -> tuple[Tensor, Tensor]:
        """Room for more tokens."""
        keys, values = self._rows[row]
        room = keys.new_empty((keys.shape[0], length, *keys.shape[2:]))
        self._rows[row] = torch.cat((keys, room), dim=1), torch.cat((values, room), dim=1)
        return self._rows[row]


class WholePass:
    """A `Cache`."""

    def __init__(self, cache: WholeCache, rows: Sequence[int], lengths: Sequence[int]) -> None:
        assert len(set(rows)) == len(rows), "a pass holds at most one piece of each sequence"
        self._lengths = list(lengths)
        starts = [cache.length(row) for row in rows]
        self._held = [cache.extend(row, length) for row, length in zip(rows, lengths, strict=True)]
        device = self._held[0][0].device
        self._positions = torch.cat(
            [torch.arange(start, start + length, device=device) for start, length in zip(starts, lengths, strict=True)]
        )

    @property
    def positions(self) -> Tensor:
        """(L,)"""
        return self._positions

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """(L, HQ, D)"""
        pieces = zip(self._held, *(part.split(self._lengths) for part in (q, k, v)), strict=True)
        y = []
        for (all_keys, all_values), queries, new_keys, new_values in pieces:
            keys, values = all_keys[layer], all_values[layer]
            keys[-len(new_keys) :], values[-len(new_values) :] = new_keys, new_values
            y.append(attended(queries, keys, values, scale))
        return torch.cat(y)


def attended(q: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """The last L of T tokens attend to all before them: q (L, HQ, D), keys and values (T, HKV, D) -> (L, HQ, D)."""
    q, keys, values = (part.transpose(0, 1).unsqueeze(0) for part in (q, keys, values))
    length, held = q.shape[2], keys.shape[2]
    mask = None
    if 1 < length < held:
        mask = torch.ones((length, held), dtype=torch.bool, device=q.device).tril(held - length)
    is_causal = 1 < length == held
    y = F.scaled_dot_product_attention(q, keys, values, mask, is_causal=is_causal, scale=scale, enable_gqa=True)
    return y.squeeze(0).transpose(0, 1)


class Attention(nn.Module):
    """Projections around a cache's attention."""

    def __init__(self, d_model: int, shape: AttentionShape, eps: float, index: int) -> None:
        super().__init__()
        self.shape, self.index = shape, index
        self.splits = [shape.num_heads, shape.num_kv_heads, shape.num_kv_heads]
        self.qkv_proj = nn.Linear(d_model, sum(self.splits) * shape.head_dim, bias=shape.bias)
        self.o_proj = nn.Linear(shape.num_heads * shape.head_dim, d_model, bias=shape.out_bias)
        if shape.has_norms:
            self.q_norm, self.k_norm = RMSNorm(shape.head_dim, eps), RMSNorm(shape.head_dim, eps)

    def forward(self, u: Tensor, cache: Cache, turns: tuple[Tensor, Tensor] | None) -> Tensor:
        """u (L, d_model) -> (L, d_model); `turns` are the cosines and sines (L, 1, A) of the tokens' positions."""
        q, k, v = self.qkv_proj(u).unflatten(-1, (-1, self.shape.head_dim)).split(self.splits, dim=1)
        if self.shape.has_norms:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.shape.is_rotary:
            assert turns is not None
            q, k = turned(q, *turns), turned(k, *turns)
        return self.o_proj(cache.attend(self.index, q, k, v, self.shape.scale).flatten(-2))
