"""Rotary positions, with the scalings of them that published configs name.

Source: RoFormer, arXiv 2104.09864; YaRN, arXiv 2309.00071; Llama 3.1's own scaling. All in fp32, as the models were
trained.

L = tokens, H = heads, D = channels of a head, A = angles: half of the channels that turn. The channel i turns together
with the channel A + i.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class Scaling(BaseModel):
    """What all kinds have in common."""

    # Published dictionaries repeat fields of the config, and hold some of other kinds.
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class Unscaled(Scaling):
    """As published first."""

    rope_type: Literal["default"] = "default"

    def scaled(self, frequencies: Tensor, theta: float) -> Tensor:
        """(A,) radians a token."""
        return frequencies

    @property
    def magnitude(self) -> float:
        """Of turned queries and keys."""
        return 1.0


class Linear(Unscaled):
    """All frequencies divided."""

    rope_type: Literal["linear"]  # type: ignore[assignment]
    factor: float = Field(gt=0)

    def scaled(self, frequencies: Tensor, theta: float) -> Tensor:
        """(A,)"""
        return frequencies / self.factor


class Llama3(Unscaled):
    """Low frequencies divided, high ones kept, and a way between."""

    rope_type: Literal["llama3"]  # type: ignore[assignment]
    factor: float = Field(gt=0)
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int

    def scaled(self, frequencies: Tensor, theta: float) -> Tensor:
        """(A,)"""
        turns = self.original_max_position_embeddings * frequencies / (2 * math.pi)
        kept = ((turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)).clamp(0, 1)
        return frequencies * (kept + (1 - kept) / self.factor)


class Yarn(Unscaled):
    """Frequencies of few turns over the original context divided, those of many kept, and a ramp between."""

    rope_type: Literal["yarn"]  # type: ignore[assignment]
    factor: float = Field(gt=0)
    original_max_position_embeddings: int
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    def scaled(self, frequencies: Tensor, theta: float) -> Tensor:
        """(A,)"""
        low, high = (
            self._place(self.beta_fast or 32, frequencies, theta),
            self._place(self.beta_slow or 1, frequencies, theta),
        )
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * len(frequencies) - 1)
        ramp = (torch.arange(len(frequencies)) - low) / ((high - low) or 0.001)
        divided = ramp.clamp(0, 1)
        return frequencies * (1 - divided + divided / self.factor)

    @property
    def magnitude(self) -> float:
        """Of turned queries and keys."""
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return self._growth(self.mscale) / self._growth(self.mscale_all_dim)
        return self._growth(1)

    def _growth(self, mscale: float) -> float:
        return 1.0 if self.factor <= 1 else 0.1 * mscale * math.log(self.factor) + 1

    def _place(self, turns: float, frequencies: Tensor, theta: float) -> float:
        """Which angle turns so often over the original context."""
        wavelength = self.original_max_position_embeddings / (2 * math.pi * turns)
        return len(frequencies) * math.log(wavelength) / math.log(theta)


class Rotary(BaseModel):
    """How the queries and keys of a model turn."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    theta: float = Field(gt=1)
    width: int = Field(ge=2, multiple_of=2)
    """2A: channels of each head that turn, from the first."""
    scaling: Annotated[Unscaled | Linear | Llama3 | Yarn, Field(discriminator="rope_type")] = Unscaled()

    def frequencies(self) -> Tensor:
        """(A,) radians a token, fp32."""
        plain = 1 / self.theta ** (torch.arange(0, self.width, 2, dtype=torch.float32) / self.width)
        return self.scaling.scaled(plain, self.theta)

    def turns(self, positions: Tensor, frequencies: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines (L, 1, A) for positions (L,), times the scaling's magnitude."""
        angles = (positions.float().unsqueeze(-1) * frequencies).unsqueeze(1)
        return (angles.cos() * self.scaling.magnitude).to(dtype), (angles.sin() * self.scaling.magnitude).to(dtype)


@lru_cache
def frequencies(rotary: Rotary, device: torch.device) -> Tensor:
    """(A,) fp32 on a device, copied there once."""
    return rotary.frequencies().to(device)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (L, H, D), its first 2A channels turned by cos and sin (L, 1, A)."""
    half = cos.shape[-1]
    left, right = x[..., :half], x[..., half : 2 * half]
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    torch.mul(left, cos, out=y[..., :half]).addcmul_(right, sin, value=-1)
    torch.mul(right, cos, out=y[..., half : 2 * half]).addcmul_(left, sin)
    y[..., 2 * half :] = x[..., 2 * half :]
    return y


def of_config(published: Mapping[str, Any], head_dim: int, theta: float = 10000.0) -> Rotary:
    """From the fields of a config.json, in the spellings of transformers 4 and 5; `theta` is the family's default.

    Raises ValueError for a kind that is not supported, pydantic's for a field of it that is missing.
    """
    given = dict(published.get("rope_parameters") or published.get("rope_scaling") or {})
    kind = given.setdefault("rope_type", given.pop("type", "default"))
    supported = ("default", "linear", "llama3", "yarn")
    if kind not in supported:
        raise ValueError(f"rope_type = {kind!r}: supported are {', '.join(supported)}")
    if original := published.get("original_max_position_embeddings"):
        given["original_max_position_embeddings"] = original
    given.setdefault("original_max_position_embeddings", published.get("max_position_embeddings"))
    share = given.get("partial_rotary_factor", published.get("partial_rotary_factor")) or 1.0
    base = given.get("rope_theta") or published.get("rope_theta") or theta
    return Rotary.model_validate({"theta": base, "width": int(head_dim * share), "scaling": given})
