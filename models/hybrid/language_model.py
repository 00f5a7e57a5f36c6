"""A language model of attention, Mamba-2, MLPs and experts. Token ids in, logits out; what it carries is passed in.

L = tokens in a pass, S = sequences, Z = layers that have a recurrent state, V = vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from models.hybrid.architecture import AttentionShape, ExpertsShape, HybridConfig, KVShape, Layer, MambaShape
from models.hybrid.attention import Attention, Cache
from models.hybrid.experts import Experts
from models.hybrid.mlp import MLP
from models.hybrid.recurrence import Plain, Recurrence, Recurrences
from models.hybrid.rotary import frequencies
from models.mamba.mamba2 import Mamba2Mixer
from models.mamba.norms import RMSNorm, widened
from models.state import State

Mixer = Attention | Mamba2Mixer | MLP | Experts


@dataclass(frozen=True)
class Pass:
    """What the layers of one pass share."""

    cache: Cache
    turns: tuple[Tensor, Tensor] | None
    """Cosines and sines of the tokens' positions, where attention is rotary."""
    slots: State
    recurrence: Recurrence | None
    """None where no layer has any."""


class Branch(nn.Module):
    """A norm and a mixer, added to the residual, which is of at least fp32."""

    def __init__(self, config: HybridConfig, layer: Layer, index: int) -> None:
        """`index` counts the layers of that kind."""
        super().__init__()
        self.index, self.multiplier = index, config.residual_multiplier
        self.norm = RMSNorm(config.d_model, config.eps)
        self.mixer = _mixer(config, layer, index)

    def forward(self, residual: Tensor, work: Pass, dtype: torch.dtype) -> Tensor:
        """residual (L, d_model), in place; the mixer computes in `dtype`."""
        u = self.norm(residual).to(dtype)
        if isinstance(self.mixer, Attention):
            mixed = self.mixer(u, work.cache, work.turns)
        elif isinstance(self.mixer, Mamba2Mixer):
            assert work.recurrence is not None
            mixed = work.recurrence(self.mixer, u, work.slots.layer(self.index))
        else:
            mixed = self.mixer(u)
        return residual.add_(mixed, alpha=self.multiplier)


def _mixer(config: HybridConfig, layer: Layer, index: int) -> Mixer:
    if isinstance(layer, AttentionShape):
        return Attention(config.d_model, layer, config.eps, index)
    if isinstance(layer, MambaShape):
        return Mamba2Mixer(config.d_model, layer)
    return Experts(config.d_model, layer) if isinstance(layer, ExpertsShape) else MLP(config.d_model, layer)


class HybridLM(nn.Module):
    """`logits = model.prefill_(...)` and `decode_`, on the rows of a table of slots and in a cache of keys and values.

    Both keep no gradients. `lm_head` says the model's device and dtype.
    """

    def __init__(self, config: HybridConfig) -> None:
        super().__init__()
        self.config = config
        self.recurrences: Recurrences = Plain(config.chunk_size)
        """Of the layers of Mamba-2; a backend may put kernels in their place."""
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        seen: list[str] = []
        branches = []
        for layer in config.layers:
            branches.append(Branch(config, layer, seen.count(layer.kind)))
            seen.append(layer.kind)
        self.layers = nn.ModuleList(branches)
        self.norm = RMSNorm(config.d_model, config.eps)
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.embedding.weight

    @property
    def branches(self) -> list[Branch]:
        """The layers, by their type."""
        return list(cast("Iterable[Branch]", self.layers))

    @property
    def chunk_size(self) -> int:
        """Segments of one document that are cut at multiples of it give the same numbers as the whole, but for the
        rounding of attention."""
        return self.config.chunk_size

    @property
    def kv_shape(self) -> KVShape:
        """What attention keeps of each token."""
        return self.config.kv_shape(self.lm_head.weight.dtype)

    def empty_state(self, num_rows: int) -> State:
        """The recurrent state before the first token, on the model's device; of no tensors where no layer has one."""
        weight, num_layers = self.lm_head.weight, len(self.config.mamba_layers)
        return State.zeros(self.config.state_shapes(), num_layers, num_rows, widened(weight.dtype), weight.device)

    def prefill_(
        self,
        tokens: Tensor,
        cu_seqlens: Sequence[int],
        slots: State,
        rows: Sequence[int],
        cache: Cache,
        logits_at: Tensor,
    ) -> Tensor:
        """Read a ragged pack of segments, segment i from row `rows[i]` of `slots`, which then holds the state after it.

        tokens (L,) int64; cu_seqlens S + 1 cumulative lengths; `cache` of this pass's segments in their order.
        Returns logits (len(logits_at), V) of the named tokens of the pack.
        """
        assert cu_seqlens[-1] == len(tokens) and len(cu_seqlens) == len(rows) + 1
        recurrence = self.recurrences.prefill(cu_seqlens, rows, tokens.device) if self.config.mamba_layers else None
        return self._head(self._read(tokens, slots, cache, recurrence)[logits_at])

    def decode_(self, tokens: Tensor, slots: State, rows: Sequence[int], cache: Cache) -> Tensor:
        """One token (S,) for each of S sequences, sequence i in row `rows[i]` of `slots`. Returns logits (S, V)."""
        recurrence = self.recurrences.decode(rows, tokens.device) if self.config.mamba_layers else None
        return self._head(self._read(tokens, slots, cache, recurrence))

    def _read(self, tokens: Tensor, slots: State, cache: Cache, recurrence: Recurrence | None) -> Tensor:
        """The residual (L, d_model) after all layers."""
        dtype = self.lm_head.weight.dtype
        work = Pass(cache, self._turns(cache, dtype), slots, recurrence)
        residual = self.embedding(tokens).to(widened(dtype)) * self.config.embedding_multiplier
        for branch in self.branches:
            residual = branch(residual, work, dtype)
        return residual

    def _turns(self, cache: Cache, dtype: torch.dtype) -> tuple[Tensor, Tensor] | None:
        rotary = self.config.rotary
        if rotary is None:
            return None
        return rotary.turns(cache.positions, frequencies(rotary, cache.positions.device), dtype)

    def _head(self, residual: Tensor) -> Tensor:
        hidden = self.norm(residual).to(self.lm_head.weight.dtype)
        return self.lm_head(hidden) / self.config.logits_divisor
