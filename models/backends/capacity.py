"""How many documents an engine can hold beside its weights, and how many pages of keys and values."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from configs.errors import ModelError
from configs.hardware import RESERVE_BYTES
from models.backends.attention import AttentionOf
from models.backends.hybrid import pages_for
from models.backends.passes import Passes
from models.hybrid.language_model import HybridLM
from models.hybrid.paged_cache import PAGE_TOKENS, PagedCache
from models.mamba.language_model import MambaLM

LOGITS_BYTES_PER_PLACE = 2 + 4 + 4
"""Of one row: as they come, in fp32, and a copy for choosing."""
CPU_SHARE = 4
"""On a CPU keys and values take at most a quarter of an actor's memory: of the machine's, what its threads are of the
machine's processors."""
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")
"""Of the container that this process is in."""


class Fit(NamedTuple):
    """What a device holds."""

    num_slots: int
    """Documents in flight."""
    num_pages: int
    """Of keys and values, for all of them and their answers."""


def slots_that_fit(model: MambaLM, passes: Passes, wanted: int, step_tokens: int) -> int:
    """Documents in flight, at most `wanted`, for which a GPU has memory now. All of `wanted` on a CPU.

    A document costs two states and two rows of logits, its own and an answer's; the workspace of a pass is measured
    by reading one, which costs no more for many documents than for one. Raises ModelError where not one fits.
    """
    device = model.lm_head.weight.device
    if device.type != "cuda":
        return wanted
    state, tokens = model.empty_state(1), _tokens(model, step_tokens)
    memory = _measured(device, lambda: passes.prefill_(tokens, [0, len(tokens)], state, [0], tokens[:1]))
    fit = memory.left // (2 * (state.nbytes + model.config.padded_vocab_size * LOGITS_BYTES_PER_PLACE))
    if fit < 1:
        raise memory.too_small(step_tokens)
    return min(wanted, fit)


def pages_that_fit(
    model: HybridLM,
    attention: AttentionOf,
    wanted: int,
    step_tokens: int,
    preamble_tokens: int = 0,
    cache_bytes: int | None = None,
) -> Fit:
    """Documents in flight, at most `wanted`, and pages for all of them, as far as there is memory now.

    On a GPU pages get what is left beside two states and two rows of logits for each document, which take at most half;
    on a CPU a share of the machine's memory (`CPU_SHARE`); `cache_bytes` instead where it is given. Raises ModelError
    where a document of one token and its answer do not fit.
    """
    device, page = model.lm_head.weight.device, model.kv_shape.nbytes_per_token * PAGE_TOKENS
    memory = _of_cpu()
    if device.type == "cuda":
        memory = _measured(device, lambda: read(model, attention, _tokens(model, step_tokens)))
    slots, left = wanted, memory.left
    if device.type == "cuda":
        cost = 2 * (model.empty_state(1).nbytes + model.config.vocab_size * LOGITS_BYTES_PER_PLACE)
        slots = min(wanted, left // (2 if page else 1) // cost)
        left -= slots * cost
    share = left if cache_bytes is None else cache_bytes
    pages = share // page if page else 0
    if slots < 1:
        raise memory.too_small(step_tokens)
    if page and pages < (least := pages_for(1) + pages_for(preamble_tokens)):
        raise ModelError(
            f"there are {share / 2**30:.3g} GiB for keys and values: {pages} pages of {PAGE_TOKENS} tokens, of "
            f"{page / 2**20:.2g} MiB each, where the shortest document and its answer take {least}; raise "
            "engine.kv_cache_gib, or on a GPU lower engine.step_tokens"
        )
    if model.config.max_context is not None:
        pages = min(pages, slots * pages_for(model.config.max_context) + pages_for(preamble_tokens))
    return Fit(slots, pages)


def bytes_that_fit(device: torch.device) -> int:
    """For the sequences of a model whose passes we do not know: what a GPU has free now beside a reserve, half of it
    for passes; on a CPU a share of the machine's memory."""
    if device.type != "cuda":
        return _of_cpu().left
    torch.cuda.empty_cache()
    return (torch.cuda.mem_get_info(device)[0] - RESERVE_BYTES) // 2


class _Memory(NamedTuple):
    """Bytes beside a model's weights."""

    total: int
    free: int
    workspace: int
    """That a prefill pass takes for a while."""

    @property
    def left(self) -> int:
        return self.free - self.workspace

    def too_small(self, step_tokens: int) -> ModelError:
        return ModelError(
            f"the GPU has {self.free / 2**30:.1f} of {self.total / 2**30:.1f} GiB free beside the model's weights, and "
            f"a pass of {step_tokens} tokens takes {self.workspace / 2**30:.1f}: no document fits; lower "
            "engine.step_tokens"
        )


def cpu_cache_bytes(num_threads: int) -> int:
    """Of keys and values of an actor with so many threads, where nobody sets it: a part of its share of the machine."""
    return _cpu_bytes() * num_threads // (os.cpu_count() or 1) // CPU_SHARE


def _of_cpu() -> _Memory:
    return _Memory(_cpu_bytes(), cpu_cache_bytes(torch.get_num_threads()), 0)


def _cpu_bytes() -> int:
    """Of the machine, or of its container."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no container, or none with a limit
        total = min(total, int(MEMORY_LIMIT.read_text(encoding="utf-8")))
    return total


@torch.inference_mode()
def _measured(device: torch.device, read: Callable[[], object]) -> _Memory:
    """Of a GPU, the workspace by what `read` takes."""
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    read()
    workspace = torch.cuda.max_memory_allocated(device) - before
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    return _Memory(total, free, workspace + RESERVE_BYTES)


def read(model: HybridLM, attention: AttentionOf, tokens: Tensor) -> None:
    """A pass over one document (L,), from its beginning."""
    cache = PagedCache(model.kv_shape, pages_for(len(tokens)), tokens.device, attention=attention)
    work = cache.of_pass([cache.open(len(tokens))], [len(tokens)])
    model.prefill_(tokens, [0, len(tokens)], model.empty_state(1), [0], work, tokens[:1])


def _tokens(model: MambaLM | HybridLM, step_tokens: int) -> Tensor:
    """Of a prefill pass (L,)."""
    return torch.zeros(max(step_tokens, model.chunk_size), dtype=torch.long, device=model.lm_head.weight.device)
