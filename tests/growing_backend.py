"""A model that remembers every token: one layer of causal attention in float64, with a cache that grows.

L = tokens of a sequence, D = width, V = vocabulary.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from configs.errors import StateError
from models.engine.backend import Handle, Kernels, Limits, SavedState, Work

VOCAB_SIZE, WIDTH, CHUNK = 61, 16, 4
DECAY = 0.03
"""How much less a token weighs for each token since: what makes the order of tokens matter."""


class Attention:
    """`logits, cache = model(tokens, cache)`, with a cache of keys and values (L, D)."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        self.embedding = torch.randn(VOCAB_SIZE, WIDTH, generator=generator, dtype=torch.float64)
        self.query, self.key, self.value = torch.randn(3, WIDTH, WIDTH, generator=generator, dtype=torch.float64) / 4
        self.head = torch.randn(WIDTH, VOCAB_SIZE, generator=generator, dtype=torch.float64)

    def empty(self) -> dict[str, Tensor]:
        return {name: torch.empty(0, WIDTH, dtype=torch.float64) for name in ("keys", "values")}

    def __call__(self, tokens: Tensor, cache: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The logits (V,) after the last of the tokens, and the cache with all of them."""
        x = self.embedding[tokens]
        keys, values = torch.cat([cache["keys"], x @ self.key]), torch.cat([cache["values"], x @ self.value])
        distance = torch.arange(len(keys) - 1, -1, -1)
        weights = (keys @ (x[-1] @ self.query) - DECAY * distance).softmax(0)
        return (x[-1] + weights @ values) @ self.head, {"keys": keys, "values": values}


class GrowingBackend:
    """A `models.engine.backend.Backend` whose memory is counted in tokens of all its caches."""

    def __init__(self, max_context: int = 2000, capacity: int = 10_000) -> None:
        self.model, self.capacity, self.most_granted = Attention(), capacity, 0
        self._limits = Limits(CHUNK, max_context)
        self._caches: dict[Handle, Mapping[str, Tensor]] = {}
        self._granted: dict[Handle, int] = {}
        self._opened = 0

    @property
    def limits(self) -> Limits:
        return self._limits

    @property
    def kernels(self) -> Kernels:
        return Kernels("torch")

    @property
    def nbytes(self) -> int:
        return 0

    @property
    def num_open(self) -> int:
        return len(self._caches)

    def warm_up(self, step_tokens: int, decode_rows: int) -> None:
        pass

    def room_for(self, tokens: int) -> bool:
        return sum(self._granted.values()) + tokens <= self.capacity

    def open(self, tokens: int, start: SavedState | None = None) -> Handle:
        if start is not None and set(start) != {"keys", "values"}:
            raise StateError("The stored state is no cache of keys and values.")
        cache = self.model.empty() if start is None else {name: torch.tensor(array[0]) for name, array in start.items()}
        return self._add(cache, tokens)

    def fork(self, handle: Handle, tokens: int) -> Handle:
        # Caches are never written to, so that both may share one.
        return self._add(self._caches[handle], tokens)

    def run(self, work: Sequence[Work]) -> Tensor:
        assert len({each.handle for each in work}) == len(work)
        logits = []
        for each in work:
            last, self._caches[each.handle] = self.model(torch.as_tensor(each.tokens).long(), self._caches[each.handle])
            logits += [last] if each.wants_logits else []
        return torch.stack(logits).float() if logits else torch.empty(0, VOCAB_SIZE)

    def extend(self, handle: Handle, tokens: int) -> None:
        assert self.room_for(tokens)
        self._granted[handle] += tokens
        self.most_granted = max(self.most_granted, sum(self._granted.values()))

    def export(self, handle: Handle, since: int = 0) -> SavedState:
        return {name: tensor[None, since:].numpy().copy() for name, tensor in self._caches[handle].items()}

    def close(self, handle: Handle) -> None:
        del self._caches[handle], self._granted[handle]

    def mark(self) -> None:
        return None

    def _add(self, cache: Mapping[str, Tensor], tokens: int) -> Handle:
        assert self.room_for(tokens)
        handle = Handle(self._opened)
        self._opened += 1
        self._caches[handle], self._granted[handle] = cache, tokens
        self.most_granted = max(self.most_granted, sum(self._granted.values()))
        return handle
