"""Mamba-3 SISO language model in plain PyTorch: the CPU path, and the judge of every faster one.

Source: Mamba-3, arXiv 2603.15569; parameters named and laid out as state-spaces/mamba publishes them.

L = tokens in a pack, S = segments (documents), Z = layers, H = heads, P = head width (headdim),
G = groups of B and C, N = state channels (d_state), A = rotary angles, V = padded vocabulary.

Unlike the published module, a second piece of a document continues from the first one's state.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architecture import MambaConfig, MixerConfig
from models.packing import Packing
from models.scan import Inputs, scan, step
from models.state import State

NORM_EPS = 1e-5


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis, computed in at least fp32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return F.rms_norm(wide, self.weight.shape, self.weight.to(wide.dtype), NORM_EPS).to(x.dtype)


class GroupedGatedNorm(nn.Module):
    """`is_outproj_norm`: RMSNorm within each head, then the gate."""

    def __init__(self, width: int, group_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.group_size = group_size

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        """y, z (L, H * P) -> (L, H * P)."""
        groups = y.unflatten(-1, (-1, self.group_size))
        return F.rms_norm(groups, (self.group_size,), eps=NORM_EPS).flatten(-2) * self.weight * F.silu(z)


class SwiGLU(nn.Module):
    """The gated MLP of a block, without biases."""

    def __init__(self, d_model: int, d_hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(d_model, 2 * d_hidden, bias=False)
        self.fc2 = nn.Linear(d_hidden, d_model, bias=False)

    def forward(self, u: Tensor) -> Tensor:
        y, gate = self.fc1(u).chunk(2, dim=-1)
        return self.fc2(y * F.silu(gate))


@dataclass(frozen=True)
class Activations:
    """How the logits of one projection become the recurrence's coefficients (paper, section 3 and appendix A)."""

    a_activation: str
    a_floor: float

    def decay_rate(self, logit: Tensor) -> Tensor:
        """A < 0, in at least fp32: minus a heavy-tailed or a softplus function of the logit."""
        wide = logit.to(torch.promote_types(logit.dtype, torch.float32))
        if self.a_activation == "softplus":
            positive = F.softplus(wide)
        else:
            positive = torch.where(wide >= 0, 1 + wide.clamp(min=0), 1 / (1 - wide.clamp(max=0)))
        return -positive.clamp(min=self.a_floor)


class Mixer(nn.Module):
    """One Mamba-3 SISO mixer, state in and state out."""

    def __init__(self, d_model: int, config: MixerConfig) -> None:
        super().__init__()
        d_inner = config.expand * d_model
        self.num_heads, self.groups = d_inner // config.headdim, config.ngroups
        self.headdim, self.d_state = config.headdim, config.d_state
        bc_width = config.d_state * config.ngroups
        self.splits = [d_inner, d_inner, bc_width, bc_width, *[self.num_heads] * 3, config.num_angles]
        self.activations = Activations(config.a_activation, config.A_floor)
        self.in_proj = nn.Linear(d_model, sum(self.splits), bias=False)
        self.dt_bias = nn.Parameter(_initial_dt_bias(self.num_heads, config))
        self.B_bias = nn.Parameter(torch.ones(self.num_heads, 1, config.d_state))
        self.C_bias = nn.Parameter(torch.ones(self.num_heads, 1, config.d_state))
        self.B_norm = RMSNorm(config.d_state)
        self.C_norm = RMSNorm(config.d_state)
        self.D = nn.Parameter(torch.ones(self.num_heads))
        self.norm = GroupedGatedNorm(d_inner, config.headdim) if config.is_outproj_norm else None
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

    def prefill(self, u: Tensor, state: State, packing: Packing) -> tuple[Tensor, State]:
        """u (L, d_model), state (S, ...) -> (L, d_model) and the state after each segment."""
        inputs, z = self._project(u)
        y, state = scan(inputs, self._skip(inputs), state, packing)
        return self._gate_and_project(y, z), state

    def decode(self, u: Tensor, state: State) -> tuple[Tensor, State]:
        """u (S, d_model), one token a document -> (S, d_model) and the next state."""
        inputs, z = self._project(u)
        y, state = step(inputs, self._skip(inputs), state)
        return self._gate_and_project(y, z), state

    def _project(self, u: Tensor) -> tuple[Inputs, Tensor]:
        """The coefficients of each token, in at least fp32, and the gate z (L, H * P)."""
        z, x, b, c, dt, a, trap, angle = self.in_proj(u).split(self.splits, dim=-1)
        wide = torch.promote_types(u.dtype, torch.float32)
        dt = F.softplus(dt.to(wide) + self.dt_bias.to(wide))
        inputs = Inputs(
            x=x.to(wide).unflatten(-1, (self.num_heads, self.headdim)),
            b=self._spread(self.B_norm(b.unflatten(-1, (self.groups, self.d_state))), self.B_bias, wide),
            c=self._spread(self.C_norm(c.unflatten(-1, (self.groups, self.d_state))), self.C_bias, wide),
            dt=dt,
            a_dt=self.activations.decay_rate(a) * dt,
            trap=torch.sigmoid(trap.to(wide)),
            angle=torch.tanh(angle.to(wide)) * math.pi,
        )
        return inputs, z

    def _spread(self, groups: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        """(L, G, N) -> (L, H, N): each group serves its heads, each head adds its own bias."""
        heads = groups.to(dtype).repeat_interleave(self.num_heads // self.groups, dim=1)
        return heads + bias.to(dtype).squeeze(1)

    def _skip(self, inputs: Inputs) -> Tensor:
        return self.D.to(inputs.x.dtype)

    def _gate_and_project(self, y: Tensor, z: Tensor) -> Tensor:
        flat, gate = y.flatten(-2), z.to(y.dtype)
        gated = self.norm(flat, gate) if self.norm is not None else flat * F.silu(gate)
        return self.out_proj(gated.to(z.dtype))


class Block(nn.Module):
    """Pre-norm mixer, then pre-norm MLP, on a residual of at least fp32."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.norm = RMSNorm(config.d_model)
        self.mixer = Mixer(config.d_model, config.ssm_cfg)
        if config.d_mlp:
            self.norm2 = RMSNorm(config.d_model)
            self.mlp = SwiGLU(config.d_model, config.d_mlp)

    def forward(self, residual: Tensor, state: State, packing: Packing | None) -> tuple[Tensor, State]:
        """residual (L, d_model); `packing` None means one token a document."""
        u = self.norm(residual).to(self.mixer.in_proj.weight.dtype)
        mixed, state = self.mixer.decode(u, state) if packing is None else self.mixer.prefill(u, state, packing)
        residual = residual + mixed
        if hasattr(self, "mlp"):
            residual = residual + self.mlp(self.norm2(residual).to(self.mlp.fc1.weight.dtype))
        return residual, state


class Backbone(nn.Module):
    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.padded_vocab_size, config.d_model)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.norm_f = RMSNorm(config.d_model)

    def forward(self, tokens: Tensor, state: State, packing: Packing | None) -> tuple[Tensor, State]:
        """tokens (L,) -> hidden (L, d_model) and the next state."""
        embedded = self.embedding(tokens)
        residual = embedded.to(torch.promote_types(embedded.dtype, torch.float32))
        parts = []
        for index, block in enumerate(self.layers):
            residual, part = block(residual, state.layer(index), packing)
            parts.append(part)
        return self.norm_f(residual).to(embedded.dtype), State.stack_layers(parts)


class Mamba3(nn.Module):
    """A Mamba-3 language model: `logits, state = model.prefill(tokens, cu_seqlens, state)`."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.lm_head = nn.Linear(config.d_model, config.padded_vocab_size, bias=False)
        if config.tie_embeddings:
            self.lm_head.weight = self.backbone.embedding.weight

    def prefill(
        self, tokens: Tensor, cu_seqlens: Sequence[int], state: State, logits_at: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Read a ragged pack of segments, each from its own state.

        tokens (L,) int64; cu_seqlens S + 1 cumulative lengths; state of S rows. `logits_at` names the tokens of the
        pack whose logits are wanted, by default the last of each segment; no other logits are computed.
        Returns logits (len(logits_at), V) and the state after each segment.
        """
        packing = Packing.of(cu_seqlens, self.config.ssm_cfg.chunk_size, tokens.device)
        assert packing.num_tokens == len(tokens) and len(packing.lengths) == state.num_rows
        hidden, state = self.backbone(tokens, state, packing)
        return self.lm_head(hidden[packing.lasts if logits_at is None else logits_at]), state

    def decode(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """One token (S,) for each of S documents -> logits (S, V) and the next state."""
        hidden, state = self.backbone(tokens, state, None)
        return self.lm_head(hidden), state

    def empty_state(self, num_rows: int) -> State:
        """The state before the first token, on the model's device."""
        weight = self.lm_head.weight
        return State.zeros(self.config, num_rows, torch.promote_types(weight.dtype, torch.float32), weight.device)

    def initialise(self) -> "Mamba3":
        """Draw fresh weights for training: normal of 0.02, outputs of the residual branches scaled by depth."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2 and not name.endswith("bias"):
                branch_end = name.endswith(("out_proj.weight", "fc2.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.n_layer) if branch_end else 0.02)
        return self


def _initial_dt_bias(num_heads: int, config: MixerConfig) -> Tensor:
    """Inverse softplus of step sizes drawn log-uniformly from [dt_min, dt_max]."""
    low, high = math.log(config.dt_min), math.log(config.dt_max)
    dt = torch.exp(torch.rand(num_heads) * (high - low) + low).clamp(min=config.dt_init_floor)
    return dt + torch.log(-torch.expm1(-dt))
