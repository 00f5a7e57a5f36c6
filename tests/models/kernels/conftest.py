"""Kernels, which run in Triton's interpreter where there is no GPU (`tests/models/conftest.py`)."""

import os
from typing import Any

import numpy as np
import pytest
import torch


def scan_by_rows(self: Any, inputs: list[Any]) -> list[Any]:
    """What the interpreter's own scan does number by number, which takes minutes."""
    arrays = [np.moveaxis(each.handle.data, self.axis, 0) for each in inputs]
    results, carried = [np.empty_like(array) for array in arrays], ()
    for place in range(len(arrays[0])):
        row = [self.to_tensor(array[place], each.dtype) for array, each in zip(arrays, inputs, strict=True)]
        carried = self.combine_fn.fn(*carried, *row) if carried else row
        for result, value in zip(results, carried, strict=True):
            result[place] = value.handle.data
    return [
        self.to_tensor(np.moveaxis(result, 0, self.axis), each.dtype)
        for result, each in zip(results, inputs, strict=True)
    ]


@pytest.fixture(scope="session", autouse=True)
def scans_are_interpreted_by_rows():
    if os.environ.get("TRITON_INTERPRET") == "1":
        from triton.runtime.interpreter import ScanOps

        ScanOps.generic_scan = scan_by_rows


@pytest.fixture
def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
