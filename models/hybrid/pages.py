"""Which pages of a pool are whose: counted references, and runs of neighbors wherever there are any.

A page is room for the keys and values of a fixed number of tokens in all layers; here it is a number.
"""

import numpy as np
import numpy.typing as npt

Pages = npt.NDArray[np.int64]


class PagePool:
    """Pages from 0 on. A page is free while nobody holds it; several sequences may hold one."""

    def __init__(self, num_pages: int) -> None:
        self._holders = np.zeros(num_pages, np.int32)
        self.num_free = num_pages

    def __len__(self) -> int:
        return len(self._holders)

    def take(self, count: int, behind: int = -1) -> Pages:
        """So many free pages: the neighbors behind that page, else the smallest gap that holds them, else the largest
        gaps. Attention reads a run of neighbors in one piece."""
        assert count <= self.num_free, "whoever takes pages has asked whether there are any"
        pages = self._chosen(count, behind + 1)
        self._holders[pages] = 1
        self.num_free -= count
        return pages

    def share(self, pages: Pages) -> None:
        """One more holder of each."""
        assert (self._holders[pages] > 0).all(), "a free page holds nothing to share"
        self._holders[pages] += 1

    def release(self, pages: Pages) -> None:
        """One holder less of each; those without any are free."""
        assert (self._holders[pages] > 0).all(), "a page is released once by each holder"
        self._holders[pages] -= 1
        self.num_free += int((self._holders[pages] == 0).sum())

    def _chosen(self, count: int, next_page: int) -> Pages:
        neighbors = self._holders[next_page : next_page + count]
        if next_page and len(neighbors) == count and not neighbors.any():
            return np.arange(next_page, next_page + count)
        starts, lengths = self._gaps()
        if (lengths >= count).any():
            start = starts[np.where(lengths >= count, lengths, len(self)).argmin()]
            return np.arange(start, start + count)
        largest_first = np.argsort(-lengths, kind="stable")
        gaps = [np.arange(starts[gap], starts[gap] + lengths[gap]) for gap in largest_first]
        return np.concatenate(gaps)[:count]

    def _gaps(self) -> tuple[Pages, Pages]:
        """First page and length of each run of free pages."""
        edges = np.diff(self._holders == 0, prepend=False, append=False).nonzero()[0]
        return edges[::2], edges[1::2] - edges[::2]


def runs(pages: Pages, page_tokens: int, tokens: int) -> list[slice]:
    """Where the first `tokens` tokens of a sequence lie among the places of a pool, in order: one slice for each run of
    neighboring pages."""
    used = pages[: -(-tokens // page_tokens)]
    found, left = [], tokens
    for neighbors in np.split(used, np.flatnonzero(np.diff(used) != 1) + 1) if tokens else ():
        start, length = int(neighbors[0]) * page_tokens, min(left, len(neighbors) * page_tokens)
        found.append(slice(start, start + length))
        left -= length
    return found
