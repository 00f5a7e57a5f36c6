"""Where a model and an engine come together."""

from collections.abc import Collection, Sequence

from models.backends.capacity import slots_that_fit
from models.backends.kernels import Wanted, choose
from models.backends.recurrent import RecurrentBackend
from models.engine.engine import Engine
from models.mamba.language_model import MambaLM


def around(
    model: MambaLM,
    end_ids: Collection[int],
    num_slots: int,
    step_tokens: int,
    preamble: Sequence[int] = (),
    kernels: Wanted = "auto",
) -> Engine:
    """For as many documents of the wanted `num_slots` as the model's device has memory for. Raises ModelError where it
    has none, or the `kernels` that are asked for do not run it.

    Each of `end_ids` ends an answer, `step_tokens` is the budget of a prefill pass, `preamble` stands before every
    document.
    """
    passes, chosen = choose(model, kernels)
    slots = slots_that_fit(model, passes, num_slots, step_tokens)
    # For each document a row and one for an answer; the state after the preamble, which all of them fork, has its own.
    backend = RecurrentBackend(model, 2 * slots + bool(preamble), passes, chosen)
    return Engine(backend, end_ids, slots, step_tokens, preamble)
