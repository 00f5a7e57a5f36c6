"""From the host to a device without waiting for it: a copy from pageable memory would wait until all is done that the
device was asked before."""

from collections.abc import Sequence

import torch
from torch import Tensor

ALIGNMENT = 16
"""Bytes. Triton compiles a kernel anew for pointers that are no multiple of it."""


def moved(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """The same one-dimensional tensors on a device: those that are elsewhere by one copy."""
    there = iter(copied([tensor for tensor in tensors if tensor.device != device], device))
    return [tensor if tensor.device == device else next(there) for tensor in tensors]


def copied(tensors: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """One-dimensional tensors on the host, copied to a device through one buffer, from which none begins at anything
    but a multiple of `ALIGNMENT`."""
    begins, size = [], 0
    for tensor in tensors:
        begins.append(size)
        size += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
    buffer = torch.zeros(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
    places = list(zip(begins, tensors, strict=True))
    for begin, tensor in places:
        buffer[begin : begin + tensor.nbytes].view(tensor.dtype).copy_(tensor)
    there = buffer.to(device, non_blocking=True)
    return [there[begin : begin + tensor.nbytes].view(tensor.dtype) for begin, tensor in places]


def on_device(values: Sequence[float], dtype: torch.dtype, device: torch.device) -> Tensor:
    """(len(values),) of that dtype."""
    return moved([torch.tensor(values, dtype=dtype)], device)[0]
