"""Mamba-3 SISO as a slow recurrence in float64, straight from the paper, to judge the fast forms.

Source: Mamba-3, arXiv 2603.15569, equations 5, 6 and Proposition 4, in the form where the *state* turns
(a complex state), before the paper moves the rotation onto B and C. It shares no code with `models.scan`:
no cumulative angles, no chunks, no carried k and v.

H = heads, P = head width, N = state channels, A = rotary angles, L = tokens.
"""

import math

import torch
from torch import Tensor

from models.mamba3 import NORM_EPS, Mamba3, Mixer


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + NORM_EPS) * weight


def _turning(theta: Tensor, num_channels: int) -> Tensor:
    """(A,) angles -> (N, N) block-diagonal matrix that turns the pair (2i, 2i + 1) by -theta_i."""
    matrix = torch.eye(num_channels, dtype=theta.dtype)
    for i, angle in enumerate(theta.tolist()):
        cos, sin = math.cos(angle), math.sin(angle)
        matrix[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor([[cos, sin], [-sin, cos]], dtype=theta.dtype)
    return matrix


def mixer_outputs(mixer: Mixer, u: Tensor, a_activation: str, a_floor: float) -> Tensor:
    """One mixer over one document, token by token: u (L, d_model) float64 -> (L, d_model)."""
    heads, width, channels = mixer.num_heads, mixer.headdim, mixer.d_state
    state = torch.zeros(heads, channels, width, dtype=u.dtype)
    previous_b, previous_x = torch.zeros(heads, channels, dtype=u.dtype), torch.zeros(heads, width, dtype=u.dtype)
    outputs = []
    for row in u @ mixer.in_proj.weight.T:
        z, x, b, c, dt_logit, a_logit, trap_logit, angle = row.split(mixer.splits)
        x, z = x.view(heads, width), z.view(heads, width)
        b = _norm(b.view(mixer.groups, channels), mixer.B_norm.weight)
        c = _norm(c.view(mixer.groups, channels), mixer.C_norm.weight)
        y = torch.empty_like(x)
        for head in range(heads):
            group = head * mixer.groups // heads
            b_head, c_head = b[group] + mixer.B_bias[head, 0], c[group] + mixer.C_bias[head, 0]
            dt = torch.log1p(torch.exp(dt_logit[head] + mixer.dt_bias[head]))
            logit = a_logit[head]
            if a_activation == "softplus":
                a = -torch.log1p(torch.exp(logit))
            else:
                a = -(1 + logit) if logit >= 0 else -1 / (1 - logit)
            a = torch.clamp(a, max=-a_floor)
            lam = 1 / (1 + torch.exp(-trap_logit[head]))
            alpha, beta, gamma = torch.exp(dt * a), (1 - lam) * dt * torch.exp(dt * a), lam * dt
            turn = _turning(math.pi * torch.tanh(angle) * dt, channels)
            carried = alpha * state[head] + beta * torch.outer(previous_b[head], previous_x[head])
            state[head] = turn @ carried + gamma * torch.outer(b_head, x[head])
            y[head] = c_head @ state[head] + mixer.D[head] * x[head]
            previous_b[head] = b_head
        previous_x = x
        if mixer.norm is not None:
            y = y / torch.sqrt((y * y).mean(-1, keepdim=True) + NORM_EPS) * mixer.norm.weight.view_as(y)
        outputs.append((y * z * torch.sigmoid(z)).flatten() @ mixer.out_proj.weight.T)
    return torch.stack(outputs)


@torch.no_grad()
def logits(model: Mamba3, tokens: Tensor) -> Tensor:
    """Logits (L, V) after every token of one document, in the model's own dtype, which should be float64."""
    config = model.config.ssm_cfg
    residual = model.backbone.embedding.weight[tokens]
    for block in model.backbone.layers:
        normed = _norm(residual, block.norm.weight)
        residual = residual + mixer_outputs(block.mixer, normed, config.a_activation, config.A_floor)
        if model.config.d_mlp:
            y, gate = (_norm(residual, block.norm2.weight) @ block.mlp.fc1.weight.T).chunk(2, dim=-1)
            residual = residual + (y * gate * torch.sigmoid(gate)) @ block.mlp.fc2.weight.T
    return _norm(residual, model.backbone.norm_f.weight) @ model.lm_head.weight.T
