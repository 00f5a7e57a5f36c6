"""States in eight bits: each row of a tensor as int8 beside a scale of its own, a good quarter of fp32's bytes.

Source: absmax quantization by rows, as of LLM.int8() (arXiv 2208.07339), section 2.1. What it does to the logits after
a resume, by position, is in docs/states.md.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.engine.backend import SavedState

LEVELS = 127
SHORTEST_ROW = 16
"""Numbers that a row must have, so that its scale costs little."""
VALUES, SCALE = "/int8/", "/scale/"
"""In names of packed tensors, between the name and the dtype that they had."""

Array = npt.NDArray[Any]


def packed(state: SavedState) -> dict[str, Array]:
    """Tensors that take less. Those with short rows, or with numbers that are none, stay as they are."""
    found: dict[str, Array] = {}
    for name, array in state.items():
        scale = _scale(array)
        if scale is None:
            found[name] = array
        else:
            levels = np.rint(_widened(array) / np.where(scale > 0, scale, 1))
            found[f"{name}{VALUES}{array.dtype}"] = levels.astype(np.int8)
            found[f"{name}{SCALE}{array.dtype}"] = scale
    return found


def unpacked(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The inverse of `packed`, but for what was rounded; also of tensors that never were packed."""
    found: dict[str, Array] = {}
    for name, array in tensors.items():
        plain, is_packed, dtype = name.partition(VALUES)
        if is_packed:
            found[plain] = _narrowed(array * tensors[f"{plain}{SCALE}{dtype}"], np.dtype(dtype))
        elif SCALE not in name:
            found[name] = array
    return found


def _scale(array: Array) -> Array | None:
    """(..., 1) fp32; None where it is not to be packed."""
    is_float = array.dtype in (np.float32, np.uint16)
    if not (is_float and array.size and array.ndim and array.shape[-1] >= SHORTEST_ROW):
        return None
    scale = np.abs(_widened(array)).max(-1, keepdims=True) / LEVELS
    return scale if np.isfinite(scale).all() else None


def _widened(array: Array) -> npt.NDArray[np.float32]:
    """As fp32; uint16 are the bits of bfloat16 (`models.engine.backend.SavedState`)."""
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32, copy=False)


def _narrowed(values: npt.NDArray[np.float32], dtype: np.dtype[Any]) -> Array:
    if dtype != np.uint16:
        return values.astype(dtype, copy=False)
    bits = values.astype(np.float32, copy=False).view(np.uint32)
    # To the nearest, and of two to the even one.
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
