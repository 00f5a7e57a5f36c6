"""The Mamba-3 mixer, SISO and MIMO, in plain PyTorch: the CPU path, and what every faster path is compared with.

Source: Mamba-3, arXiv 2603.15569; parameters named and laid out as state-spaces/mamba publishes them.

L = tokens in a pack, S = segments (documents), H = heads, P = head width (headdim), G = groups of B and C,
N = state channels (d_state), R = rank of MIMO (1 for SISO), A = rotary angles.

Unlike the published module, a second piece of a document continues from the first one's state.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.mamba.architecture import Mamba3Config
from models.mamba.norms import GroupedNorm, RMSNorm, widened
from models.mamba.packing import Packing
from models.mamba.scan import Heads, Inputs, scan, step, step_
from models.mamba.step_sizes import initial_bias
from models.state import State


@dataclass(frozen=True)
class Activations:
    """How the logits of one projection become the recurrence's coefficients (paper, section 3 and appendix A)."""

    a_activation: str
    a_floor: float

    def decay_rate(self, logit: Tensor) -> Tensor:
        """A < 0, in at least fp32: minus a heavy-tailed or a softplus function of the logit."""
        wide = logit.to(widened(logit.dtype))
        if self.a_activation == "softplus":
            positive = F.softplus(wide)
        else:
            positive = torch.where(wide >= 0, 1 + wide.clamp(min=0), 1 / (1 - wide.clamp(max=0)))
        return -positive.clamp(min=self.a_floor)


class Mamba3Mixer(nn.Module):
    """One Mamba-3 mixer, state in and state out."""

    def __init__(self, d_model: int, config: Mamba3Config) -> None:
        super().__init__()
        d_inner, rank = config.expand * d_model, config.rank
        self.config = config
        self.scan = scan
        """From chunk to chunk, or `models.mamba.parallel_scan.scan`."""
        self.num_heads = heads = d_inner // config.headdim
        bc_width = config.d_state * config.ngroups * rank
        self.splits = [d_inner, d_inner, bc_width, bc_width, *[heads] * 3, config.num_angles]
        self.activations = Activations(config.a_activation, config.A_floor)
        self.in_proj = nn.Linear(d_model, sum(self.splits), bias=False)
        self.dt_bias = nn.Parameter(initial_bias(heads, config))
        self.B_bias = nn.Parameter(torch.ones(heads, rank, config.d_state))
        self.C_bias = nn.Parameter(torch.ones(heads, rank, config.d_state))
        self.B_norm = RMSNorm(config.d_state)
        self.C_norm = RMSNorm(config.d_state)
        self.D = nn.Parameter(torch.ones(heads))
        if config.is_mimo:
            self.mimo_x = nn.Parameter(torch.full((heads, rank, config.headdim), 1 / rank))
            self.mimo_z = nn.Parameter(torch.ones(heads, rank, config.headdim))
            self.mimo_o = nn.Parameter(torch.full((heads, rank, config.headdim), 1 / rank))
        if config.is_outproj_norm:
            self.norm = GroupedNorm(d_inner, config.headdim)
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

    def prefill(self, u: Tensor, state: State, packing: Packing) -> tuple[Tensor, State]:
        """u (L, d_model), state (S, ...) -> (L, d_model) and the state after each segment."""
        inputs, z = self._project(u)
        y, state = self.scan(inputs, self._heads(inputs.x.dtype), state, packing)
        return self._gate_and_project(y, z), state

    def decode(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        """u (S, d_model), one token a document -> (S, d_model) and the next state."""
        inputs, z = self._project(u)
        y, state = step(inputs, self._heads(inputs.x.dtype), state)
        return self._gate_and_project(y, z), state

    def decode_(self, u: Tensor, slots: State, rows: Tensor) -> Tensor:
        """`decode` of document i from row `rows[i]` of one layer's slots, in place."""
        inputs, z = self._project(u)
        return self._gate_and_project(step_(inputs, self._heads(inputs.x.dtype), slots, rows), z)

    def _project(self, u: Tensor) -> tuple[Inputs, Tensor]:
        """The coefficients of each token, in at least fp32, and the gate z (L, H, P)."""
        z, x, b, c, dt, a, trap, angle = self.in_proj(u).split(self.splits, dim=-1)
        wide = widened(u.dtype)
        dt = F.softplus(dt.to(wide) + self.dt_bias.to(wide))
        inputs = Inputs(
            x=x.to(wide).unflatten(-1, (self.num_heads, -1)),
            b=self._normalized(b, self.B_norm).to(wide),
            c=self._normalized(c, self.C_norm).to(wide),
            dt=dt,
            a_dt=self.activations.decay_rate(a) * dt,
            trap=torch.sigmoid(trap.to(wide)),
            angle=torch.tanh(angle.to(wide)) * math.pi,
        )
        return inputs, z.unflatten(-1, (self.num_heads, -1))

    def _normalized(self, flat: Tensor, norm: RMSNorm) -> Tensor:
        """(L, R * G * N) -> (L, R, G, N) in turning order."""
        return self._in_turning_order(norm(flat.unflatten(-1, (self.config.rank, self.config.ngroups, -1))))

    def _in_turning_order(self, channels: Tensor) -> Tensor:
        """SISO checkpoints turn the pair (2i, 2i + 1), MIMO ones (i, i + N/2), which are laid side by side here."""
        return channels.unflatten(-1, (2, -1)).mT.flatten(-2) if self.config.is_mimo else channels

    def _heads(self, dtype: torch.dtype) -> Heads:
        return Heads(
            self._in_turning_order(self.B_bias.to(dtype)),
            self._in_turning_order(self.C_bias.to(dtype)),
            self.D.to(dtype),
            self.mimo_x.to(dtype) if self.config.is_mimo else None,
        )

    def _gate_and_project(self, y: Tensor, z: Tensor) -> Tensor:
        """y (L, H, R, P), z (L, H, P) -> (L, d_model): norm, gate and sum over the ranks (paper, appendix C)."""
        gate = z.to(y.dtype).unsqueeze(-2)
        if self.config.is_outproj_norm:
            y = self.norm(y.transpose(1, 2).flatten(-2)).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        if self.config.is_mimo:
            y = (y * F.silu(gate * self.mimo_z.to(y.dtype)) * self.mimo_o.to(y.dtype)).sum(-2)
        else:
            y = (y * F.silu(gate)).squeeze(-2)
        return self.out_proj(y.flatten(-2).to(z.dtype))
