"""The Mamba-2 mixer in plain PyTorch.

Source: Transformers are SSMs (Mamba-2), arXiv 2405.21060; parameters named and laid out as state-spaces/mamba
publishes them.

L = tokens in a pack, S = segments (documents), H = heads, P = head width (headdim), G = groups of B and C,
N = state channels (d_state), W = taps of the short convolution (d_conv), C = channels that it runs over:
x, B and C side by side, H * P + 2 * G * N.

Unlike the published module, a second piece of a document continues from the first one's state.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.mamba.architecture import Mamba2Config
from models.mamba.convolution import CausalConv
from models.mamba.norms import GroupedNorm, widened
from models.mamba.packing import Packing
from models.mamba.ssd import Inputs, scan, step
from models.mamba.step_sizes import initial_bias
from models.state import State


class Mamba2Mixer(nn.Module):
    """One Mamba-2 mixer, state in and state out."""

    def __init__(self, d_model: int, config: Mamba2Config) -> None:
        super().__init__()
        d_inner = config.d_inner(d_model)
        self.num_heads = heads = d_inner // config.headdim
        self.num_groups = config.ngroups
        self.scan = scan
        """From chunk to chunk, or `models.mamba.parallel_ssd.scan`."""
        self.dt_limit = config.dt_limit
        channels, bc_width = config.conv_channels(d_model), config.ngroups * config.d_state
        self.splits = [d_inner, channels, heads]
        self.conv_splits = [d_inner, bc_width, bc_width]
        self.in_proj = nn.Linear(d_model, sum(self.splits), bias=config.bias)
        self.conv1d = CausalConv(channels, config.d_conv, config.conv_bias)
        if config.conv_init is not None:
            nn.init.uniform_(self.conv1d.weight, -config.conv_init, config.conv_init)
        self.dt_bias = nn.Parameter(initial_bias(heads, config))
        self.A_log = nn.Parameter(torch.empty(heads).uniform_(*config.A_init_range).log())
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = GroupedNorm(d_inner, d_inner // config.ngroups, config.norm_eps)
        self.out_proj = nn.Linear(d_inner, d_model, bias=config.bias)

    def prefill(self, u: Tensor, state: State, packing: Packing) -> tuple[Tensor, State]:
        """u (L, d_model), state (S, ...) -> (L, d_model) and the state after each segment."""
        z, xbc, dt = self._project(u)
        mixed, conv = self.conv1d.read(xbc, state["conv"], packing)
        inputs = self._inputs(mixed, dt)
        y, ssm = self.scan(inputs, self.D.to(dt.dtype), state["ssm"], packing)
        return self._gate_and_project(y, z), State({"conv": conv, "ssm": ssm})

    def decode(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        """u (S, d_model), one token a document -> (S, d_model) and the next state."""
        z, xbc, dt = self._project(u)
        mixed, conv = self.conv1d.step(xbc, state["conv"])
        inputs = self._inputs(mixed, dt)
        y, ssm = step(inputs, self.D.to(dt.dtype), state["ssm"])
        return self._gate_and_project(y, z), State({"conv": conv, "ssm": ssm})

    def _project(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The gate z (L, H * P), and in at least fp32 x, B and C before the convolution (L, C) and dt (L, H)."""
        z, xbc, dt = self.in_proj(u).split(self.splits, dim=-1)
        wide = widened(u.dtype)
        dt = F.softplus(dt.to(wide) + self.dt_bias.to(wide))
        if self.dt_limit != (0.0, math.inf):
            dt = dt.clamp(*self.dt_limit)
        return z, xbc.to(wide), dt

    def _inputs(self, xbc: Tensor, dt: Tensor) -> Inputs:
        x, b, c = xbc.split(self.conv_splits, dim=-1)
        return Inputs(
            x=x.unflatten(-1, (self.num_heads, -1)),
            b=b.unflatten(-1, (self.num_groups, -1)),
            c=c.unflatten(-1, (self.num_groups, -1)),
            dt=dt,
            a_dt=dt * -self.A_log.to(dt.dtype).exp(),
        )

    def _gate_and_project(self, y: Tensor, z: Tensor) -> Tensor:
        """y (L, H, P), z (L, H * P) -> (L, d_model): gate, then norm within each group of heads."""
        gated = y.flatten(-2) * F.silu(z.to(y.dtype))
        return self.out_proj(self.norm(gated).to(z.dtype))
