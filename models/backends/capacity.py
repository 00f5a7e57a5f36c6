"""How many documents an engine can hold beside its weights."""

import torch

from configs.errors import ModelError
from models.backends.passes import Passes
from models.mamba.language_model import MambaLM

RESERVE_BYTES = 1 << 30
"""Left to the libraries on a GPU: cuBLAS, captured graphs, what the allocator loses between blocks."""
LOGITS_BYTES_PER_PLACE = 2 + 4 + 4
"""Of one row: as they come, in fp32, and a copy for choosing."""


def slots_that_fit(model: MambaLM, passes: Passes, wanted: int, step_tokens: int) -> int:
    """Documents in flight, at most `wanted`, for which a GPU has memory now. All of `wanted` on a CPU.

    A document costs two states and two rows of logits, its own and an answer's; the workspace of a pass is measured
    by reading one, which costs no more for many documents than for one. Raises ModelError where not one fits.
    """
    device = model.lm_head.weight.device
    if device.type != "cuda":
        return wanted
    state, logits = model.empty_state(1).nbytes, model.config.padded_vocab_size * LOGITS_BYTES_PER_PLACE
    workspace = _workspace(model, passes, max(step_tokens, model.chunk_size))
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(device)
    fit = (free - workspace - RESERVE_BYTES) // (2 * (state + logits))
    if fit < 1:
        raise ModelError(
            f"the GPU has {free / 2**30:.1f} of {total / 2**30:.1f} GiB free beside the model's weights, and a pass of "
            f"{step_tokens} tokens takes {workspace / 2**30:.1f}: no document fits; lower engine.step_tokens"
        )
    return min(wanted, fit)


@torch.inference_mode()
def _workspace(model: MambaLM, passes: Passes, step_tokens: int) -> int:
    """Bytes that a prefill pass takes for a while."""
    device = model.lm_head.weight.device
    state, tokens = model.empty_state(1), torch.zeros(step_tokens, dtype=torch.long, device=device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    passes.prefill_(tokens, [0, step_tokens], state, [0], tokens[:1])
    return torch.cuda.max_memory_allocated(device) - before
