"""One decoding step of many documents on a GPU, updating the states of their slots in place.

Source: Mamba-3, arXiv 2603.15569; the equations are those of `models.mamba.scan.step`, which judges this file.

S = documents, H = heads, P = head width, N = state channels, A = pairs that turn, R = rank, G = groups of B and C.

The step is bound by memory: a program reads one head's state of one document (P, N) once and writes it once, and does
everything else, from the norms of B and C to the gate, on the way.
"""

from dataclasses import asdict

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.kernels.activations import FULL_TURN, cos_sin, decay_rate, sigmoid, softplus, velocity_of, wrapped
from models.kernels.coefficients import published_of
from models.kernels.shapes import Shapes, optional_weights
from models.kernels.tiles import rank_factor
from models.kernels.tiling import SMALL
from models.mamba.mamba3 import Mamba3Mixer
from models.mamba.norms import NORM_EPS
from models.state import State


@triton.jit
def _turned(source, weight, bias, cos, sin, N: tl.constexpr, A: tl.constexpr, IS_MIMO: tl.constexpr, EPS: tl.constexpr):
    """(N,) B or C of one head and rank in turning order: normalized, with its bias, turned."""
    place = tl.arange(0, N)
    own, partner = published_of(place, N, IS_MIMO), published_of(place ^ 1, N, IS_MIMO)
    values = tl.load(source + own).to(tl.float32)
    scale = tl.rsqrt(tl.sum(values * values, 0) / N + EPS)
    values = values * scale * tl.load(weight + own).to(tl.float32) + tl.load(bias + own).to(tl.float32)
    others = tl.load(source + partner).to(tl.float32) * scale * tl.load(weight + partner).to(tl.float32)
    others += tl.load(bias + partner).to(tl.float32)
    return values * cos + tl.where(place % 2 == 0, -others, others) * sin


@triton.jit
def _step(
    proj,
    proj_stride,
    dt_bias,
    b_weight,
    c_weight,
    b_bias,
    c_bias,
    skip,
    x_ranks,
    z_ranks,
    out_ranks,
    norm_weight,
    angle,
    ssm,
    k,
    v,
    rows,
    out,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    A: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    B: tl.constexpr,
    DT: tl.constexpr,
    THETA: tl.constexpr,
    IS_MIMO: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    A_FLOOR: tl.constexpr,
    HAS_NORM: tl.constexpr,
    EPS: tl.constexpr,
):
    """One head of one document. A negative row is padding: nothing is read or written."""
    head, document = tl.program_id(0), tl.program_id(1)
    row = tl.load(rows + document)
    if row >= 0:
        slot = row.to(tl.int64) * H + head
        source = proj + document.to(tl.int64) * proj_stride
        channel, place = tl.arange(0, P), tl.arange(0, N)
        dt = softplus(tl.load(source + DT + head).to(tl.float32) + tl.load(dt_bias + head).to(tl.float32))
        rate = decay_rate(tl.load(source + DT + H + head).to(tl.float32), SOFTPLUS, A_FLOOR)
        now = sigmoid(tl.load(source + DT + 2 * H + head).to(tl.float32)) * dt
        alpha = tl.exp(rate * dt)
        before = (dt - now) * alpha

        turns = place < 2 * A
        turn = tl.load(angle + slot * A + place // 2, mask=turns, other=0.0) / FULL_TURN
        turn += velocity_of(tl.load(source + THETA + place // 2, mask=turns, other=0.0).to(tl.float32)) * dt
        cos, sin = cos_sin(tl.where(turns, turn, 0.0))
        x = tl.load(source + H * P + head * P + channel).to(tl.float32)
        last = tl.load(v + slot * P + channel)
        z = tl.load(source + head * P + channel).to(tl.float32)
        tile = ssm + slot * P * N + channel[:, None] * N + place[None, :]
        state = tl.load(tile) * alpha
        for r in tl.static_range(R):
            into = rank_factor(x_ranks, head, r, channel, R, P)
            state += (before * last * into)[:, None] * tl.load(k + (slot * R + r) * N + place)[None, :]
        # All threads have read the slot before any writes to it.
        tl.debug_barrier()
        group = head * G // H
        for r in tl.static_range(R):
            own = (head * R + r) * N
            b = _turned(source + B + (r * G + group) * N, b_weight, b_bias + own, cos, sin, N, A, IS_MIMO, EPS)
            tl.store(k + (slot * R + r) * N + place, b)
            into = rank_factor(x_ranks, head, r, channel, R, P)
            state += (now * x * into)[:, None] * b[None, :]
        tl.store(tile, state)
        tl.store(angle + slot * A + place // 2, wrapped(turn) * FULL_TURN, mask=turns & (place % 2 == 0))
        tl.store(v + slot * P + channel, x)

        total = tl.zeros((P,), tl.float32)
        for r in tl.static_range(R):
            own = (head * R + r) * N
            c = _turned(source + B + (R * G + r * G + group) * N, c_weight, c_bias + own, cos, sin, N, A, IS_MIMO, EPS)
            into = rank_factor(x_ranks, head, r, channel, R, P)
            y = tl.sum(state * c[None, :], 1) + tl.load(skip + head).to(tl.float32) * x * into
            if HAS_NORM:
                y *= tl.rsqrt(tl.sum(y * y, 0) / P + EPS) * tl.load(norm_weight + head * P + channel).to(tl.float32)
            gate = z * rank_factor(z_ranks, head, r, channel, R, P)
            total += y * rank_factor(out_ranks, head, r, channel, R, P) * gate * sigmoid(gate)
        tl.store(out + (document * H + head).to(tl.int64) * P + channel, total.to(out.dtype.element_ty))


def step_(mixer: Mamba3Mixer, proj: Tensor, layer: State, rows: Tensor) -> Tensor:
    """One token of S documents in one layer, moving the given rows of `layer` on in place.

    proj (S, d_in_proj), what `mixer.in_proj` gave; layer fp32 (slots, ...); rows (S,) int32 on the device, negative
    for padding. Returns the gated y (S, H P) in proj's dtype, zero where padding, for `mixer.out_proj`.
    """
    shapes = Shapes.of(mixer)
    out = torch.zeros((len(proj), shapes.d_inner), dtype=proj.dtype, device=proj.device)
    _step[(shapes.heads, len(proj))](
        proj, proj.stride(0), mixer.dt_bias, mixer.B_norm.weight, mixer.C_norm.weight, mixer.B_bias, mixer.C_bias,
        mixer.D, *optional_weights(mixer), layer["angle"], layer["ssm"], layer["k"], layer["v"], rows, out,
        H=shapes.heads, P=shapes.headdim, N=shapes.d_state, A=shapes.angles, R=shapes.rank, G=shapes.groups,
        B=shapes.b_column, DT=shapes.dt_column, THETA=shapes.theta_column, IS_MIMO=shapes.is_mimo,
        SOFTPLUS=mixer.config.a_activation == "softplus", A_FLOOR=mixer.config.A_floor,
        HAS_NORM=mixer.config.is_outproj_norm, EPS=NORM_EPS, **asdict(SMALL),
    )  # fmt: skip
    return out
