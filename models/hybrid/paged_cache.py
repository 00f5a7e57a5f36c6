"""Keys and values of many sequences in one pool of pages. A fork shares all full pages of what it was forked from.

A page that is full is never written to again, so that any number of sequences may hold it; the last page of a
sequence, if partly filled, is its own. Pages are taken for all that a sequence may come to, and given back when it is
closed.

Z = layers of attention, T = tokens of a sequence, L = tokens of a pass, HQ and HKV = heads of queries, and of keys and
values, D = channels of a head.
"""

from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.hybrid.architecture import KVShape
from models.hybrid.page_attention import Attention, ByRuns, Piece
from models.hybrid.pages import PagePool, Pages, runs
from models.transfer import moved

PAGE_TOKENS = 256
"""What flash attention asks for on a GPU; of a sequence half a page is idle on average."""


@dataclass(eq=False)
class Sequence:
    """Where the keys and values of one sequence lie."""

    pages: Pages
    """In the order of its tokens."""
    granted: int
    """Tokens that it may come to."""
    tokens: int = 0
    """T: those that it holds."""


class PagedCache:
    """A pool of pages, and the sequences that hold them."""

    def __init__(
        self,
        shape: KVShape,
        num_pages: int,
        device: torch.device | str = "cpu",
        page_tokens: int = PAGE_TOKENS,
        attention: Callable[[Many[Piece]], Attention] = ByRuns,
    ) -> None:
        """`attention` lays out a pass. On a CPU the system gives memory to a page when it is first written to."""
        self.shape, self.page_tokens, self.attention = shape, page_tokens, attention
        self._pool = PagePool(num_pages)
        place = (shape.num_layers, num_pages * page_tokens, shape.num_heads, shape.head_dim)
        self.keys, self.values = (torch.empty(place, dtype=shape.dtype, device=device) for _ in range(2))

    @property
    def num_free(self) -> int:
        """Pages that no sequence holds."""
        return self._pool.num_free

    def room_for(self, tokens: int) -> bool:
        """Whether a sequence may be opened, forked or extended by so many tokens: a fork may need one page more, for
        its copy of the last one."""
        return self._pages_for(tokens) + 1 <= self.num_free

    def open(self, tokens: int) -> Sequence:
        """An empty sequence that may come to so many tokens."""
        return Sequence(self._pool.take(self._pages_for(tokens)), tokens)

    def fork(self, sequence: Sequence, tokens: int) -> Sequence:
        """A sequence that holds the same and may come to so many tokens more."""
        full, partly = divmod(sequence.tokens, self.page_tokens)
        shared, granted = sequence.pages[:full], sequence.tokens + tokens
        own = self._pool.take(self._pages_for(granted) - full)
        self._pool.share(shared)
        if partly:
            before, after = int(sequence.pages[full]) * self.page_tokens, int(own[0]) * self.page_tokens
            for part in (self.keys, self.values):
                part[:, after : after + partly] = part[:, before : before + partly]
        return Sequence(np.concatenate([shared, own]), granted, sequence.tokens)

    def extend(self, sequence: Sequence, tokens: int) -> None:
        """Let it come to so many tokens more, or to fewer, but not to fewer than it holds."""
        sequence.granted += tokens
        assert sequence.granted >= sequence.tokens
        missing = self._pages_for(sequence.granted) - len(sequence.pages)
        if missing < 0:
            self._pool.release(sequence.pages[missing:])
            sequence.pages = sequence.pages[:missing]
        else:
            last = int(sequence.pages[-1]) if len(sequence.pages) else -1
            sequence.pages = np.concatenate([sequence.pages, self._pool.take(missing, behind=last)])

    def close(self, sequence: Sequence) -> None:
        """Give its pages back, apart from those that others hold too."""
        self._pool.release(sequence.pages)
        sequence.pages = sequence.pages[:0]

    def export(self, sequence: Sequence, since: int = 0) -> tuple[Tensor, Tensor]:
        """Copies on the host of its keys and values (Z, T - since, HKV, D)."""
        places = self._runs(sequence, since)
        keys, values = (torch.cat([part[:, run] for run in places], dim=1).cpu() for part in (self.keys, self.values))
        return keys, values

    def load(self, sequence: Sequence, keys: Tensor, values: Tensor) -> None:
        """Fill an empty sequence with what was exported (Z, T, HKV, D)."""
        assert sequence.tokens == 0 and keys.shape[1] <= sequence.granted
        sequence.tokens = keys.shape[1]
        before = 0
        for run in self._runs(sequence):
            after = before + run.stop - run.start
            self.keys[:, run] = keys[:, before:after]
            self.values[:, run] = values[:, before:after]
            before = after

    def of_pass(self, sequences: Many[Sequence], lengths: Many[int]) -> "PagedPass":
        """For the next `lengths[i]` tokens of each sequence, which then holds them."""
        return PagedPass(self, sequences, lengths)

    def places(self, sequence: Sequence, start: int, stop: int) -> Pages:
        """Of each of these tokens, the index in axis 1 of `keys` and `values`."""
        tokens = np.arange(start, stop)
        return sequence.pages[tokens // self.page_tokens] * self.page_tokens + tokens % self.page_tokens

    def piece(self, sequence: Sequence, first: int, length: int) -> Piece:
        """The next tokens of a sequence, which are those of a pass from `first` on."""
        held = sequence.tokens
        assert held + length <= sequence.granted, "a sequence reads no more than was granted to it"
        return Piece(first, length, held, runs(sequence.pages, self.page_tokens, held), sequence.pages)

    def _runs(self, sequence: Sequence, since: int = 0) -> list[slice]:
        """Without the first tokens; at least one run, which may be empty."""
        found, left = [], since
        for run in runs(sequence.pages, self.page_tokens, sequence.tokens):
            skipped = min(left, run.stop - run.start)
            left -= skipped
            found.append(slice(run.start + skipped, run.stop))
        return found or [slice(0, 0)]

    def _pages_for(self, tokens: int) -> int:
        return -(-tokens // self.page_tokens)


class PagedPass:
    """A `models.hybrid.attention.Cache`."""

    def __init__(self, cache: PagedCache, sequences: Many[Sequence], lengths: Many[int]) -> None:
        assert len({id(sequence) for sequence in sequences}) == len(sequences), "one piece of each sequence"
        self._cache = cache
        pieces, positions, places, first = [], [], [], 0
        for sequence, length in zip(sequences, lengths, strict=True):
            pieces.append(cache.piece(sequence, first, length))
            before, after = sequence.tokens, sequence.tokens + length
            positions.append(np.arange(before, after))
            places.append(cache.places(sequence, before, after))
            sequence.tokens, first = after, first + length
        self._attention = cache.attention(pieces)
        here = [torch.from_numpy(np.concatenate(each)) for each in (positions, places)]
        self._positions, self._places = moved(here, cache.keys.device)

    @property
    def positions(self) -> Tensor:
        """(L,) int64"""
        return self._positions

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """(L, HQ, D)"""
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        keys.index_copy_(0, self._places, k)
        values.index_copy_(0, self._places, v)
        return self._attention.attend(q, k, v, keys, values, scale)
