"""A recurrent model for the engine: a table with one row of state for each sequence, updated in place.

A state has the same size after any number of tokens, so that there is room for a sequence wherever a row is free. In
the table, rows are axis 1 of each tensor (Z, rows, ...), which is known here and nowhere above.
"""

from collections import deque
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from configs.errors import StateError
from models.backends import device as devices
from models.backends.kernels import PLAIN
from models.backends.marks import Marks
from models.backends.passes import Passes, ids, in_turn
from models.engine.backend import Handle, Kernels, Limits, Mark, SavedState, Work
from models.mamba.language_model import MambaLM
from models.state import State
from models.transfer import moved

WARM_UP_ROUNDS = 3
GAPS_BYTES = 48 * 2**20
"""What gaps between blocks on a CPU's heap may come to: 26 MB were measured over a million tokens."""
LEAST_SHARE = 512
"""Tokens, on a GPU. A kernel's program reads and writes the state of a head, as much as 512 tokens take."""


class RecurrentBackend:
    """A `models.engine.backend.Backend`; a handle is a row of the table."""

    def __init__(
        self, model: MambaLM, num_sequences: int, passes: Passes | None = None, kernels: Kernels = PLAIN
    ) -> None:
        """Allocates the states of all sequences at once. `passes` run the model with those `kernels`; by default it
        runs by itself."""
        self._passes, self._kernels = passes or model, kernels
        self._device, self._vocab_size = model.lm_head.weight.device, model.config.vocab_size
        self._limits = Limits(model.chunk_size)
        if self._device.type == "cuda":
            self._limits = Limits(model.chunk_size, least_share=LEAST_SHARE, passes_ahead=1)
        self._marks = Marks(self._device)
        self._empty, self._states = model.empty_state(1), model.empty_state(num_sequences)
        self._free = deque(range(num_sequences))

    @property
    def limits(self) -> Limits:
        """The chunk of the model's scan; no longest context. A GPU works while the host plans what comes next."""
        return self._limits

    @property
    def kernels(self) -> Kernels:
        """Those that run the passes."""
        return self._kernels

    @property
    def nbytes(self) -> int:
        """Of one row of the table, whatever was read."""
        return self._empty.nbytes

    def room_for(self, tokens: int) -> bool:
        """Whether a row is free, which is room for any number of tokens."""
        return bool(self._free)

    def open(self, tokens: int, start: SavedState | None = None) -> Handle:
        """A row before the first token, or of a state that was exported. Raises StateError where it does not fit."""
        state = self._empty if start is None else self._fitting(start)
        return self._take_row(state)

    def fork(self, handle: Handle, tokens: int) -> Handle:
        """Copies the row to a free one."""
        return self._take_row(self._states.row(handle))

    def extend(self, handle: Handle, tokens: int) -> None:
        """A row holds any number of tokens."""

    def run(self, work: Sequence[Work]) -> Tensor:
        """Prefill in one pack, then a step of decoding: each in its own way, whatever runs beside it."""
        # Rows of the embedding beyond the vocabulary are padding and never a token.
        return in_turn(work, self._prefill, self._decode)[:, : self._vocab_size].float()

    def export(self, handle: Handle, since: int = 0) -> SavedState:
        """The row of each tensor (Z, 1, ...), none of which grows."""
        return self._states.row(handle).arrays()

    def close(self, handle: Handle) -> None:
        """Frees the row; its state stays until another takes its place."""
        self._free.append(handle)

    def mark(self) -> Mark | None:
        """An event on a GPU; a CPU has always done what it was asked."""
        return self._marks.mark()

    @torch.inference_mode()
    def warm_up(self, step_tokens: int, decode_rows: int) -> None:
        """Passes over many dummies and over one, and of decoding, several times: an allocator takes a few rounds to
        settle. The free rows hold rubbish afterwards; whoever takes one fills it first."""
        free, chunk = list(self._free), self._limits.chunk
        rows = min(len(free), step_tokens // chunk)
        packs = [[*range(0, rows * chunk, chunk), step_tokens], [0, step_tokens]]
        tokens = torch.zeros(step_tokens, dtype=torch.long, device=self._device)
        nothing = tokens[:0]
        # On a GPU each power of two is a graph of its own, captured here; before any prefill, since capturing gives
        # the allocator's free blocks back, which passes would have to ask for again.
        for rows in sorted({1 << exponent for exponent in range(decode_rows.bit_length())} | {decode_rows}):
            self._passes.decode_(tokens.new_zeros(rows), self._states, free[:rows])
        for bounds in packs * WARM_UP_ROUNDS:
            self._passes.prefill_(tokens, bounds, self._states, free[: len(bounds) - 1], nothing)
        if self._device.type == "cpu":
            # Held together, so that both are touched; and each small enough to come from the heap, where it stays.
            _ = [torch.ones(GAPS_BYTES // 8) for _ in range(2)]
        devices.synchronize(self._device)

    def _prefill(self, work: Sequence[Work]) -> Tensor:
        bounds = [0, *accumulate(len(each.tokens) for each in work)]
        ends = [end - 1 for each, end in zip(work, bounds[1:], strict=True) if each.wants_logits]
        return self._passes.prefill_(
            ids(work),
            bounds,
            self._states,
            [each.handle for each in work],
            logits_at=torch.tensor(ends, dtype=torch.long),
        )

    def _decode(self, work: Sequence[Work]) -> Tensor:
        (tokens,) = moved([ids(work)], self._device)
        return self._passes.decode_(tokens, self._states, [each.handle for each in work])

    def _take_row(self, state: State) -> Handle:
        row = Handle(self._free.popleft())
        self._states.row(row).copy_(state)
        return row

    def _fitting(self, start: SavedState) -> State:
        """On the device. Raises StateError where it is of another shape than this model's."""
        found = State({name: torch.tensor(array, device=self._device) for name, array in start.items()})
        if {name: (found[name].shape, found[name].dtype) for name in found} != {
            name: (self._empty[name].shape, self._empty[name].dtype) for name in self._empty
        }:
            raise StateError("The stored state has other tensors than this model's states.")
        return found
