"""What attends to pages of keys and values: torch's flash attention on a CPU, a kernel of ours on a GPU.

As other kernels, ours is compared with plain PyTorch on this very device when a model is loaded, before it reads a
document; where it differs, what a sequence holds is copied together for PyTorch instead.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from configs.errors import ModelError
from models.backends import self_test
from models.backends.kernels import PLAIN, Wanted, check_device, is_on_gpu, refuse_difference, unless_refused
from models.engine.backend import Kernels
from models.hybrid.language_model import HybridLM
from models.hybrid.page_attention import Attention, ByRuns, Gathered, Piece
from models.hybrid.paged_cache import PAGE_TOKENS, PagedCache

AttentionOf: TypeAlias = Callable[[Sequence[Piece]], Attention]
HELD, LENGTHS, NUM_PASSES = (9000, 0, 700, 3), (1, 150, 20, 40), 2
"""Sequences of a test: one that is read in spans, one that begins, one in the middle of a page, one of few tokens."""
LIMITS = {torch.float32: 1e-4, torch.float64: 1e-4}
OTHER_LIMIT = 0.02
"""Of 16 bits, in which weights and outputs are rounded: 0.003 to 0.005; a wrong mask gives 0.1 to 1."""


class Choice(NamedTuple):
    """A way to attend, and what runs it."""

    attention: AttentionOf
    kernels: Kernels


def choose(model: HybridLM, wanted: Wanted = "auto") -> Choice:
    """On a CPU torch's; on a GPU ours where it is right, else plain PyTorch, with a warning.

    Raises ModelError where what is asked for by name does not run the model, or differs here from plain PyTorch.
    """
    if not is_on_gpu(model) and wanted in ("auto", "torch"):
        return Choice(ByRuns, PLAIN)
    if wanted == "torch" or not model.kv_shape.num_layers:
        return Choice(Gathered, PLAIN)
    if wanted == "mamba-ssm":
        raise ModelError("model.kernels = 'mamba-ssm': mamba-ssm has no attention over pages; set auto")
    found = unless_refused(lambda: tested(model), wanted, "attention in plain PyTorch copies all pages")
    return found or Choice(Gathered, PLAIN)


def tested(model: HybridLM) -> Choice:
    """Ours. Raises ModelError where it does not run, or gives something else than plain PyTorch."""
    attention = ours(model)
    error, what = difference(model, attention), "attention over pages differs"
    refuse_difference(model, what, error, limit_of(model), kernels="triton", of="attention")
    return Choice(attention, Kernels("triton", error))


def ours(model: HybridLM) -> AttentionOf:
    """For the heads of that model. Raises ModelError where there is no GPU for it."""
    check_device(model)
    from models.kernels.paged_attention import PagedAttention  # needs Triton, which comes with torch for CUDA alone

    shape = model.config.attention_layers[0]
    groups, device = shape.num_heads // shape.num_kv_heads, model.lm_head.weight.device
    return partial(PagedAttention, groups=groups, page_tokens=PAGE_TOKENS, device=device)


def limit_of(model: HybridLM) -> float:
    """The largest `difference` that rounding explains."""
    return LIMITS.get(model.lm_head.weight.dtype, OTHER_LIMIT)


@torch.inference_mode()
def difference(model: HybridLM, attention: AttentionOf) -> float:
    """Norm of the difference from plain PyTorch over the norm of that; infinite where something is no number."""
    expected, actual = (torch.cat(list(_outputs(model, each))).double() for each in (Gathered, attention))
    return self_test.relative(actual, expected)


def _outputs(model: HybridLM, attention: AttentionOf) -> Iterator[Tensor]:
    """Of one layer: of ragged packs, and of a step of decoding."""
    shape, heads = model.kv_shape._replace(num_layers=1), model.config.attention_layers[0].num_heads
    device = model.lm_head.weight.device
    most = [held + NUM_PASSES * length + 1 for held, length in zip(HELD, LENGTHS, strict=True)]
    cache = PagedCache(shape, sum(-(-tokens // PAGE_TOKENS) for tokens in most), device, attention=attention)
    sequences = [cache.open(tokens) for tokens in most]
    generator = torch.Generator().manual_seed(0)

    def drawn(*form: int) -> Tensor:
        return torch.randn(form, generator=generator).to(device, shape.dtype)

    for sequence, held in zip(sequences, HELD, strict=True):
        cache.load(sequence, *(drawn(1, held, shape.num_heads, shape.head_dim) for _ in range(2)))
    for lengths in (*[LENGTHS] * NUM_PASSES, (1,) * len(LENGTHS)):
        work = cache.of_pass(sequences, lengths)
        # Views of one projection, as in the model.
        qkv = drawn(sum(lengths), heads + 2 * shape.num_heads, shape.head_dim)
        q, k, v = qkv.split([heads, shape.num_heads, shape.num_heads], dim=1)
        yield work.attend(0, q, k, v, shape.head_dim**-0.5)
