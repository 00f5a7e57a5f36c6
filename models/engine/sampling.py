"""Choosing the next token, and detecting answers that loop."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from models.engine.request import Sampling
from models.transfer import on_device

ROWS_AT_ONCE = 16
"""Rows that are sorted together: of 128K tokens they take some 100 MB for a moment."""
LOOP_MAX_PERIOD = 64
LOOP_MIN_TOKENS = 32
LOOP_MIN_REPEATS = 4


class Sampler:
    """The random stream of one answer, which no other document can change."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._random = np.random.default_rng(sampling.seed)

    def draw(self) -> float:
        """The next number of the stream, from 0 up to 1."""
        return self._random.random()


def choose_all(logits: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """One token for each row of logits (S, V): (S,) int64, found on their device without waiting for it."""
    chosen = logits.argmax(-1)
    sampled = [row for row, sampler in enumerate(samplers) if sampler.sampling.temperature > 0]
    for start in range(0, len(sampled), ROWS_AT_ONCE):
        places = sampled[start : start + ROWS_AT_ONCE]
        rows = on_device(places, torch.int64, logits.device)
        drawn = _drawn(logits.index_select(0, rows), [samplers[row] for row in places])
        chosen.index_copy_(0, rows, drawn)
    return chosen


def _drawn(logits: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """A token for each row (S, V), in float64: the likeliest ones, up to top_p of the probability, share the draw."""
    wanted = [(each.sampling.temperature, each.sampling.top_p, each.draw()) for each in samplers]
    columns = on_device([value for each in zip(*wanted, strict=True) for value in each], torch.float64, logits.device)
    temperature, top_p, share = columns.view(3, -1, 1)
    probabilities, order = (logits.double() / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    cumulative = probabilities.cumsum(-1)
    # The likeliest token stays even where it alone is over top_p.
    last = torch.searchsorted(cumulative, top_p).clamp(max=logits.shape[-1] - 1)
    drawn = share * cumulative.gather(-1, last)
    place = torch.minimum(torch.searchsorted(cumulative, drawn, right=True), last)
    return order.gather(-1, place)[:, 0]


def loop_start(tokens: Sequence[int]) -> int | None:
    """Where an answer stops saying anything new: the end of the first turn of a loop, or None.

    A loop is a unit of at most `LOOP_MAX_PERIOD` tokens that ends the answer at least `LOOP_MIN_REPEATS` times and
    over at least `LOOP_MIN_TOKENS` tokens.
    """
    for period in _periods(tokens):
        span = max(LOOP_MIN_REPEATS * period, LOOP_MIN_TOKENS)
        if span > len(tokens):
            return None
        start = len(tokens) - period
        while start > 0 and tokens[start - 1] == tokens[start - 1 + period]:
            start -= 1
        if len(tokens) - start >= span:
            return start + period
    return None


def _periods(tokens: Sequence[int]) -> Iterator[int]:
    """Distances to earlier tokens that equal the last one, ascending: asked for every token of every answer, and so
    found by what list.index does in C."""
    before = tokens[-2 : -2 - LOOP_MAX_PERIOD : -1]
    period = 0
    with suppress(ValueError):
        while True:
            period = before.index(tokens[-1], period) + 1
            yield period
