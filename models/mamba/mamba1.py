"""The Mamba-1 mixer in plain PyTorch, and that of Falcon Mamba, which norms what the recurrence is steered by.

Source: Mamba, arXiv 2312.00752, sections 3.4 and 3.6; Falcon Mamba, arXiv 2410.05355, section 2.2. Parameters named and
laid out as state-spaces/mamba publishes them.

L = tokens in a pack, S = segments (documents), E = channels (d_inner), N = state numbers of a channel (d_state),
R = rank of the step size's projection (dt_rank).

Unlike the published module, a second piece of a document continues from the first one's state.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.mamba.architecture import Mamba1Config
from models.mamba.convolution import CausalConv
from models.mamba.norms import widened
from models.mamba.packing import Packing
from models.mamba.selective_scan import Channels, Inputs, scan, step, step_
from models.mamba.step_sizes import initial_bias
from models.state import State


class WideLinear(nn.Linear):
    """Multiplies in the dtype of its weight, and adds the bias in at least fp32."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., R) -> (..., E) in at least fp32."""
        wide = widened(self.weight.dtype)
        return F.linear(x, self.weight).to(wide) + self.bias.to(wide)


class Mamba1Mixer(nn.Module):
    """One Mamba-1 mixer, state in and state out."""

    def __init__(self, d_model: int, config: Mamba1Config) -> None:
        super().__init__()
        d_inner, rank = config.expand * d_model, config.step_rank(d_model)
        self.splits = [rank, config.d_state, config.d_state]
        self.rms_eps = config.mixer_rms_eps
        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=config.bias)
        self.conv1d = CausalConv(d_inner, config.d_conv, config.conv_bias)
        self.x_proj = nn.Linear(d_inner, sum(self.splits), bias=False)
        self.dt_proj = WideLinear(rank, d_inner)
        self.A_log = nn.Parameter(torch.arange(1.0, config.d_state + 1).log().repeat(d_inner, 1))
        self.D = nn.Parameter(torch.ones(d_inner))
        self.out_proj = nn.Linear(d_inner, d_model, bias=config.bias)
        _draw_step_sizes(self.dt_proj, config)

    def prefill(self, u: Tensor, state: State, packing: Packing) -> tuple[Tensor, State]:
        """u (L, d_model), state (S, ...) -> (L, d_model) and the state after each segment."""
        x, z = self._project(u)
        mixed, conv = self.conv1d.read(x, state["conv"], packing)
        y, ssm = scan(self._inputs(mixed), self._channels(x.dtype), state["ssm"], packing)
        return self._gate_and_project(y, z), State({"conv": conv, "ssm": ssm})

    def decode(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        """u (S, d_model), one token a document -> (S, d_model) and the next state."""
        x, z = self._project(u)
        mixed, conv = self.conv1d.step(x, state["conv"])
        y, ssm = step(self._inputs(mixed), self._channels(x.dtype), state["ssm"])
        return self._gate_and_project(y, z), State({"conv": conv, "ssm": ssm})

    def decode_(self, u: Tensor, slots: State, rows: Tensor) -> Tensor:
        """`decode` of document i from row `rows[i]` of one layer's slots, in place."""
        x, z = self._project(u)
        mixed, conv = self.conv1d.step(x, slots["conv"].index_select(0, rows))
        slots["conv"].index_copy_(0, rows, conv)
        return self._gate_and_project(step_(self._inputs(mixed), self._channels(x.dtype), slots["ssm"], rows), z)

    def _project(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """x before the convolution, in at least fp32, and the gate z, both (L, E)."""
        x, z = self.in_proj(u).chunk(2, dim=-1)
        return x.to(widened(u.dtype)), z

    def steering(self, x: Tensor) -> tuple[Tensor, ...]:
        """x (L, E) after the convolution -> what step sizes come from (L, R), B and C (L, N), in its dtype."""
        return tuple(self._normed(each) for each in self.x_proj(x).split(self.splits, dim=-1))

    def _inputs(self, x: Tensor) -> Inputs:
        """From x (L, E) after the convolution."""
        rank, b, c = self.steering(x.to(self.x_proj.weight.dtype))
        return Inputs(x=x, b=b.to(x.dtype), c=c.to(x.dtype), dt=F.softplus(self.dt_proj(rank)))

    def _normed(self, steering: Tensor) -> Tensor:
        """Falcon Mamba's norm, which has no weight, computed in at least fp32."""
        if self.rms_eps is None:
            return steering
        wide = steering.to(widened(steering.dtype))
        return F.rms_norm(wide, wide.shape[-1:], eps=self.rms_eps).to(steering.dtype)

    def _channels(self, dtype: torch.dtype) -> Channels:
        return Channels.of(self.A_log, self.D, dtype)

    def _gate_and_project(self, y: Tensor, z: Tensor) -> Tensor:
        """y, z (L, E) -> (L, d_model)."""
        return self.out_proj((y * F.silu(z.to(y.dtype))).to(z.dtype))


@torch.no_grad()
def _draw_step_sizes(dt_proj: nn.Linear, config: Mamba1Config) -> None:
    """At first: weights as `dt_init` says, and the bias by itself from dt_min to dt_max."""
    reach = config.dt_scale / math.sqrt(dt_proj.in_features)
    if config.dt_init == "constant":
        nn.init.constant_(dt_proj.weight, reach)
    else:
        nn.init.uniform_(dt_proj.weight, -reach, reach)
    dt_proj.bias.copy_(initial_bias(dt_proj.out_features, config))
