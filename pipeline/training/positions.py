"""Loss by position over one long document: whether a model still reads as well after very many tokens, and whether
what it carries along is worth anything."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from models.backends.losses import losses
from models.backends.passes import Passes
from models.mamba.language_model import MambaLM

SEGMENT_TOKENS = 1024
MEMORY_TOKENS = 2048
"""How often the state is emptied for comparison."""
FIRST_BOUND = 512
CARRIED = "loss"
FORGETTING = f"loss_forgetting_every_{MEMORY_TOKENS}"


def loss_by_position(
    model: MambaLM,
    passes: Passes,
    tokens: npt.NDArray[np.int32],
    on_read: Callable[[int], None] = lambda tokens: None,
) -> list[dict[str, float]]:
    """Of a document (L,): the mean loss in nats of tokens `from` to `to`, with the state carried from the start and
    with it emptied every MEMORY_TOKENS. `passes` run the model. `on_read` is told of tokens as they are read, all of
    them twice."""

    def heard(segments: Iterator[npt.NDArray[np.float32]]) -> Iterator[npt.NDArray[np.float32]]:
        for segment in segments:
            on_read(len(segment))
            yield segment

    found = (losses(model, tokens, SEGMENT_TOKENS, forget_every, passes) for forget_every in (None, MEMORY_TOKENS))
    return by_position(*(np.concatenate(list(heard(segments))) for segments in found))


def by_position(carried: npt.NDArray[np.float32], forgetting: npt.NDArray[np.float32]) -> list[dict[str, float]]:
    """Means of losses (L - 1,) over ranges of position that double."""
    bounds = [0]
    while (after := max(FIRST_BOUND, 2 * bounds[-1])) < len(carried):
        bounds.append(after)
    return [
        {
            "from": start,
            "to": stop,
            CARRIED: round(float(carried[start:stop].mean()), 3),
            FORGETTING: round(float(forgetting[start:stop].mean()), 3),
        }
        for start, stop in pairwise([*bounds, len(carried)])
    ]
