"""Mamba-2 on a GPU: the scan, parallel over spans of a document as well as over heads and documents, and its step.

Source: Transformers are SSMs (Mamba-2), arXiv 2405.21060, section 6; the equations are those of `models.mamba.ssd`,
which judges this file. The letters, and why a document is read in spans, are in `prefill.py`; here R is 1 and nothing
turns, so that heads of a group share B and C as they come from the convolution.

1. `convolved`, `keep_inputs`: x, B and C of every token, once for all heads.
2. `decays`: step sizes and decays of every head, in the form that `tiles.decays_of` reads.
3. `sum_spans`, `pass_states`: the state that enters each span of a long document.
4. `read_spans`: outputs, and the state after each segment.
5. `gate_norm`: the gate, and the norm over all heads of a group.
"""

from dataclasses import asdict, dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.kernels.activations import LOG2_E, sigmoid, softplus
from models.kernels.convolution import convolve_, convolve_step_
from models.kernels.operands import operands
from models.kernels.spans import Spans
from models.kernels.tiles import columns_of, decays_of, read_of, state_after
from models.kernels.tiling import SMALL, Tiling
from models.mamba.mamba2 import Mamba2Mixer
from models.state import State

LEAST_WEIGHT = tl.constexpr(1e-37)


@triton.jit(do_not_specialize=["low", "high"])
def decays(
    proj,
    proj_stride,
    dt_bias,
    a_log,
    starts,
    stops,
    out,
    low,
    high,
    DT: tl.constexpr,
    H: tl.constexpr,
    M: tl.constexpr,
):
    """One span of one head: `since`, `later` and `now` of each token of a chunk (tiles, 3, H, M), as `turn_channels`
    lays them out; step sizes are held between `low` and `high`."""
    head, span = tl.program_id(0), tl.program_id(1)
    start, stop = tl.load(starts + span), tl.load(stops + span)
    local = tl.arange(0, M)
    rate = -tl.exp(tl.load(a_log + head).to(tl.float32)) * LOG2_E
    bias = tl.load(dt_bias + head).to(tl.float32)
    for index in range(tl.cdiv(stop - start, M)):
        chunk = start + index * M
        live = local < stop - chunk
        logit = tl.load(proj + (chunk + local).to(tl.int64) * proj_stride + DT + head, mask=live, other=0.0)
        dt = tl.minimum(tl.maximum(softplus(logit.to(tl.float32) + bias), low), high)
        since = tl.cumsum(tl.where(live, rate * dt, 0.0), 0)
        later = tl.where(live, tl.log2(tl.maximum(dt, LEAST_WEIGHT)) - since, -float("inf"))
        kept = out + ((start // M + span + index).to(tl.int64) * 3 * H + head) * M + local
        tl.store(kept, since)
        tl.store(kept + H * M, later)
        tl.store(kept + 2 * H * M, dt)


@triton.jit
def sum_spans(
    mixed,
    mixed_stride,
    decays,
    starts,
    stops,
    entries,
    inner,
    sums,
    span_decays,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    G: tl.constexpr,
    M: tl.constexpr,
    DTYPE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """What a span adds to one head's state (P, N), and log2 of its decay."""
    head, span = tl.program_id(0), tl.load(inner + tl.program_id(1))
    start, stop = tl.load(starts + span), tl.load(stops + span)
    local = tl.arange(0, M)
    state, decay = tl.zeros((P, N), tl.float32), 0.0
    for index in range(tl.cdiv(stop - start, M)):
        chunk = start + index * M
        live = local < stop - chunk
        b = columns_of(mixed, mixed_stride, H * P + head * G // H * N, chunk, local, live, N)
        x = columns_of(mixed, mixed_stride, head * P, chunk, local, live, P).to(tl.float32)
        _, later, _, total = decays_of(decays, head, start // M + span + index, local, H, M)
        state = state_after(state, x, b.to(DTYPE), later, total, DTYPE, PRECISION)
        decay += total
    place = tl.load(entries + span).to(tl.int64) * H + head
    tile = tl.arange(0, P)[:, None] * N + tl.arange(0, N)[None, :]
    tl.store(sums + place * P * N + tile, state)
    tl.store(span_decays + place, decay)


@triton.jit
def pass_states(
    sums,
    span_decays,
    ssm,
    rows,
    entries,
    long_first,
    long_count,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    P_BLOCK: tl.constexpr,
):
    """Replace the sums of a segment's spans by the states that enter them. The entry of the last span holds nothing
    yet; it is written, not read."""
    segment, head, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    first, count = tl.load(long_first + segment), tl.load(long_count + segment)
    row, entry = tl.load(rows + first).to(tl.int64), tl.load(entries + first).to(tl.int64)
    tile = (block * P_BLOCK + tl.arange(0, P_BLOCK))[:, None] * N + tl.arange(0, N)[None, :]
    state = tl.load(ssm + (row * H + head) * P * N + tile)
    for index in range(count - 1):
        place = (entry + index) * H + head
        own, alpha = tl.load(sums + place * P * N + tile), tl.exp2(tl.load(span_decays + place))
        # All threads have read the entry before any writes to it, whatever layouts the compiler chose.
        tl.debug_barrier()
        tl.store(sums + place * P * N + tile, state)
        state = state * alpha + own
    tl.store(sums + ((entry + count - 1) * H + head) * P * N + tile, state)


@triton.jit
def read_spans(
    mixed,
    mixed_stride,
    decays,
    skip,
    sums,
    ssm,
    starts,
    stops,
    segment_stops,
    rows,
    entries,
    out,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    G: tl.constexpr,
    M: tl.constexpr,
    DTYPE: tl.constexpr,
    PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """One span of one head: its outputs, with D's skip, (L, H P); and at a segment's end its slot's next state."""
    head, span = tl.program_id(0), tl.program_id(1)
    start, stop = tl.load(starts + span), tl.load(stops + span)
    slot, entry = tl.load(rows + span).to(tl.int64) * H + head, tl.load(entries + span).to(tl.int64)
    local, channel = tl.arange(0, M), tl.arange(0, P)
    tile = channel[:, None] * N + tl.arange(0, N)[None, :]
    entered = ssm + slot * P * N
    if entry >= 0:
        entered = sums + (entry * H + head) * P * N
    state = tl.load(entered + tile)
    d, group = tl.load(skip + head).to(tl.float32), head * G // H * N
    for index in tl.range(0, tl.cdiv(stop - start, M), num_stages=STAGES):
        chunk = start + index * M
        live = local < stop - chunk
        b = columns_of(mixed, mixed_stride, H * P + group, chunk, local, live, N).to(DTYPE)
        c = columns_of(mixed, mixed_stride, H * P + G * N + group, chunk, local, live, N).to(DTYPE)
        x = columns_of(mixed, mixed_stride, head * P, chunk, local, live, P).to(tl.float32)
        since, later, now, total = decays_of(decays, head, start // M + span + index, local, H, M)
        y = read_of(state, x, b, c, d, local, since, later, now, DTYPE, PRECISION)
        state = state_after(state, x, b, later, total, DTYPE, PRECISION)
        target = out + (chunk + local).to(tl.int64)[:, None] * H * P + head * P + channel[None, :]
        tl.store(target, y.to(out.dtype.element_ty), mask=live[:, None])
    if stop == tl.load(segment_stops + span):
        # All threads have read the slot before any writes to it.
        tl.debug_barrier()
        tl.store(ssm + slot * P * N + tile, state)


@triton.jit
def gate_norm(y, proj, proj_stride, weight, WIDTH: tl.constexpr, BLOCK: tl.constexpr, EPS: tl.constexpr):
    """One token's channels of one group, in place: gated by the first columns of the projection, then normalized."""
    token, column = tl.program_id(0).to(tl.int64), tl.program_id(1) * WIDTH + tl.arange(0, BLOCK)
    mask = tl.arange(0, BLOCK) < WIDTH
    target = y + token * tl.num_programs(1) * WIDTH + column
    gate = tl.load(proj + token * proj_stride + column, mask=mask, other=0.0).to(tl.float32)
    gated = tl.load(target, mask=mask, other=0.0).to(tl.float32) * gate * sigmoid(gate)
    scale = tl.rsqrt(tl.sum(gated * gated, 0) / WIDTH + EPS)
    out = gated * scale * tl.load(weight + column, mask=mask, other=0.0).to(tl.float32)
    tl.store(target, out.to(y.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["low", "high"])
def step(
    proj,
    proj_stride,
    mixed,
    dt_bias,
    a_log,
    skip,
    ssm,
    rows,
    out,
    low,
    high,
    DT: tl.constexpr,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    G: tl.constexpr,
    C: tl.constexpr,
):
    """One token of one head of one document: its state is read once and written once. A negative row is padding."""
    head, document = tl.program_id(0), tl.program_id(1)
    row = tl.load(rows + document)
    if row >= 0:
        source, token = mixed + document.to(tl.int64) * C, proj + document.to(tl.int64) * proj_stride
        channel, place = tl.arange(0, P), tl.arange(0, N)
        bias = tl.load(dt_bias + head).to(tl.float32)
        dt = tl.minimum(tl.maximum(softplus(tl.load(token + DT + head).to(tl.float32) + bias), low), high)
        alpha = tl.exp(-tl.exp(tl.load(a_log + head).to(tl.float32)) * dt)
        group = H * P + head * G // H * N + place
        x = tl.load(source + head * P + channel).to(tl.float32)
        b, c = tl.load(source + group).to(tl.float32), tl.load(source + group + G * N).to(tl.float32)
        tile = ssm + (row.to(tl.int64) * H + head) * P * N + channel[:, None] * N + place[None, :]
        state = tl.load(tile) * alpha + (dt * x)[:, None] * b[None, :]
        tl.store(tile, state)
        y = tl.sum(state * c[None, :], 1) + tl.load(skip + head).to(tl.float32) * x
        tl.store(out + (document * H + head).to(tl.int64) * P + channel, y.to(out.dtype.element_ty))


@dataclass(frozen=True)
class Widths:
    """Of a mixer: its heads, and the columns of its projection, z, x, B, C, dt."""

    H: int
    P: int
    N: int
    G: int

    @staticmethod
    def of(mixer: Mamba2Mixer) -> "Widths":
        """Those of a mixer."""
        d_inner, bc_width, _ = mixer.conv_splits
        heads, groups = mixer.num_heads, mixer.num_groups
        return Widths(heads, d_inner // heads, bc_width // groups, groups)

    @property
    def d_inner(self) -> int:
        return self.H * self.P

    @property
    def channels(self) -> int:
        """That the convolution runs over."""
        return self.d_inner + 2 * self.G * self.N

    @property
    def dt_column(self) -> int:
        return self.d_inner + self.channels

    def why_not(self, dtype: torch.dtype) -> str | None:
        """Why these kernels cannot run such a layer, or None."""
        for name, size in (("headdim", self.P), ("d_state", self.N)):
            if size < 16 or size & (size - 1):
                return f"{name} = {size} is no power of two of at least 16"
        if dtype not in (torch.bfloat16, torch.float16, torch.float32):
            return f"{dtype} is not for these kernels"
        return None


def scan_(mixer: Mamba2Mixer, proj: Tensor, layer: State, spans: Spans, tiling: Tiling) -> Tensor:
    """Read a pack in one layer, moving the spans' rows of `layer` on in place.

    proj (L, d_in_proj) contiguous, what `mixer.in_proj` gave; layer fp32 (slots, ...). Returns y (L, H P), gated and
    normalized, in proj's dtype, for `mixer.out_proj`.
    """
    widths, num_tokens, device = Widths.of(mixer), len(proj), proj.device
    dtype, precision = operands(proj)
    tiling = tiling.fitted(1, proj.is_cuda and proj.dtype == torch.float32)
    shape = asdict(widths)

    def scratch(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(size, dtype=dtype, device=device)

    mixed = convolve_(mixer.conv1d, proj, widths.d_inner, layer["conv"], spans)
    weights = scratch(num_tokens // tiling.rows + spans.num_spans, 3, widths.H, tiling.rows)
    decays[(widths.H, spans.num_spans)](
        proj, proj.stride(0), mixer.dt_bias, mixer.A_log, spans.starts, spans.stops, weights, *mixer.dt_limit,
        DT=widths.dt_column, H=widths.H, M=tiling.rows, **asdict(SMALL),
    )  # fmt: skip
    products = {"M": tiling.rows, "DTYPE": dtype, "PRECISION": precision}
    sums = scratch(spans.num_entries, widths.H, widths.P, widths.N)
    if spans.num_entries:
        span_decays = scratch(spans.num_entries, widths.H)
        sum_spans[(widths.H, len(spans.inner))](
            mixed, mixed.stride(0), weights, spans.starts, spans.stops, spans.entries, spans.inner, sums, span_decays,
            **shape, **products, **asdict(tiling.sum),
        )  # fmt: skip
        pass_states[(len(spans.long_first), widths.H, widths.P // 16)](
            sums, span_decays, layer["ssm"], spans.rows, spans.entries, spans.long_first, spans.long_count,
            H=widths.H, P=widths.P, N=widths.N, P_BLOCK=16, **asdict(SMALL),
        )  # fmt: skip
    y = scratch(num_tokens, widths.d_inner, dtype=proj.dtype)
    read_spans[(widths.H, spans.num_spans)](
        mixed, mixed.stride(0), weights, mixer.D, sums, layer["ssm"], spans.starts, spans.stops, spans.segment_stops,
        spans.rows, spans.entries, y, **shape, **products, STAGES=tiling.read.num_stages, **asdict(tiling.read),
    )  # fmt: skip
    return _gated(mixer, y, proj, widths)


def step_(mixer: Mamba2Mixer, proj: Tensor, layer: State, rows: Tensor) -> Tensor:
    """One token of S documents in one layer, moving the given rows of `layer` on in place.

    proj (S, d_in_proj), what `mixer.in_proj` gave; layer fp32 (slots, ...); rows (S,) int32 on the device, negative
    for padding. Returns y (S, H P), gated and normalized, in proj's dtype, zero where padding.
    """
    widths = Widths.of(mixer)
    mixed = convolve_step_(mixer.conv1d, proj, widths.d_inner, layer["conv"], rows, torch.float32)
    y = torch.zeros((len(proj), widths.d_inner), dtype=proj.dtype, device=proj.device)
    step[(widths.H, len(proj))](
        proj, proj.stride(0), mixed, mixer.dt_bias, mixer.A_log, mixer.D, layer["ssm"], rows, y, *mixer.dt_limit,
        DT=widths.dt_column, **asdict(widths), C=widths.channels, **asdict(SMALL),
    )  # fmt: skip
    return _gated(mixer, y, proj, widths)


def _gated(mixer: Mamba2Mixer, y: Tensor, proj: Tensor, widths: Widths) -> Tensor:
    """y (L, H P), changed in place."""
    width = widths.d_inner // widths.G
    gate_norm[(len(y), widths.G)](
        y, proj, proj.stride(0), mixer.norm.weight, WIDTH=width, BLOCK=triton.next_power_of_2(width),
        EPS=mixer.norm.eps, **asdict(SMALL),
    )  # fmt: skip
    return y
