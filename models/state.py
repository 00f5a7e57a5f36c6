"""The recurrent state of documents in flight: a value that goes into the model and comes out of it.

S = documents (rows), Z = layers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from models.transfer import on_device


@dataclass(frozen=True)
class State:
    """What a model remembers after the tokens it has read: named tensors (Z, S, ...), by mixer.

    The state is *after* a token: feed the next token with it, never the last one again. Names, shapes and meanings
    are those of the architecture's `state_shapes`. All tensors are fp32 unless the model is fp64.
    """

    tensors: Mapping[str, Tensor]

    @staticmethod
    def zeros(
        shapes: Mapping[str, tuple[int, ...]],
        num_layers: int,
        num_rows: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> "State":
        """The state before the first token, for `num_rows` documents."""
        return State(
            {
                name: torch.zeros((num_layers, num_rows, *shape), dtype=dtype, device=device)
                for name, shape in shapes.items()
            }
        )

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    @property
    def num_rows(self) -> int:
        """S, of a state with all layers."""
        return next(iter(self.tensors.values())).shape[1]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def map(self, change: Callable[[Tensor], Tensor]) -> "State":
        """The same names with changed tensors."""
        return State({name: change(tensor) for name, tensor in self.tensors.items()})

    def layer(self, index: int) -> "State":
        """One layer's part, a view without the leading Z."""
        return self.map(lambda tensor: tensor[index])

    def gather(self, rows: Sequence[int] | Tensor, dim: int = 1) -> "State":
        """A copy of the given rows, in that order; a row may be named twice, which forks it.

        Rows are axis 1, or axis 0 of a single layer's part.
        """
        index = self._index(rows)
        return self.map(lambda tensor: tensor.index_select(dim, index))

    def scatter_(self, rows: Sequence[int] | Tensor, values: "State", dim: int = 1) -> None:
        """Overwrite the given rows in place with `values`, row by row."""
        index = self._index(rows)
        for name, tensor in self.tensors.items():
            tensor.index_copy_(dim, index, values[name])

    def row(self, index: int) -> "State":
        """One row, a view (Z, 1, ...)."""
        return self.map(lambda tensor: tensor.narrow(1, index, 1))

    def copy_(self, values: "State") -> None:
        """Overwrite all of it. Of a `row`, without the index of `scatter_`, which would have to get to the device."""
        for name, tensor in self.tensors.items():
            tensor.copy_(values[name])

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """A copy on the host."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.tensors.items()}

    def detach(self) -> "State":
        """The same numbers, through which no gradient flows."""
        return self.map(Tensor.detach)

    @staticmethod
    def stack_layers(layers: Sequence["State"]) -> "State":
        """Put the parts of `layer` back together."""
        return State({name: torch.stack([part[name] for part in layers]) for name in layers[0]})

    @staticmethod
    def concatenate(parts: Sequence["State"]) -> "State":
        """Rows of several states, one after the other."""
        return State({name: torch.cat([part[name] for part in parts], dim=1) for name in parts[0]})

    def _index(self, rows: Sequence[int] | Tensor) -> Tensor:
        device = next(iter(self.tensors.values())).device
        return rows.to(device) if isinstance(rows, Tensor) else on_device(rows, torch.int64, device)
