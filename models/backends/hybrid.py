"""A model with attention for the engine: of each sequence a row of recurrent state and pages of keys and values.

Either may be nothing: a transformer has no recurrent layers, and a hybrid may have no attention. Rows are axis 1 of
each tensor (Z, rows, ...), as for a recurrent model.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from configs.errors import StateError
from models.backends import device as devices
from models.backends.attention import AttentionOf
from models.backends.kernels import PLAIN
from models.backends.marks import Marks
from models.backends.passes import ids, in_turn
from models.engine.backend import GROWING, Handle, Kernels, Limits, Mark, SavedState, Work, grows
from models.hybrid import paged_cache
from models.hybrid.language_model import HybridLM
from models.hybrid.page_attention import ByRuns
from models.hybrid.paged_cache import PAGE_TOKENS, PagedCache
from models.state import State
from models.transfer import moved

WARM_UP_ROUNDS = 3
UNLIMITED = 1 << 40
"""Tokens of a page where none has any bytes."""
SPARE_PAGES = 2
"""What two partly filled pages, of a document and of its answer, may leave idle."""


def pages_for(tokens: int, page_tokens: int = PAGE_TOKENS) -> int:
    """Of a document that comes to so many tokens together with its answer."""
    return -(-tokens // page_tokens) + SPARE_PAGES


class HybridBackend:
    """A `models.engine.backend.Backend`; a handle is a row of the table."""

    def __init__(
        self,
        model: HybridLM,
        num_sequences: int,
        num_pages: int,
        preamble_tokens: int = 0,
        attention: AttentionOf = ByRuns,
        kernels: Kernels = PLAIN,
        page_tokens: int = PAGE_TOKENS,
    ) -> None:
        """Allocates the states of all sequences and the pages at once. `preamble_tokens` are those of a sequence that
        stays open, beside which the longest document must fit. `attention` attends, with those `kernels`."""
        self._model, self._kernels = model, kernels
        self._device, shape = model.lm_head.weight.device, model.kv_shape
        self._has_pages = shape.num_layers > 0
        if not self._has_pages:
            num_pages, page_tokens = 4 * num_sequences, UNLIMITED
        self._cache = PagedCache(shape, num_pages, self._device, page_tokens, attention)
        ahead = int(self._device.type == "cuda")
        self._limits = Limits(model.chunk_size, self._max_context(preamble_tokens), passes_ahead=ahead)
        self._marks = Marks(self._device)
        self._empty, self._states = model.empty_state(1), model.empty_state(num_sequences)
        self._forms = _forms(self._empty.tensors)
        if self._has_pages:
            self._forms |= _forms(dict(zip(GROWING, (self._cache.keys, self._cache.values), strict=True)))
        self._free = deque(Handle(row) for row in range(num_sequences))
        self._sequences: dict[Handle, paged_cache.Sequence] = {}

    @property
    def limits(self) -> Limits:
        """The chunk of the model's scan; the context that the model was made for, or what the pages hold if that is
        less."""
        return self._limits

    @property
    def kernels(self) -> Kernels:
        """Those that run the passes."""
        return self._kernels

    @property
    def nbytes(self) -> int:
        """Of one row of the table, and a page."""
        return self._empty.nbytes + self._cache.page_tokens * self._cache.shape.nbytes_per_token

    @property
    def num_free_pages(self) -> int:
        """Pages that no sequence holds."""
        return self._cache.num_free

    def room_for(self, tokens: int) -> bool:
        """Whether a row is free, and enough pages."""
        return bool(self._free) and self._cache.room_for(tokens)

    def open(self, tokens: int, start: SavedState | None = None) -> Handle:
        """A row and pages, empty or as they were exported. Raises StateError where those are of another shape."""
        state, held = (self._empty, ()) if start is None else self._fitting(start)
        sequence = self._cache.open(self._most(tokens))
        if held:
            self._cache.load(sequence, *held)
        return self._take_row(state, sequence)

    def fork(self, handle: Handle, tokens: int) -> Handle:
        """Copies the row, and of the pages the last one if it is partly filled; the others are shared."""
        return self._take_row(self._states.row(handle), self._cache.fork(self._sequences[handle], self._most(tokens)))

    def extend(self, handle: Handle, tokens: int) -> None:
        """Takes as many pages as are missing, or gives back those that are not needed."""
        self._cache.extend(self._sequences[handle], tokens if self._has_pages else 0)

    def run(self, work: Sequence[Work]) -> Tensor:
        """Prefill in one pack, then a step of decoding: each in its own way, whatever runs beside it."""
        return in_turn(work, self._prefill, self._decode).float()

    def export(self, handle: Handle, since: int = 0) -> SavedState:
        """The row of each tensor (Z, 1, ...), and `keys` and `values` (Z, T - since, HKV, D)."""
        state = self._states.row(handle).arrays()
        if not self._has_pages:
            return state
        held = self._cache.export(self._sequences[handle], since)
        return state | {name: _to_numpy(tensor) for name, tensor in zip(GROWING, held, strict=True)}

    def close(self, handle: Handle) -> None:
        """Frees the row and the pages that no other sequence holds."""
        self._cache.close(self._sequences.pop(handle))
        self._free.append(handle)

    def mark(self) -> Mark | None:
        """An event on a GPU; a CPU has always done what it was asked."""
        return self._marks.mark()

    @torch.inference_mode()
    def warm_up(self, step_tokens: int, decode_rows: int) -> None:
        """Passes over one document and over many, and of decoding, several times. On a CPU, pages take memory as they
        are first used."""
        chunk, most = self._limits.chunk, self._limits.max_context or step_tokens
        rows = min(len(self._free), max(1, self._cache.num_free // 2))
        for _ in range(WARM_UP_ROUNDS):
            for count, length in ((1, min(step_tokens, most)), (min(rows, step_tokens // chunk), min(chunk, most))):
                self._dummies([length] * count, is_decode=False)
            self._dummies([1] * min(rows, decode_rows), is_decode=True)
        devices.synchronize(self._device)

    def _dummies(self, lengths: Sequence[int], is_decode: bool) -> None:
        handles = [self.open(length) for length in lengths]
        works = [
            Work(handle, np.zeros(length, np.int64), wants_logits=True, is_decode=is_decode)
            for handle, length in zip(handles, lengths, strict=True)
        ]
        self.run(works)
        for handle in handles:
            self.close(handle)

    def _prefill(self, work: Sequence[Work]) -> Tensor:
        lengths = [len(each.tokens) for each in work]
        bounds = [0, *accumulate(lengths)]
        ends = [end - 1 for each, end in zip(work, bounds[1:], strict=True) if each.wants_logits]
        tokens, at = moved([ids(work), torch.tensor(ends, dtype=torch.long)], self._device)
        return self._model.prefill_(
            tokens,
            bounds,
            self._states,
            [each.handle for each in work],
            self._cache.of_pass([self._sequences[each.handle] for each in work], lengths),
            logits_at=at,
        )

    def _decode(self, work: Sequence[Work]) -> Tensor:
        (tokens,) = moved([ids(work)], self._device)
        cache = self._cache.of_pass([self._sequences[each.handle] for each in work], [1] * len(work))
        return self._model.decode_(tokens, self._states, [each.handle for each in work], cache)

    def _most(self, tokens: int) -> int:
        """What a sequence may come to: as asked for, or anything where nothing grows."""
        return tokens if self._has_pages else UNLIMITED

    def _max_context(self, preamble_tokens: int) -> int | None:
        """Tokens of the longest document with its answer."""
        stated = self._model.config.max_context
        if not self._has_pages:
            return stated
        page = self._cache.page_tokens
        held = (self._cache.num_free - SPARE_PAGES - -(-preamble_tokens // page)) * page
        return max(0, min(held, held if stated is None else stated))

    def _take_row(self, state: State, sequence: paged_cache.Sequence) -> Handle:
        handle = self._free.popleft()
        self._states.row(handle).copy_(state)
        self._sequences[handle] = sequence
        return handle

    def _fitting(self, start: SavedState) -> tuple[State, Sequence[Tensor]]:
        """Its recurrent state, and its keys and values. Raises StateError where they are of another shape."""
        found = {name: _to_torch(array) for name, array in start.items()}
        held = [found[name] for name in GROWING if name in found]
        if _forms(found) != self._forms or len({tensor.shape for tensor in held}) > 1:
            raise StateError("The stored state has other tensors than this model's states.")
        return State({name: tensor for name, tensor in found.items() if not grows(name)}), held


def _forms(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Shapes, of what grows without its tokens, and dtypes."""
    return {
        name: (tensor.shape[:1] + tensor.shape[2:] if grows(name) else tensor.shape, tensor.dtype)
        for name, tensor in tensors.items()
    }


def _to_numpy(tensor: Tensor) -> np.ndarray:
    """As a SavedState has it: of bfloat16, which numpy lacks, the bits."""
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _to_torch(array: np.ndarray) -> Tensor:
    tensor = torch.tensor(array)
    return tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor
