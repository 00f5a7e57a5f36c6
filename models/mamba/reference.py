"""Mamba-3, SISO and MIMO, as a slow recurrence in float64, straight from the paper, to compare the fast paths with.

Source: Mamba-3, arXiv 2603.15569, equations 5, 6, Proposition 4 and appendix C, in the form where the *state* turns
(a complex state), before the paper moves the rotation onto B and C. It shares no code with `models.mamba.scan`:
no cumulative angles, no chunks, no carried k and v.

H = heads, P = head width, N = state channels, R = rank, A = rotary angles, L = tokens.
"""

import math

import torch
from torch import Tensor

from models.mamba.language_model import MambaLM
from models.mamba.mamba3 import Mamba3Mixer
from models.mamba.norms import NORM_EPS


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + NORM_EPS) * weight


def _turning(theta: Tensor, num_channels: int, is_mimo: bool) -> Tensor:
    """(A,) angles -> (N, N) matrix that turns pair i by -theta_i.

    Pair i is (2i, 2i + 1) in SISO checkpoints and (i, i + N/2) in MIMO ones.
    """
    matrix = torch.eye(num_channels, dtype=theta.dtype)
    for i, angle in enumerate(theta.tolist()):
        pair = [i, i + num_channels // 2] if is_mimo else [2 * i, 2 * i + 1]
        cos, sin = math.cos(angle), math.sin(angle)
        turn = torch.tensor([[cos, sin], [-sin, cos]], dtype=theta.dtype)
        matrix[torch.tensor(pair).unsqueeze(1), torch.tensor(pair)] = turn
    return matrix


def mixer_outputs(mixer: Mamba3Mixer, u: Tensor) -> Tensor:
    """One mixer over one document, token by token: u (L, d_model) float64 -> (L, d_model)."""
    config, heads = mixer.config, mixer.num_heads
    width, channels, rank, groups = config.headdim, config.d_state, config.rank, config.ngroups
    state = torch.zeros(heads, channels, width, dtype=u.dtype)
    previous = torch.zeros(heads, channels, width, dtype=u.dtype)
    into, gates, out = torch.ones(3, heads, rank, width, dtype=u.dtype)
    if config.is_mimo:
        into, gates, out = mixer.mimo_x, mixer.mimo_z, mixer.mimo_o
    outputs = []
    for row in u @ mixer.in_proj.weight.T:
        z, x, b, c, dt_logit, a_logit, trap_logit, angle = row.split(mixer.splits)
        x, z = x.view(heads, width), z.view(heads, width)
        b = _norm(b.view(rank, groups, channels), mixer.B_norm.weight)
        c = _norm(c.view(rank, groups, channels), mixer.C_norm.weight)
        total = torch.zeros_like(x)
        for head in range(heads):
            group = head * groups // heads
            alpha, beta, gamma, dt = _coefficients(mixer, head, dt_logit[head], a_logit[head], trap_logit[head])
            turn = _turning(math.pi * torch.tanh(angle) * dt, channels, config.is_mimo)
            now = sum(torch.outer(b[r, group] + mixer.B_bias[head, r], x[head] * into[head, r]) for r in range(rank))
            state[head] = turn @ (alpha * state[head] + beta * previous[head]) + gamma * now
            previous[head] = now
            for r in range(rank):
                y = (c[r, group] + mixer.C_bias[head, r]) @ state[head] + mixer.D[head] * x[head] * into[head, r]
                if config.is_outproj_norm:
                    y = _norm(y, mixer.norm.weight.view(heads, width)[head])
                gate = z[head] * gates[head, r]
                total[head] += out[head, r] * y * gate * torch.sigmoid(gate)
        outputs.append(total.flatten() @ mixer.out_proj.weight.T)
    return torch.stack(outputs)


def _coefficients(
    mixer: Mamba3Mixer, head: int, dt_logit: Tensor, logit: Tensor, trap_logit: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """alpha, beta, gamma and dt of one head at one token."""
    dt = torch.log1p(torch.exp(dt_logit + mixer.dt_bias[head]))
    if mixer.config.a_activation == "softplus":
        a = -torch.log1p(torch.exp(logit))
    else:
        a = -(1 + logit) if logit >= 0 else -1 / (1 - logit)
    alpha = torch.exp(dt * torch.clamp(a, max=-mixer.config.A_floor))
    lam = 1 / (1 + torch.exp(-trap_logit))
    return alpha, (1 - lam) * dt * alpha, lam * dt, dt


@torch.no_grad()
def logits(model: MambaLM, tokens: Tensor) -> Tensor:
    """Logits (L, V) after every token of one document, in the model's own dtype, which should be float64."""
    residual = model.backbone.embedding.weight[tokens]
    for block in model.backbone.layers:
        normed = _norm(residual, block.norm.weight)
        residual = residual + mixer_outputs(block.mixer, normed)
        if model.config.d_mlp:
            y, gate = (_norm(residual, block.norm2.weight) @ block.mlp.fc1.weight.T).chunk(2, dim=-1)
            residual = residual + (y * gate * torch.sigmoid(gate)) @ block.mlp.fc2.weight.T
    return _norm(residual, model.backbone.norm_f.weight) @ model.lm_head.weight.T
