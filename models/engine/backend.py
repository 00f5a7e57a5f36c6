"""What the engine needs of a model that runs in this process. Token ids in, logits out; what a state is stays inside.

A backend holds sequences: documents that are being read, and answers, which are forks of them. Whether it keeps a
recurrent state of constant size for each, a cache that grows with every token, or both, is its own business: the engine
asks whether there is room, and names sequences by their handles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NewType, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # what is served without a model is served without torch
    from torch import Tensor

Handle = NewType("Handle", int)
"""A sequence that a backend holds."""
SavedState: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""A sequence as named arrays: all that is needed to continue it elsewhere.

Those that `grows` names grow with the tokens: their axis 1 is the tokens of the sequence, a preamble's included, and
what has been written of a token never changes. All others are of whatever shapes, the same after any number of
tokens, and may change with each. bfloat16, which numpy lacks, is an array of its bits, uint16; there are no other
uint16 arrays.
"""
GROWING = ("keys", "values")
"""Names of arrays that grow: of a paged cache (Z, T, H, D), of Z layers with attention, T tokens, H heads of keys and
values, D channels each. Where layers differ in shape, each has its own, (1, T, H, D) by `keys.LAYER`."""


def grows(name: str) -> bool:
    """Whether axis 1 of this array of a SavedState is the tokens of the sequence."""
    return name.partition(".")[0] in GROWING


def tokens_held(state: SavedState) -> int | None:
    """Tokens of the sequence; None where nothing of it grows."""
    return next((array.shape[1] for name, array in state.items() if grows(name)), None)


@dataclass(frozen=True)
class Limits:
    """What a model can take."""

    chunk: int
    """Segments of a sequence that are cut at multiples of so many tokens give the same numbers as the whole."""
    max_context: int | None = None
    """Tokens that a sequence may come to; None where there is no limit, since nothing grows with them."""
    least_share: int = field(default=0, kw_only=True)
    """Tokens of a document in a pass, if it is given any and has so many: fewer cost more in moving its state than they
    gain beside others'."""
    passes_ahead: int = field(default=0, kw_only=True)
    """Passes that the engine may ask for while another is under way: 1 where `run` returns before the device is done,
    which then need not wait for the host. A token that is read after the last of an answer is read in vain."""


class Kernels(NamedTuple):
    """What runs a model's passes."""

    name: str
    """`torch`, `triton` for ours, or `mamba-ssm`."""
    error: float | None = None
    """Norm of the difference from plain PyTorch over the norm of its logits, in a test on the device; None for plain
    PyTorch."""


@dataclass(frozen=True, eq=False)
class Work:
    """The next tokens of one sequence. A pass holds at most one of each sequence."""

    handle: Handle
    tokens: "np.ndarray | Tensor"
    """(L,) int, at least one: of a document or a prompt an array, of an answer a tensor on the device, whose number the
    host may not know yet."""
    wants_logits: bool = False
    """Whether the logits after the last of them are asked for."""
    is_decode: bool = False
    """Whether this is one token of an answer under way, whose logits are wanted: a backend may have a path of its own
    for those. One that has must take it for all of them and for nothing else: the numbers of a sequence must not depend
    on what runs beside it."""


class Mark(Protocol):
    """A point in a device's work: the end of all that it had been asked when this was made."""

    def wait(self) -> None:
        """Until the device has come to it. Raises what broke the device meanwhile."""

    def ended_ns(self) -> int | None:
        """When the device came to it, on this process's monotonic clock, having waited for that; None where the device
        broke."""


class Backend(Protocol):
    """A model, and memory for the sequences that it is reading and answering. Used by the engine's thread alone.

    Calls may return before the device is done; what broke it may then be raised by a later one.
    """

    @property
    def limits(self) -> Limits:
        """What the model can take."""

    @property
    def kernels(self) -> Kernels:
        """What runs its passes."""

    @property
    def nbytes(self) -> int:
        """Of one sequence's state, at its smallest where it grows with the tokens."""

    def warm_up(self, step_tokens: int, decode_rows: int) -> None:
        """Take all the memory that passes of up to `step_tokens` tokens, or of up to `decode_rows` answers, will ever
        need, so that it does not grow with a document."""

    def room_for(self, tokens: int) -> bool:
        """Whether one more sequence fits that may come to so many tokens, beside those open and what was granted to
        them. The engine asks for 0 where `max_context` is None."""

    def open(self, tokens: int, start: SavedState | None = None) -> Handle:
        """A sequence that may come to so many tokens, for which there is room: empty, or as it was exported.

        Raises StateError where `start` is not of this backend.
        """

    def fork(self, handle: Handle, tokens: int) -> Handle:
        """A copy that continues by itself and may come to so many tokens more, for which there is room."""

    def extend(self, handle: Handle, tokens: int) -> None:
        """Let a sequence come to so many tokens more than was granted to it, for which there is room; or to fewer, of
        a number below 0."""

    def run(self, work: Sequence[Work]) -> "Tensor":
        """One pass: reads the tokens of each work into its sequence. In `work`, prefill comes before decode.

        Returns the logits (n, vocabulary) fp32, on the device, of those that want them, in their order.
        """

    def export(self, handle: Handle, since: int = 0) -> SavedState:
        """A copy of a sequence as it is now. Arrays that grow leave out the first `since` tokens."""

    def close(self, handle: Handle) -> None:
        """Forget a sequence and free its memory."""

    def mark(self) -> Mark | None:
        """The end of what the device has been asked so far; None where it has done all of that."""
