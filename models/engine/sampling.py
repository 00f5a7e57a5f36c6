"""Choosing the next token, and detecting answers that loop."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LOOP_MAX_PERIOD = 64
LOOP_MIN_TOKENS = 32
LOOP_MIN_REPEATS = 4


@dataclass(frozen=True)
class Sampling:
    """How one answer is decoded."""

    max_tokens: int
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    seed: int = 0


class Sampler:
    """Draws the tokens of one answer from its own random stream, so that no other document can change them."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._random = np.random.default_rng(sampling.seed)

    def choose(self, logits: np.ndarray) -> int:
        """One token from logits (V,) in float64."""
        if self.sampling.temperature == 0:
            return int(logits.argmax())
        scaled = logits / self.sampling.temperature
        probabilities = np.exp(scaled - scaled.max())
        probabilities /= probabilities.sum()
        order = np.argsort(-probabilities, kind="stable")
        cumulative = probabilities[order].cumsum()
        # The likeliest token stays even where it alone is over top_p.
        kept = max(1, int(np.searchsorted(cumulative, self.sampling.top_p)) + 1)
        drawn = self._random.random() * cumulative[:kept][-1]
        return int(order[min(int(np.searchsorted(cumulative[:kept], drawn, side="right")), kept - 1)])


def choose_all(logits: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """One token for each row of logits (S, V)."""
    if all(sampler.sampling.temperature == 0 for sampler in samplers):
        return logits.argmax(-1).tolist()
    rows = logits.to("cpu", torch.float64).numpy()
    return [sampler.choose(row) for sampler, row in zip(samplers, rows, strict=True)]


def loop_start(tokens: Sequence[int]) -> int | None:
    """Where an answer stops saying anything new: the end of the first turn of a loop, or None.

    A loop is a unit of at most `LOOP_MAX_PERIOD` tokens that ends the answer at least `LOOP_MIN_REPEATS` times and
    over at least `LOOP_MIN_TOKENS` tokens.
    """
    for period in range(1, LOOP_MAX_PERIOD + 1):
        span = max(LOOP_MIN_REPEATS * period, LOOP_MIN_TOKENS)
        if span > len(tokens):
            continue
        start = len(tokens) - period
        while start > 0 and tokens[start - 1] == tokens[start - 1 + period]:
            start -= 1
        if len(tokens) - start >= span:
            return start + period
    return None
