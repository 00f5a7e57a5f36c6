"""How well a model expects a document: the loss of each token, with the state carried, or emptied every so often."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from models.backends.kernels import choose
from models.backends.passes import Passes
from models.mamba.language_model import MambaLM


@torch.no_grad()
def losses(
    model: MambaLM,
    tokens: np.ndarray,
    segment_tokens: int,
    forget_every: int | None = None,
    passes: Passes | None = None,
) -> Iterator[np.ndarray]:
    """Of each segment in turn, the cross entropy (l,) fp32, in nats, of its tokens given all before them.

    tokens (L,) int of one document; the first has no loss. Memory is that of one segment. `forget_every`, a multiple of
    `segment_tokens`, empties the state so often: what a short memory would give. `passes` run the model, by default
    those that `choose` finds: find them once for several documents, since it tests kernels each time.
    """
    passes, state = passes or choose(model).passes, model.empty_state(1)
    ids = torch.from_numpy(tokens.astype(np.int64)).to(model.lm_head.weight.device)
    for start in range(0, len(ids) - 1, segment_tokens):
        if forget_every and start % forget_every == 0:
            state = model.empty_state(1)
        inputs = ids[start : min(start + segment_tokens, len(ids) - 1)]
        everywhere = torch.arange(len(inputs), device=inputs.device)
        logits = passes.prefill_(inputs, [0, len(inputs)], state, [0], everywhere)
        yield F.cross_entropy(logits.float(), ids[start + 1 : start + 1 + len(inputs)], reduction="none").cpu().numpy()


def losses_by_token(
    model: MambaLM,
    tokens: np.ndarray,
    segment_tokens: int,
    forget_every: int | None = None,
    passes: Passes | None = None,
) -> np.ndarray:
    """`losses` of a whole document (L - 1,)."""
    return np.concatenate(list(losses(model, tokens, segment_tokens, forget_every, passes)))
