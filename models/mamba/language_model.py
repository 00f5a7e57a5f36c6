"""A Mamba language model: embedding, blocks of a mixer and an MLP, head. State in, state out; token ids only.

Parameters are named and laid out as state-spaces/mamba publishes them.

L = tokens in a pack, S = segments (documents), Z = layers, V = padded vocabulary.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.mamba import mamba1, mamba2, mamba3
from models.mamba.architecture import MambaConfig
from models.mamba.norms import RMSNorm, widened
from models.mamba.packing import Packing
from models.state import State
from models.transfer import moved, on_device

Mixer = mamba1.Mamba1Mixer | mamba2.Mamba2Mixer | mamba3.Mamba3Mixer
MIXERS: dict[str, Callable[[int, Any], Mixer]] = {
    "Mamba1": mamba1.Mamba1Mixer,
    "Mamba2": mamba2.Mamba2Mixer,
    "Mamba3": mamba3.Mamba3Mixer,
}
"""By `ssm_cfg.layer`."""


class SwiGLU(nn.Module):
    """The gated MLP of a block, without biases."""

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d_model, 2 * d_hidden, bias=False)
        self.fc2 = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        """u (L, d_model) -> (L, d_model)."""
        y, gate = self.fc1(u).chunk(2, dim=-1)
        return self.fc2(y * F.silu(gate))


class Block(nn.Module):
    """Pre-norm mixer, then pre-norm MLP, on a residual of at least fp32."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.d_model, config.norm_epsilon)
        self.mixer: Mixer = MIXERS[config.ssm_cfg.layer](config.d_model, config.ssm_cfg)
        if config.d_mlp:
            self.norm2 = RMSNorm(config.d_model, config.norm_epsilon)
            self.mlp = SwiGLU(config.d_model, config.d_mlp)

    def forward(self, residual: Tensor, state: State, packing: Packing | None) -> tuple[Tensor, State]:
        """residual (L, d_model); `packing` None means one token a document."""
        u = self._normed(residual)
        mixed, state = self.mixer.decode(u, state) if packing is None else self.mixer.prefill(u, state, packing)
        return self._mlp(residual + mixed), state

    def forward_(self, residual: Tensor, slots: State, rows: Tensor, packing: Packing | None) -> Tensor:
        """`forward` from the given rows of one layer's slots, which then hold the next state."""
        in_place = packing is None and residual.device.type == "cpu"
        if in_place and not isinstance(self.mixer, mamba2.Mamba2Mixer):
            return self._mlp(residual + self.mixer.decode_(self._normed(residual), slots, rows))
        residual, after = self(residual, slots.gather(rows, dim=0), packing)
        slots.scatter_(rows, after, dim=0)
        return residual

    def _normed(self, residual: Tensor) -> Tensor:
        return self.norm(residual).to(self.mixer.in_proj.weight.dtype)

    def _mlp(self, residual: Tensor) -> Tensor:
        if not hasattr(self, "mlp"):
            return residual
        return residual + self.mlp(self.norm2(residual).to(self.mlp.fc1.weight.dtype))


