"""Mamba-1 on a GPU: the scan, parallel over channels, documents and the tokens of a chunk, and its step.

Source: Mamba, arXiv 2312.00752, section 3; the equations are those of `models.mamba.selective_scan`, which judges this
file. As there E = channels (d_inner), N = state numbers of a channel, R = rank of the step size's projection.

The convolution comes before, from `convolution.py`, and between the two the projections to step sizes, B and C, which
are cuBLAS's. A program reads all of a document, for some channels; a tile of T tokens at a time, since a load for each
token would be waited for. Within a tile each of the N numbers of a state is a prefix over the tokens.
"""

from dataclasses import asdict

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from models.kernels.activations import LOG2_E, sigmoid, softplus
from models.kernels.convolution import convolve_, convolve_step_
from models.kernels.spans import Spans
from models.kernels.tiling import SMALL
from models.mamba.mamba1 import Mamba1Mixer
from models.state import State

TOKENS, CHANNELS = 32, 32
"""Of a tile."""
STEP_CHANNELS = 128


@triton.jit
def followed_by(decay, added, next_decay, next_added):
    """Two runs of tokens taken together as one."""
    return decay * next_decay, next_decay * added + next_added


@triton.jit
def scan_selectively(
    mixed,
    steps,
    b,
    c,
    b_stride,
    c_stride,
    proj,
    proj_stride,
    dt_bias,
    a_log,
    skip,
    ssm,
    starts,
    segment_starts,
    segment_stops,
    rows,
    out,
    E: tl.constexpr,
    N: tl.constexpr,
    T: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Some channels of the segment that a span begins, gated (L, E), and its slot moved on; nothing for other spans."""
    span, channel = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    start, is_channel = tl.load(segment_starts + span), channel < E
    if tl.load(starts + span) == start:
        stop, row, local = tl.load(segment_stops + span), tl.load(rows + span).to(tl.int64), tl.arange(0, T)
        bias = tl.load(dt_bias + channel, mask=is_channel, other=0.0).to(tl.float32)
        direct = tl.load(skip + channel, mask=is_channel, other=0.0).to(tl.float32)
        for index in range(tl.cdiv(stop - start, T)):
            token = (start + index * T + local).to(tl.int64)
            is_token = token < stop
            live, at = is_token[:, None] & is_channel[None, :], token[:, None] * E + channel[None, :]
            x = tl.load(mixed + at, mask=live, other=0.0).to(tl.float32)
            dt = softplus(tl.load(steps + at, mask=live, other=0.0).to(tl.float32) + bias[None, :])
            # A token beyond the end takes no time: the state stays as it was until the tile's last row.
            dt = tl.where(live, dt, 0.0)
            y = direct[None, :] * x
            for number in range(N):
                logit = tl.load(a_log + channel * N + number, mask=is_channel, other=0.0).to(tl.float32)
                decay = tl.exp2(dt * (tl.exp(logit) * -LOG2_E)[None, :])
                write = tl.load(b + token * b_stride + number, mask=is_token, other=0.0).to(tl.float32)
                read = tl.load(c + token * c_stride + number, mask=is_token, other=0.0).to(tl.float32)
                decays, states = tl.associative_scan((decay, dt * x * write[:, None]), 0, followed_by)
                place = ssm + (row * N + number) * E + channel
                states += decays * tl.load(place, mask=is_channel, other=0.0)[None, :]
                y += read[:, None] * states
                after = tl.sum(tl.where((local == T - 1)[:, None], states, 0.0), 0)
                # Threads hold other channels when they read than when they write.
                tl.debug_barrier()
                tl.store(place, after, mask=is_channel)
            gate = tl.load(proj + token[:, None] * proj_stride + E + channel[None, :], mask=live, other=0.0)
            gate = gate.to(tl.float32)
            tl.store(out + at, (y * gate * sigmoid(gate)).to(out.dtype.element_ty), mask=live)
            tl.debug_barrier()


@triton.jit
def step_selectively(
    mixed,
    steps,
    b,
    c,
    b_stride,
    c_stride,
    proj,
    proj_stride,
    dt_bias,
    a_log,
    skip,
    ssm,
    rows,
    out,
    E: tl.constexpr,
    N: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Some channels of one token of a document, gated (S, E), and its slot moved on. A negative row is padding."""
    document, channel = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row, is_channel = tl.load(rows + document).to(tl.int64), channel < E
    if row >= 0:
        at = document * E + channel
        x = tl.load(mixed + at, mask=is_channel, other=0.0).to(tl.float32)
        bias = tl.load(dt_bias + channel, mask=is_channel, other=0.0).to(tl.float32)
        dt = softplus(tl.load(steps + at, mask=is_channel, other=0.0).to(tl.float32) + bias)
        y = tl.load(skip + channel, mask=is_channel, other=0.0).to(tl.float32) * x
        for number in range(N):
            logit = tl.load(a_log + channel * N + number, mask=is_channel, other=0.0).to(tl.float32)
            place = ssm + (row * N + number) * E + channel
            state = tl.load(place, mask=is_channel, other=0.0) * tl.exp2(dt * tl.exp(logit) * -LOG2_E)
            state += dt * x * tl.load(b + document * b_stride + number).to(tl.float32)
            tl.store(place, state, mask=is_channel)
            y += state * tl.load(c + document * c_stride + number).to(tl.float32)
        gate = tl.load(proj + document * proj_stride + E + channel, mask=is_channel, other=0.0).to(tl.float32)
        tl.store(out + at, (y * gate * sigmoid(gate)).to(out.dtype.element_ty), mask=is_channel)


def why_not(dtype: torch.dtype) -> str | None:
    """Why these kernels cannot run a layer of a dtype, or None."""
    return None if dtype in (torch.bfloat16, torch.float16, torch.float32) else f"{dtype} is not for these kernels"


def scan_(mixer: Mamba1Mixer, proj: Tensor, layer: State, spans: Spans) -> Tensor:
    """Read a pack in one layer, moving the spans' rows of `layer` on in place.

    proj (L, 2 E) contiguous, what `mixer.in_proj` gave; layer fp32 (slots, ...). Returns y (L, E), gated, in proj's
    dtype, for `mixer.out_proj`.
    """
    mixed = convolve_(mixer.conv1d, proj, 0, layer["conv"], spans)
    channels, out = mixed.shape[1], torch.empty_like(mixed)
    scan_selectively[(spans.num_spans, triton.cdiv(channels, CHANNELS))](
        *_steered(mixer, mixed, proj), layer["ssm"], spans.starts, spans.segment_starts, spans.segment_stops,
        spans.rows, out, E=channels, N=mixer.A_log.shape[1], T=TOKENS, BLOCK=CHANNELS, **asdict(SMALL),
    )  # fmt: skip
    return out


def step_(mixer: Mamba1Mixer, proj: Tensor, layer: State, rows: Tensor) -> Tensor:
    """One token of S documents in one layer, moving the given rows of `layer` on in place.

    proj (S, 2 E), what `mixer.in_proj` gave; layer fp32 (slots, ...); rows (S,) int32 on the device, negative for
    padding. Returns y (S, E), gated, in proj's dtype, zero where padding.
    """
    mixed = convolve_step_(mixer.conv1d, proj, 0, layer["conv"], rows, proj.dtype)
    channels, out = mixed.shape[1], torch.zeros_like(mixed)
    step_selectively[(len(proj), triton.cdiv(channels, STEP_CHANNELS))](
        *_steered(mixer, mixed, proj), layer["ssm"], rows, out, E=channels, N=mixer.A_log.shape[1],
        BLOCK=STEP_CHANNELS, **asdict(SMALL),
    )  # fmt: skip
    return out


def _steered(mixer: Mamba1Mixer, mixed: Tensor, proj: Tensor) -> tuple[Tensor | int, ...]:
    """Arguments that both kernels begin with; the step sizes still without their bias."""
    rank, b, c = mixer.steering(mixed)
    steps = F.linear(rank, mixer.dt_proj.weight)
    return (
        mixed, steps, b, c, b.stride(0), c.stride(0), proj, proj.stride(0), mixer.dt_proj.bias, mixer.A_log, mixer.D
    )  # fmt: skip
