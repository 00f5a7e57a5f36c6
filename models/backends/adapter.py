"""Models that transformers runs and we do not, for the engine: of each sequence the cache that its class makes.

A forward takes one sequence, so that nothing is ever padded: of a padded batch that continues the state decays, and
keys and values are corrupted. Slower than a model of ours, and as right as its class is: `carrying` finds out.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from models.backends import caches, device
from models.backends.adapted import Adapted
from models.backends.forward import Forward
from models.backends.marks import Marks
from models.backends.passes import ids
from models.backends.probe import probed
from models.engine.backend import Handle, Kernels, Limits, Mark, SavedState, Work
from models.transfer import moved


class _Sequence:
    """What a handle stands for."""

    def __init__(self, cache: Any, num_tokens: int, granted: int) -> None:
        self.cache, self.num_tokens, self.granted = cache, num_tokens, granted


class TransformersBackend:
    """A `models.engine.backend.Backend`; a handle is a cache.

    A fork is a copy of all of it, so that there is room for a sequence only where there is as much again as the longest
    that is open.
    """

    def __init__(
        self,
        adapted: Adapted,
        num_sequences: int,
        cache_bytes: int | None = None,
        preamble_tokens: int = 0,
    ) -> None:
        """`cache_bytes` is memory for all sequences, None for as much as they take; `preamble_tokens` are those of a
        sequence that stays open, beside which the longest document must fit."""
        self._forward, self._error = Forward(adapted.model), adapted.error
        self._num_sequences, self._memory = num_sequences, cache_bytes
        self._device, self._vocab_size = adapted.device, adapted.config.vocab_size
        self._like, self._fixed, self._per_token = probed(self._forward, self._device)
        self._limits = Limits(adapted.chunk, self._max_context(adapted.max_context, preamble_tokens))
        self._marks = Marks(self._device)
        self._sequences: dict[Handle, _Sequence] = {}
        self._opened = 0

    @property
    def limits(self) -> Limits:
        """A multiple of the chunks of the model's scans; its stated context, or what memory holds if that is less."""
        return self._limits

    @property
    def kernels(self) -> Kernels:
        """Those of transformers."""
        return Kernels("transformers", self._error)

    @property
    def nbytes(self) -> int:
        """Of what does not grow."""
        return self._fixed

    def room_for(self, tokens: int) -> bool:
        """Whether it fits though it be a fork of the longest that is open, or have one of its own."""
        if len(self._sequences) >= self._num_sequences:
            return False
        if self._memory is None:
            return True
        longest = max([tokens, *(each.granted for each in self._sequences.values())])
        used = sum(self._cost(each.granted) for each in self._sequences.values())
        return used + self._cost(tokens) + self._cost(longest) <= self._memory

    def open(self, tokens: int, start: SavedState | None = None) -> Handle:
        """A cache to be made by the first forward, or as it was exported. Raises StateError where that is of another
        shape."""
        cache, num_tokens = (None, 0) if start is None else caches.restored(start, self._like)
        return self._add(_Sequence(cache, num_tokens, tokens))

    def fork(self, handle: Handle, tokens: int) -> Handle:
        """A copy of its cache."""
        of = self._sequences[handle]
        return self._add(_Sequence(copy.deepcopy(of.cache), of.num_tokens, of.granted + tokens))

    def extend(self, handle: Handle, tokens: int) -> None:
        """More is granted."""
        self._sequences[handle].granted += tokens

    def run(self, work: Sequence[Work]) -> Tensor:
        """One sequence after the other."""
        logits = []
        for each in work:
            sequence, (tokens,) = self._sequences[each.handle], moved([ids([each])], self._device)
            last, sequence.cache = self._forward(tokens, sequence.cache, sequence.num_tokens)
            sequence.num_tokens += len(tokens)
            logits += [last] if each.wants_logits else []
        if not logits:
            return torch.empty((0, self._vocab_size), device=self._device)
        # Rows of the embedding beyond the vocabulary are padding and never a token.
        return torch.cat(logits)[:, : self._vocab_size].float()

    def export(self, handle: Handle, since: int = 0) -> SavedState:
        """Its arrays as `caches` names them."""
        sequence = self._sequences[handle]
        return caches.exported(sequence.cache, sequence.num_tokens, since)

    def close(self, handle: Handle) -> None:
        """Drops the cache."""
        del self._sequences[handle]

    def mark(self) -> Mark | None:
        """An event on a GPU; a CPU has always done what it was asked."""
        return self._marks.mark()

    def warm_up(self, step_tokens: int, decode_rows: int) -> None:
        """A pass over one document and a step."""
        count = min(step_tokens, self._limits.max_context or step_tokens)
        tokens = torch.zeros(count, dtype=torch.long, device=self._device)
        _, cache = self._forward(tokens)
        self._forward(tokens[:1], cache, count)
        device.synchronize(self._device)

    def _add(self, sequence: _Sequence) -> Handle:
        handle = Handle(self._opened)
        self._opened += 1
        self._sequences[handle] = sequence
        return handle

    def _cost(self, tokens: int) -> int:
        return self._fixed + tokens * self._per_token

    def _max_context(self, stated: int | None, preamble_tokens: int) -> int | None:
        """None where nothing grows. Half of the memory is for the copy that answers."""
        if not self._per_token:
            return None
        if self._memory is None:
            return stated
        held = (self._memory - self._cost(preamble_tokens) - 2 * self._fixed) // (2 * self._per_token)
        return max(0, min(held, held if stated is None else stated))