class Backbone(nn.Module):
    """Embedding, blocks and final norm: everything but the head."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm_f = RMSNorm(config.d_model, config.norm_epsilon)

    @property
    def blocks(self) -> list[Block]:
        """The layers, by their type."""
        return list(cast("Iterable[Block]", self.layers))

    def forward(self, tokens: Tensor, state: State, packing: Packing | None) -> tuple[Tensor, State]:
        """tokens (L,) -> hidden (L, d_model) and the next state."""
        residual = self._embed(tokens)
        parts = []
        for index, block in enumerate(self.blocks):
            residual, part = block(residual, state.layer(index), packing)
            parts.append(part)
        return self._finish(residual), State.stack_layers(parts)

    def forward_(self, tokens: Tensor, slots: State, rows: Tensor, packing: Packing | None) -> Tensor:
        """tokens (L,) -> hidden (L, d_model), having updated the given rows of `slots`, layer by layer."""
        residual = self._embed(tokens)
        for index, block in enumerate(self.blocks):
            residual = block.forward_(residual, slots.layer(index), rows, packing)
        return self._finish(residual)

    def _embed(self, tokens: Tensor) -> Tensor:
        embedded = self.embedding(tokens)
        return embedded.to(widened(embedded.dtype))

    def _finish(self, residual: Tensor) -> Tensor:
        return self.norm_f(residual).to(self.embedding.weight.dtype)


class MambaLM(nn.Module):
    """`logits, state = model.prefill(tokens, cu_seqlens, state)`, or `prefill_` on the rows of a table of slots."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.lm_head = nn.Linear(config.d_model, config.padded_vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.backbone.embedding.weight

    @property
    def chunk_size(self) -> int:
        """Segments of one document that are cut at multiples of it give the same numbers as the whole."""
        return self.config.ssm_cfg.scan_chunk

    def prefill(
        self, tokens: Tensor, cu_seqlens: Sequence[int], state: State, logits_at: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read a ragged pack of segments, each from its own state.

        tokens (L,) int64; cu_seqlens S + 1 cumulative lengths; state of S rows. `logits_at` names the tokens of the
        pack whose logits are wanted, by default the last of each segment; no other logits are computed.
        Returns logits (len(logits_at), V) and the state after each segment.
        """
        packing = self._packing(tokens, cu_seqlens, state.num_rows)
        hidden, state = self.backbone(tokens, state, packing)
        return self.lm_head(hidden[packing.lasts if logits_at is None else logits_at]), state

    def prefill_(
        self, tokens: Tensor, cu_seqlens: Sequence[int], slots: State, rows: Sequence[int], logits_at: Tensor
    ) -> Tensor:
        """`prefill` of segment i from row `rows[i]` of `slots`, which then holds the state after it.

        Returns logits (len(logits_at), V). Keeps no gradients and copies no more than one layer's rows at a time.
        tokens and logits_at may be on the host.
        """
        tokens, logits_at = moved([tokens, logits_at], self.lm_head.weight.device)
        packing = self._packing(tokens, cu_seqlens, len(rows))
        hidden = self.backbone.forward_(tokens, slots, self._index(rows, tokens), packing)
        return self.lm_head(hidden[logits_at])

    def decode(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One token (S,) for each of S documents -> logits (S, V) and the next state."""
        hidden, state = self.backbone(tokens, state, None)
        return self.lm_head(hidden), state

    def decode_(self, tokens: Tensor, slots: State, rows: Sequence[int]) -> Tensor:
        """`decode` of document i from row `rows[i]` of `slots`, in place. Returns logits (S, V)."""
        return self.lm_head(self.backbone.forward_(tokens, slots, self._index(rows, tokens), None))

    def empty_state(self, num_rows: int) -> State:
        """The state before the first token, on the model's device."""
        weight, config = self.lm_head.weight, self.config
        shapes = config.ssm_cfg.state_shapes(config.d_model)
        return State.zeros(shapes, config.n_layer, num_rows, widened(weight.dtype), weight.device)

    def initialize(self) -> "MambaLM":
        """Draw fresh weights for training: normal of 0.02, outputs of the residual branches scaled by depth.

        What steers a recurrence stays as its mixer drew it.
        """
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2 and not name.endswith(("bias", "A_log", "dt_proj.weight")):
                branch_end = name.endswith(("out_proj.weight", "fc2.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.n_layer) if branch_end else 0.02)
        return self

    def _packing(self, tokens: Tensor, cu_seqlens: Sequence[int], num_rows: int) -> Packing:
        packing = Packing.of(cu_seqlens, self.chunk_size, tokens.device)
        assert packing.num_tokens == len(tokens) and len(packing.lengths) == num_rows
        return packing

    @staticmethod
    def _index(rows: Sequence[int], tokens: Tensor) -> Tensor:
        return on_device(rows, torch.int64, tokens.device)
