"""The bias from which the step sizes of a new mixer start."""

import math
from typing import Protocol

import torch
from torch import Tensor


class Range(Protocol):
    """Part of a mixer's config."""

    @property
    def dt_min(self) -> float: ...
    @property
    def dt_max(self) -> float: ...
    @property
    def dt_init_floor(self) -> float: ...


def initial_bias(count: int, among: Range) -> Tensor:
    """(count,) inverse softplus of step sizes drawn log-uniformly from [dt_min, dt_max]."""
    low, high = math.log(among.dt_min), math.log(among.dt_max)
    dt = torch.exp(low + torch.rand(count) * (high - low)).clamp(min=among.dt_init_floor)
    return dt + torch.log(-torch.expm1(-dt))
