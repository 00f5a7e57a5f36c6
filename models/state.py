"""The recurrent state of documents in flight: a value that goes into the model and comes out of it.

S = documents (rows), Z = layers, H = heads, P = head width, N = state channels, A = rotary angles.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from models.architecture import MambaConfig


@dataclass(frozen=True)
class State:
    """What a Mamba-3 remembers after the tokens it has read. All tensors are fp32 unless the model is fp64.

    The state is *after* a token: feed the next token with it, never the last one again.
    """

    angle: Tensor
    """(Z, S, H, A) cumulative rotary angle, in [0, 2 pi)."""
    ssm: Tensor
    """(Z, S, H, P, N) the recurrent state h."""
    k: Tensor
    """(Z, S, H, N) B of the last token, with bias and rotation: the trapezoid's other end."""
    v: Tensor
    """(Z, S, H, P) x of the last token."""

    @staticmethod
    def zeros(
        config: MambaConfig, num_rows: int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> "State":
        """The state before the first token, for `num_rows` documents."""
        mixer, heads = config.ssm_cfg, config.num_heads
        shapes = ((mixer.num_angles,), (mixer.headdim, mixer.d_state), (mixer.d_state,), (mixer.headdim,))
        return State(
            *(torch.zeros((config.n_layer, num_rows, heads, *shape), dtype=dtype, device=device) for shape in shapes)
        )

    @property
    def num_rows(self) -> int:
        return self.ssm.shape[1]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors())

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.angle, self.ssm, self.k, self.v

    def layer(self, index: int) -> "State":
        """One layer's part, without the leading Z."""
        return State(*(tensor[index] for tensor in self.tensors()))

    def gather(self, rows: Sequence[int] | Tensor) -> "State":
        """A copy of the given rows, in that order; a row may be named twice, which forks it."""
        index = torch.as_tensor(rows, device=self.ssm.device)
        return State(*(tensor.index_select(1, index) for tensor in self.tensors()))

    def scatter_(self, rows: Sequence[int] | Tensor, values: "State") -> None:
        """Overwrite the given rows in place with `values`, row by row."""
        index = torch.as_tensor(rows, device=self.ssm.device)
        for tensor, value in zip(self.tensors(), values.tensors(), strict=True):
            tensor.index_copy_(1, index, value)

    def zero_(self, rows: Sequence[int]) -> None:
        """Forget the given rows in place."""
        index = torch.as_tensor(rows, device=self.ssm.device)
        for tensor in self.tensors():
            tensor.index_fill_(1, index, 0.0)

    def detach(self) -> "State":
        return State(*(tensor.detach() for tensor in self.tensors()))

    @staticmethod
    def stack_layers(layers: Sequence["State"]) -> "State":
        """Put the parts of `layer` back together."""
        return State(*(torch.stack([getattr(part, field.name) for part in layers]) for field in fields(State)))

    @staticmethod
    def concatenate(parts: Sequence["State"]) -> "State":
        """Rows of several states, one after the other."""
        return State(*(torch.cat([getattr(part, field.name) for part in parts], dim=1) for field in fields(State)))
