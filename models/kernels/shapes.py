"""What the kernels of one layer are compiled for."""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.mamba.mamba3 import Mamba3Mixer

LARGEST_FP32_STATE = 64 * 64
"""Numbers of a head's state. With 64 x 128, what reads spans keeps 16 KB of each thread in memory and crawls."""


@dataclass(frozen=True)
class Shapes:
    """H heads of P channels, N state channels of which A pairs turn, R ranks, G groups.

    Columns of the projection: z, x, B, C, dt, A, trap, angle (state-spaces/mamba, modules/mamba3.py).
    """

    heads: int
    headdim: int
    d_state: int
    rank: int
    groups: int
    angles: int
    is_mimo: bool

    @staticmethod
    def of(mixer: Mamba3Mixer) -> "Shapes":
        """Those of a mixer."""
        config = mixer.config
        return Shapes(
            heads=mixer.num_heads,
            headdim=config.headdim,
            d_state=config.d_state,
            rank=config.rank,
            groups=config.ngroups,
            angles=config.num_angles,
            is_mimo=config.is_mimo,
        )

    @property
    def d_inner(self) -> int:
        return self.heads * self.headdim

    @property
    def bc_width(self) -> int:
        return self.rank * self.groups * self.d_state

    @property
    def b_column(self) -> int:
        return 2 * self.d_inner

    @property
    def dt_column(self) -> int:
        return 2 * self.d_inner + 2 * self.bc_width

    @property
    def theta_column(self) -> int:
        return self.dt_column + 3 * self.heads

    def why_not(self, dtype: torch.dtype) -> str | None:
        """Why these kernels cannot run such a layer, or None."""
        for name, size, least in (
            ("headdim", self.headdim, 16),
            ("d_state", self.d_state, 64),
            ("mimo_rank", self.rank, 1),
        ):
            if size < least or size & (size - 1):
                return f"{name} = {size} is no power of two of at least {least}"
        if 4 * self.angles != self.d_state:
            return f"{2 * self.angles} of {self.d_state} channels turn, not half (rope_fraction)"
        if dtype == torch.float32 and self.headdim * self.d_state > LARGEST_FP32_STATE:
            return (
                f"in float32 a state of {self.headdim} x {self.d_state} does not fit into a GPU's registers; "
                "model.dtype=bfloat16 does"
            )
        if dtype not in (torch.bfloat16, torch.float16, torch.float32):
            return f"{dtype} is not for these kernels"
        return None


def optional_weights(mixer: Mamba3Mixer) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """mimo_x, mimo_z, mimo_o and the output norm's weight; D, which is never read there, for those it does not have."""
    config = mixer.config
    ranks = (mixer.mimo_x, mixer.mimo_z, mixer.mimo_o) if config.is_mimo else (mixer.D,) * 3
    return *ranks, mixer.norm.weight if config.is_outproj_norm else mixer.D
