"""What runs the layers of Mamba-2 in a model with others: our kernels on a GPU where they are right, else PyTorch.

As other kernels they are compared with plain PyTorch on this very device when a model is loaded.
"""

from itertools import accumulate

import torch
from torch import Tensor

from configs.errors import ModelError
from models.backends import self_test
from models.backends.kernels import PLAIN, Wanted, check_device, is_on_gpu, refuse_difference, unless_refused
from models.engine.backend import Kernels
from models.hybrid.language_model import HybridLM
from models.hybrid.recurrence import Recurrences
from models.mamba import parallel_ssd
from models.mamba.mamba2 import Mamba2Mixer
from models.state import State

USED, LENGTHS, ROWS = (3, 5, 2), (150, 1, 70), (2, 0, 3)
"""Three sequences, each from a state that is used already."""
NUM_SLOTS = 4
LIMITS = {torch.float32: 1e-3, torch.float64: 1e-3}
OTHER_LIMIT = 0.05
"""Of 16 bits, for one layer: two ways of rounding differ by less than 0.01; a wrong formula by about 1."""


def choose(model: HybridLM, wanted: Wanted = "auto") -> Kernels:
    """Puts what runs them into the model. On a GPU ours, where they are right, else plain PyTorch, with a warning.

    Raises ModelError where what is asked for by name does not run the model, or differs here from plain PyTorch.
    """
    if not model.config.mamba_layers or (not is_on_gpu(model) and wanted in ("auto", "torch")):
        return PLAIN
    if wanted != "torch":
        found = unless_refused(lambda: tested(model), wanted, "Mamba-2 in plain PyTorch is slower")
        if found is not None:
            return found
    for mixer in _mixers(model):
        # Chunk by chunk, a GPU would wait for the host.
        mixer.scan = parallel_ssd.scan
    return PLAIN


def tested(model: HybridLM) -> Kernels:
    """Ours, put into the model. Raises ModelError where they do not run it, or give something else than PyTorch."""
    recurrences = ours(model)
    error, what = difference(model, recurrences), "the kernels of Mamba-2 differ"
    refuse_difference(model, what, error, limit_of(model), kernels="triton", of="mamba2")
    model.recurrences = recurrences
    return Kernels("triton", error)


def ours(model: HybridLM) -> Recurrences:
    """For the mixers of that model. Raises ModelError where there is no GPU for them, or they are of other widths."""
    check_device(model)
    from models.kernels.recurrence import TritonRecurrences  # needs Triton, which comes with torch for CUDA alone

    reason = TritonRecurrences.why_not(_mixers(model)[0], model.lm_head.weight.dtype)
    if reason is not None:
        raise ModelError(reason)
    return TritonRecurrences(_mixers(model)[0].num_heads, model.lm_head.weight.device)


def limit_of(model: HybridLM) -> float:
    """The largest `difference` that rounding explains."""
    return LIMITS.get(model.lm_head.weight.dtype, OTHER_LIMIT)


@torch.inference_mode()
def difference(model: HybridLM, recurrences: Recurrences) -> float:
    """Norm of the difference from plain PyTorch over the norm of that; infinite where something is no number."""
    expected, actual = (_outputs(model, each).double() for each in (model.recurrences, recurrences))
    return self_test.relative(actual, expected)


def _outputs(model: HybridLM, recurrences: Recurrences) -> Tensor:
    """Of the first layer: of ragged packs, of a step of decoding, and the states after them."""
    mixer, slots = _mixers(model)[0], model.empty_state(NUM_SLOTS).layer(0)
    weight, generator = model.lm_head.weight, torch.Generator().manual_seed(0)

    def drawn(length: int) -> Tensor:
        return torch.randn((length, model.config.d_model), generator=generator).to(weight.device, weight.dtype)

    parts = []
    for lengths in (USED, LENGTHS):
        recurrence = recurrences.prefill([0, *accumulate(lengths)], ROWS, weight.device)
        parts.append(recurrence(mixer, drawn(sum(lengths)), slots))
    parts.append(recurrences.decode(ROWS, weight.device)(mixer, drawn(len(ROWS)), slots))
    return torch.cat([*(part.flatten() for part in parts), _flat(slots)])


def _flat(slots: State) -> Tensor:
    return torch.cat([slots[name].flatten() for name in sorted(slots)])


def _mixers(model: HybridLM) -> list[Mamba2Mixer]:
    return [branch.mixer for branch in model.branches if isinstance(branch.mixer, Mamba2Mixer)]
