"""Ridge regression from sums, so that leaving a part of the data out costs a subtraction."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Ridge:
    """Sums of squares and products of weighted rows."""

    def __init__(self, num_inputs: int, num_targets: int) -> None:
        size = num_inputs + 1
        self._squares, self._products = np.zeros((size, size)), np.zeros((size, num_targets))
        self._num_rows = 0

    def add(self, inputs: Array, targets: Array, weights: Array) -> None:
        """More rows."""
        # Single precision for each lot of rows, double for the sums: half the time, and no error that counts.
        rows = np.concatenate([inputs, np.ones((len(inputs), 1))], 1).astype(np.float32)
        weighted = rows * weights[:, None].astype(np.float32)
        self._squares += weighted.T @ rows
        self._products += weighted.T @ targets
        self._num_rows += len(inputs)

    def without(self, other: Self) -> "Ridge":
        """What is left when a part's rows are taken out."""
        rest = Ridge(len(self._squares) - 1, self._products.shape[1])
        rest._squares, rest._products = self._squares - other._squares, self._products - other._products
        rest._num_rows = self._num_rows - other._num_rows
        return rest

    def __iadd__(self, other: Self) -> Self:
        self._squares += other._squares
        self._products += other._products
        self._num_rows += other._num_rows
        return self

    def solve(self, penalty: float) -> Array:
        """(inputs and one, targets). `penalty` is in rows of mean weight one; the intercept pays none."""
        penalties = np.full(len(self._squares), penalty * self._squares[-1, -1] / self._num_rows)
        penalties[-1] = 0
        return np.linalg.solve(self._squares + np.diag(penalties), self._products)
