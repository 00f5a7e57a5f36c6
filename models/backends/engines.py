"""Where a model and an engine come together."""

from collections.abc import Collection, Sequence

from models.backends import attention as attending
from models.backends import recurrence
from models.backends.adapted import Adapted
from models.backends.adapter import TransformersBackend
from models.backends.capacity import bytes_that_fit, pages_that_fit, slots_that_fit
from models.backends.hybrid import HybridBackend
from models.backends.kernels import PLAIN, Wanted, choose
from models.backends.recurrent import RecurrentBackend
from models.engine.backend import Backend, Kernels
from models.engine.engine import Engine
from models.hybrid.language_model import HybridLM
from models.mamba.language_model import MambaLM


def around(
    model: MambaLM | HybridLM | Adapted,
    end_ids: Collection[int],
    num_slots: int,
    step_tokens: int,
    preamble: Sequence[int] = (),
    kernels: Wanted = "auto",
    cache_bytes: int | None = None,
) -> Engine:
    """For as many documents of the wanted `num_slots` as the model's device has memory for. Raises ModelError where it
    has none, or the `kernels` that are asked for do not run it.

    Each of `end_ids` ends an answer, `step_tokens` is the budget of a prefill pass, `preamble` stands before every
    document. `cache_bytes` is memory for keys and values, by default what the device has for them.
    """
    backend: Backend
    if isinstance(model, Adapted):
        slots, memory = num_slots, bytes_that_fit(model.device) if cache_bytes is None else cache_bytes
        backend = TransformersBackend(model, _num_sequences(slots, preamble), memory, len(preamble))
    elif isinstance(model, HybridLM):
        attention, running = attending.choose(model, kernels)
        running = _both(running, recurrence.choose(model, kernels))
        slots, pages = pages_that_fit(model, attention, num_slots, step_tokens, len(preamble), cache_bytes)
        backend = HybridBackend(model, _num_sequences(slots, preamble), pages, len(preamble), attention, running)
    else:
        passes, chosen = choose(model, kernels)
        slots = slots_that_fit(model, passes, num_slots, step_tokens)
        backend = RecurrentBackend(model, _num_sequences(slots, preamble), passes, chosen)
    return Engine(backend, end_ids, slots, step_tokens, preamble)


def _both(attention: Kernels, recurrent: Kernels) -> Kernels:
    """What is told of a model whose layers are run by several."""
    name = next((each.name for each in (attention, recurrent) if each.name != PLAIN.name), PLAIN.name)
    return Kernels(name, max((each.error for each in (attention, recurrent) if each.error is not None), default=None))


def _num_sequences(slots: int, preamble: Sequence[int]) -> int:
    """For each document one and one for an answer; that of the preamble, which all of them fork, has its own."""
    return 2 * slots + bool(preamble)
