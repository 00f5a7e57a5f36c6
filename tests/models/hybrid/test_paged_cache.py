"""Pages are whose they should be, whatever is opened, forked, read and closed; what is read equals a dense judge."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.hybrid import page_attention
from models.hybrid.architecture import KVShape
from models.hybrid.attention import WholeCache
from models.hybrid.page_attention import ByRuns, Gathered
from models.hybrid.paged_cache import PagedCache, Sequence
from models.hybrid.pages import PagePool, runs

SHAPE = KVShape(num_layers=2, num_heads=2, head_dim=3, dtype=torch.float64)
HQ, PAGE, NUM_PAGES, ROWS = 4, 4, 24, 12


@dataclass
class Both:
    """The same sequences in pages and as whole tensors."""

    cache: PagedCache = field(default_factory=lambda: PagedCache(SHAPE, NUM_PAGES, page_tokens=PAGE))
    judge: WholeCache = field(default_factory=lambda: WholeCache(SHAPE, ROWS))
    open: dict[int, Sequence] = field(default_factory=dict)
    passes: int = 0

    @property
    def free_row(self) -> int | None:
        return next((row for row in range(ROWS) if row not in self.open), None)

    def add(self, tokens: int, of: int | None = None) -> int | None:
        """A new or forked sequence, where there is room."""
        row = self.free_row
        if row is None or not self.cache.room_for(tokens):
            return None
        if of is None:
            self.open[row] = self.cache.open(tokens)
        else:
            self.open[row] = self.cache.fork(self.open[of], tokens)
            self.judge.fork(of, row)
        return row

    def close(self, row: int) -> None:
        self.cache.close(self.open.pop(row))
        self.judge.forget(row)

    def read(self, lengths: dict[int, int]) -> None:
        """One pass, as far as was granted, in both; they agree in every layer."""
        granted = {row: min(n, self.open[row].granted - self.open[row].tokens) for row, n in lengths.items()}
        rows = [row for row, length in granted.items() if length]
        if not rows:
            return
        counts = [granted[row] for row in rows]
        ours = self.cache.of_pass([self.open[row] for row in rows], counts)
        theirs = self.judge.of_pass(rows, counts)
        assert torch.equal(ours.positions, theirs.positions)
        generator = torch.Generator().manual_seed(self.passes)
        self.passes += 1
        for layer in range(SHAPE.num_layers):
            qkv = torch.randn(sum(counts), HQ + 4, SHAPE.head_dim, generator=generator, dtype=SHAPE.dtype)
            q, k, v = qkv.split([HQ, 2, 2], dim=1)
            expected = theirs.attend(layer, q, k, v, 0.7)
            torch.testing.assert_close(ours.attend(layer, q, k, v, 0.7), expected, rtol=1e-12, atol=1e-12)

    def check(self) -> None:
        """What each holds; and no page is lost or found."""
        for row, sequence in self.open.items():
            for ours, theirs in zip(self.cache.export(sequence), self.judge.row(row), strict=True):
                assert torch.equal(ours, theirs)
        held = {int(page) for sequence in self.open.values() for page in sequence.pages}
        assert self.cache.num_free == NUM_PAGES - len(held)


CHOICES = st.lists(
    st.tuples(st.sampled_from(["open", "fork", "extend", "shrink", "read", "close"]), st.integers(0, 2**30))
)


@settings(max_examples=150, deadline=None)
@given(CHOICES)
def test_whatever_is_done_sequences_hold_what_they_read_and_every_page_comes_back(choices):
    both = Both()
    for action, number in choices:
        rows = list(both.open)
        row = rows[number % len(rows)] if rows else None
        if action == "open":
            both.add(1 + number % 23)
        elif row is None:
            continue
        elif action == "fork":
            both.add(1 + number % 9, of=row)
        elif action == "extend" and both.cache.room_for(number % 11):
            both.cache.extend(both.open[row], number % 11)
        elif action == "shrink":
            both.cache.extend(both.open[row], -(number % (both.open[row].granted - both.open[row].tokens + 1)))
        elif action == "read":
            both.read({each: (number >> index) % 8 for index, each in enumerate(rows)})
        elif action == "close":
            both.close(row)
        both.check()
    for row in list(both.open):
        both.close(row)
    both.check()
    assert both.cache.num_free == NUM_PAGES


@pytest.mark.parametrize("tokens", [0, 1, 4, 6, 8])
def test_a_fork_copies_at_most_the_last_page(tokens):
    both = Both()
    document = both.add(12)
    both.read({document: tokens})
    free = both.cache.num_free
    forks = [both.add(3, of=document) for _ in range(3)]
    # What each may add, and its copy of a last page that is partly filled; no more, however long the document is.
    assert free - both.cache.num_free == 3 * -(-(tokens % PAGE + 3) // PAGE)
    both.read({fork: index + 1 for index, fork in enumerate(forks)} | {document: 4})
    both.check()
    both.close(document)
    both.read(dict.fromkeys(forks, 1))
    both.check()


@pytest.mark.parametrize("attention", [ByRuns, Gathered])
def test_answers_of_several_documents_and_a_document_share_a_pass(attention, monkeypatch):
    monkeypatch.setattr(page_attention, "QUERIES", 3)
    both = Both(PagedCache(SHAPE, NUM_PAGES, page_tokens=PAGE, attention=attention))
    documents = [both.add(20) for _ in range(3)]
    both.read(dict(zip(documents, (9, 1, 16), strict=True)))
    answers = [both.add(4, of=document) for document in (*documents, documents[0])]
    both.read(dict.fromkeys(answers, 2) | {documents[1]: 7})
    both.read(dict.fromkeys(answers, 1))
    both.check()


def test_what_was_exported_in_parts_opens_elsewhere_in_pages_that_are_no_neighbors():
    both = Both()
    row = both.add(14)
    both.read({row: 6})
    first = both.cache.export(both.open[row])
    both.read({row: 5})
    parts = zip(first, both.cache.export(both.open[row], since=6), strict=True)
    keys, values = (torch.cat(part, dim=1) for part in parts)
    other = PagedCache(SHAPE, 8, page_tokens=PAGE)
    kept = [other.open(PAGE) for _ in range(8)]
    for each in kept[::2]:
        other.close(each)
    scattered = other.open(14)
    other.load(scattered, keys, values)
    assert len(runs(scattered.pages, PAGE, 11)) == 3
    for ours, theirs in zip(other.export(scattered, since=3), both.judge.row(row), strict=True):
        assert torch.equal(ours, theirs[:, 3:])


def test_a_sequence_gets_neighbors_where_there_are_any_and_grows_behind_itself():
    pool = PagePool(20)
    first, second, third = pool.take(3), pool.take(2), pool.take(5)
    assert [*first, *second, *third] == list(range(10))
    pool.release(second)
    # The gap of two is left to those whom it is large enough for.
    assert list(pool.take(4)) == [10, 11, 12, 13] and list(pool.take(2)) == [3, 4]
    assert list(pool.take(2, behind=13)) == [14, 15] and pool.num_free == 4
    pool.release(first)
    assert list(pool.take(6)) == [16, 17, 18, 19, 0, 1]


def test_runs_end_with_the_tokens():
    pages = np.array([5, 6, 2, 3, 9])
    assert runs(pages, 4, 0) == []
    assert runs(pages, 4, 3) == [slice(20, 23)]
    assert runs(pages, 4, 8) == [slice(20, 28)]
    assert runs(pages, 4, 17) == [slice(20, 28), slice(8, 16), slice(36, 37)]


def test_more_than_was_granted_is_not_read():
    cache = PagedCache(SHAPE, 4, page_tokens=PAGE)
    sequence = cache.open(5)
    with pytest.raises(AssertionError, match="granted"):
        cache.of_pass([sequence], [6])
