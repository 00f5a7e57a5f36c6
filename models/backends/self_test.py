"""How far kernels are from plain PyTorch on this very device: the same tokens from the same states through both."""

from itertools import accumulate

import torch
from torch import Tensor

from models.backends.passes import Passes
from models.mamba.language_model import MambaLM

USED, LENGTHS, ROWS = (3, 5, 2), (150, 1, 70), (2, 0, 3)
"""Three documents, each from a state that is used already: of several chunks, of one token, and one that ends within
a chunk."""
NUM_SLOTS = 4
LIMITS = {torch.float32: 1e-3, torch.float64: 1e-3}
OTHER_LIMIT = 0.15
"""Of 16 bits: two ways of rounding differ by 0.02 to 0.04 over 24 layers; a wrong formula by about 1."""


def limit(model: MambaLM) -> float:
    """The largest `difference` that rounding explains."""
    return LIMITS.get(model.lm_head.weight.dtype, OTHER_LIMIT)


@torch.inference_mode()
def difference(model: MambaLM, passes: Passes) -> float:
    """Norm of the difference of all logits over the norm of the model's own; infinite where something is no number."""
    return relative(_logits(passes, model), _logits(model, model))


def relative(actual: Tensor, expected: Tensor) -> float:
    """Norm of the difference over the norm of what is expected; infinite where something is no number."""
    error = ((actual - expected).norm() / expected.norm()).item()
    return round(error, 6) if actual.isfinite().all() else float("inf")


def _logits(passes: Passes, model: MambaLM) -> Tensor:
    """Of a pack from used states, its last document read in two pieces, and of two steps of decoding."""
    slots, rows, parts = model.empty_state(NUM_SLOTS), list(ROWS), []
    middle = LENGTHS[-1] // 2
    packs = [(USED, rows), ((*LENGTHS[:-1], middle), rows), ((LENGTHS[-1] - middle,), rows[-1:])]
    for number, (lengths, some) in enumerate(packs):
        bounds = [0, *accumulate(lengths)]
        tokens = _tokens(bounds[-1], number, model)
        every = torch.arange(len(tokens), device=tokens.device)
        parts.append(passes.prefill_(tokens, bounds, slots, some, every))
    parts += [passes.decode_(_tokens(len(rows), step, model), slots, rows).clone() for step in (7, 8)]
    return torch.cat(parts).double()


def _tokens(count: int, seed: int, model: MambaLM) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, model.config.vocab_size, (count,), generator=generator)
    return tokens.to(model.lm_head.weight.device)
