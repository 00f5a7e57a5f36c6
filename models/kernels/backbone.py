"""A backbone's passes on a GPU: cuBLAS for the projections, our kernels for the rest; decoding from CUDA graphs.

L = tokens of a pack, S = documents.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from models.kernels import selective, ssd
from models.kernels.decode import step_
from models.kernels.prefill import scan_
from models.kernels.residual import add_norm_, swiglu
from models.kernels.shapes import Shapes
from models.kernels.spans import Spans
from models.kernels.tiling import Tiling, tiling_of
from models.mamba.language_model import MambaLM, Mixer
from models.mamba.mamba1 import Mamba1Mixer
from models.mamba.mamba2 import Mamba2Mixer
from models.state import State
from models.transfer import on_device

Scan = Callable[[Mixer, Tensor, State], Tensor]


class FastPath:
    """`prefill_` and `decode_` of a model on a GPU. Inference only; the plain path judges it."""

    def __init__(self, model: MambaLM, tiling: Tiling | None = None) -> None:
        """`tiling` is by default that of the model's device."""
        self._model, self._backbone = model, model.backbone
        self._tiling = tiling or tiling_of(model.lm_head.weight.device)
        self._graphs: dict[tuple[int, ...], _Graph] = {}

    @staticmethod
    def why_not(model: MambaLM) -> str | None:
        """Why a model has to take the plain path, or None."""
        mixer = model.backbone.blocks[0].mixer
        dtype = mixer.in_proj.weight.dtype
        if isinstance(mixer, Mamba2Mixer):
            return ssd.Widths.of(mixer).why_not(dtype)
        if isinstance(mixer, Mamba1Mixer):
            return selective.why_not(dtype)
        return Shapes.of(mixer).why_not(dtype)

    def prefill_(
        self, tokens: Tensor, cu_seqlens: Sequence[int], slots: State, rows: Sequence[int], logits_at: Tensor
    ) -> Tensor:
        """As `MambaLM.prefill_`: logits (len(logits_at), V)."""
        return self._model.lm_head(self.hidden_(tokens, cu_seqlens, slots, rows, logits_at))

    def hidden_(
        self,
        tokens: Tensor,
        cu_seqlens: Sequence[int],
        slots: State,
        rows: Sequence[int],
        wanted: Tensor | None = None,
    ) -> Tensor:
        """tokens (L,) -> hidden (L, d_model), or of the `wanted` tokens alone, having read segment i into row
        `rows[i]` of `slots`. Both may be on the host."""
        span_tokens = self._tiling.span_tokens(cu_seqlens, self._model.config.num_heads)
        on_host, device = Spans.of(cu_seqlens, rows, span_tokens), self._model.lm_head.weight.device
        spans, (tokens, *at) = on_host.moved_with([tokens, *([] if wanted is None else [wanted])], device)

        def scan(mixer: Mixer, proj: Tensor, layer: State) -> Tensor:
            if isinstance(mixer, Mamba2Mixer):
                return ssd.scan_(mixer, proj, layer, spans, self._tiling)
            if isinstance(mixer, Mamba1Mixer):
                return selective.scan_(mixer, proj, layer, spans)
            return scan_(mixer, proj, layer, spans, self._tiling)

        return self.forward(tokens, slots, scan, *at)

    def decode_(self, tokens: Tensor, slots: State, rows: Sequence[int]) -> Tensor:
        """tokens (S,) -> logits (S, V), having read one token into each row of `slots`.

        On CUDA it replays a graph captured for the next power of two of S; the places beyond S are padding.
        """
        index = on_device(rows, torch.int32, tokens.device)
        if tokens.device.type != "cuda":
            return self._logits(tokens, slots, index)
        size = 1 << (len(rows) - 1).bit_length()
        key = (size, *(slots[name].data_ptr() for name in slots))
        if key not in self._graphs:
            self._graphs[key] = _Graph(self._logits, slots, size, tokens.device)
        return self._graphs[key](tokens, index)

    def _logits(self, tokens: Tensor, slots: State, rows: Tensor) -> Tensor:
        def step(mixer: Mixer, proj: Tensor, layer: State) -> Tensor:
            if isinstance(mixer, Mamba2Mixer):
                return ssd.step_(mixer, proj, layer, rows)
            if isinstance(mixer, Mamba1Mixer):
                return selective.step_(mixer, proj, layer, rows)
            return step_(mixer, proj, layer, rows)

        return self._model.lm_head(self.forward(tokens, slots, step))

    def forward(self, tokens: Tensor, slots: State, scan: Scan, wanted: Tensor | None = None) -> Tensor:
        """tokens (L,) -> hidden (L, d_model), each layer's recurrence from `scan`; or of the `wanted` tokens alone."""
        embedded = self._backbone.embedding(tokens)
        residual, branch = embedded.to(torch.float32, copy=True), None
        blocks = self._backbone.blocks
        for index, block in enumerate(blocks):
            mixer = block.mixer
            proj = mixer.in_proj(add_norm_(residual, branch, block.norm, embedded.dtype))
            y = scan(mixer, proj, slots.layer(index))
            if wanted is not None and index == len(blocks) - 1:
                # Nothing else of the last layer is ever looked at but its state.
                y, residual = y[wanted], residual[wanted]
            branch = mixer.out_proj(y)
            if self._model.config.d_mlp:
                both = block.mlp.fc1(add_norm_(residual, branch, block.norm2, embedded.dtype))
                branch = block.mlp.fc2(swiglu(both))
        return add_norm_(residual, branch, self._backbone.norm_f, embedded.dtype)


class _Graph:
    """One decoding pass over `size` rows, captured once and replayed, so that no launch waits for the host."""

    def __init__(
        self, decode: Callable[[Tensor, State, Tensor], Tensor], slots: State, size: int, device: torch.device
    ) -> None:
        # A graph holds addresses: as long as it lives, so must what it writes to.
        self._slots = slots
        self._tokens = torch.zeros(size, dtype=torch.long, device=device)
        self._rows = torch.full((size,), -1, dtype=torch.int32, device=device)
        # Rows are all padding here: warming up and capturing touch no slot.
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            decode(self._tokens, slots, self._rows)
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._logits = decode(self._tokens, slots, self._rows)

    def __call__(self, tokens: Tensor, rows: Tensor) -> Tensor:
        """tokens (S,), rows (S,) -> logits (S, V), overwritten by the next call."""
        self._tokens[: len(tokens)] = tokens
        self._rows.fill_(-1)
        self._rows[: len(rows)] = rows
        self._graph.replay()
        return self._logits[: len(tokens)]
