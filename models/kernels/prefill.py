"""The Mamba-3 scan on a GPU: parallel over spans of a document as well as over heads and documents.

Source: Mamba-3, arXiv 2603.15569; the equations are those of `models.mamba.scan`, which judges this file.

L = tokens in the pack, K = spans, Q = tokens in a chunk, R = rank, M = QR rows of a chunk, H = heads, P = head width,
N = state channels, of which A pairs turn and the rest keep still, G = groups of B and C.

1. `prepare_coefficients`, `prepare_channels`: what every head needs of the projection, once per token.
2. `turn_channels`: B and C of every head, with its bias, turned, and rounded to what the matrix products take. Phases
   begin at zero in each span, for products of B and C depend on their differences alone. All spans at once.
3. `sum_spans`: what each span adds to the state; all spans at once.
4. `pass_states`: the state that enters each span, turned back by the phase that enters; one span after the other, but
   little work.
5. `_read_spans`: outputs, gated, and the state after each segment; all spans at once.

Turned B and C are the largest scratch: 2 L R H N values of the projection's type. Kernels that turn them on the way
need no such memory, but too many registers beside a state, and wait for each other's loads.

Heads vary fastest over the programs: those that run at one time share B, C and the velocities of a span in the cache.
A document of one span needs no 3 and 4. L is no part of what a kernel is compiled for: no length compiles anew.
"""

from dataclasses import asdict

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.kernels.activations import FULL_TURN, sigmoid, wrapped
from models.kernels.coefficients import prepare_channels, prepare_coefficients
from models.kernels.operands import operands
from models.kernels.shapes import Shapes, optional_weights
from models.kernels.span_states import pass_states, sum_spans
from models.kernels.spans import Spans
from models.kernels.tiles import (
    carried_state,
    channels_of,
    columns_of,
    decays_of,
    of_ranks,
    read_of,
    row_stride,
    rows_of,
    state_after,
    state_turned,
    turns_at,
)
from models.kernels.tiling import SMALL, Tiling
from models.kernels.turning import turn_channels
from models.mamba.mamba3 import Mamba3Mixer
from models.mamba.norms import NORM_EPS
from models.state import State

TOKENS_PER_PROGRAM = 16


@triton.jit(do_not_specialize=["L"])
def _read_spans(
    proj,
    proj_stride,
    channels,
    biases,
    turned,
    decays,
    coefficients,
    skip,
    x_ranks,
    z_ranks,
    out_ranks,
    norm_weight,
    sums,
    entering,
    span_turns,
    angle,
    ssm,
    k,
    v,
    starts,
    stops,
    segment_stops,
    rows,
    entries,
    out,
    L,
    X: tl.constexpr,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    A: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    M: tl.constexpr,
    HAS_NORM: tl.constexpr,
    EPS: tl.constexpr,
    DTYPE: tl.constexpr,
    PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """One span of one head: its outputs, gated, (L, H P); and at a segment's end its slot's next state."""
    head, span = tl.program_id(0), tl.program_id(1)
    start, stop = tl.load(starts + span), tl.load(stops + span)
    row, entry = tl.load(rows + span).to(tl.int64), tl.load(entries + span).to(tl.int64)
    slot, place = row * H + head, entry * H + head
    local, rank = tl.arange(0, M) // R, tl.arange(0, M) % R
    channel = tl.arange(0, P)
    tile = channel[:, None] * N + tl.arange(0, N)[None, :]
    if entry < 0:
        state = carried_state(ssm, k, v, x_ranks, coefficients, L, row, head, start, channel, H, P, N, R)
        state = state_turned(state, turns_at(angle + slot * A, N, A) / -FULL_TURN)
    else:
        state = tl.load(sums + place * P * N + tile)
    d = tl.load(skip + head).to(tl.float32)
    for index in tl.range(0, tl.cdiv(stop - start, M // R), num_stages=STAGES):
        chunk = start + index * (M // R)
        live = local < stop - chunk
        c = rows_of(turned, L, head, chunk, live, 1, N, R, M).to(DTYPE)
        b = rows_of(turned, L, head, chunk, live, 0, N, R, M).to(DTYPE)
        x = columns_of(proj, row_stride(proj_stride, H), X + head * P, chunk, local, live, P)
        z = columns_of(proj, row_stride(proj_stride, H), head * P, chunk, local, live, P)
        since, later, now, total = decays_of(decays, head, start // (M // R) + span + index, local, H, M // R)
        x = of_ranks(x, x_ranks, head, rank, R, P)
        y = read_of(state, x, b, c, d, local, since, later, now, DTYPE, PRECISION)
        state = state_after(state, x, b, later, total, DTYPE, PRECISION)
        if HAS_NORM:
            scale = tl.rsqrt(tl.sum(y * y, 1) / P + EPS)[:, None]
            y *= scale * tl.load(norm_weight + head * P + channel).to(tl.float32)[None, :]
        z = of_ranks(z, z_ranks, head, rank, R, P)
        y = of_ranks(y, out_ranks, head, rank, R, P) * (z * sigmoid(z))
        if R > 1:
            y = tl.sum(tl.reshape(y, (M // R, R, P)), 1)
        written = tl.arange(0, M // R)[:, None]
        target = out + chunk.to(tl.int64) * H * P + head * P + written * H * P + channel[None, :]
        tl.store(target, y.to(out.dtype.element_ty), mask=written < stop - chunk)

    if stop == tl.load(segment_stops + span):
        phase = turns_at(angle + slot * A, N, A) / FULL_TURN
        if entry >= 0:
            phase = turns_at(entering + place * A, N, A)
        # All threads have read the slot before any writes to it.
        tl.debug_barrier()
        tl.store(ssm + slot * P * N + tile, state_turned(state, phase))
        phase += turns_at(span_turns + (span.to(tl.int64) * H + head) * A, N, A)
        pair, ranks = tl.arange(0, N // 2), tl.arange(0, R)
        tl.store(angle + slot * A + pair, wrapped(phase) * FULL_TURN, mask=pair < A)
        source = channels + (stop - 1).to(tl.int64) * R * G * N
        key = state_turned(channels_of(source, biases, head, ranks, ranks < R, 0, N, H, R, G, N), phase)
        tl.store(k + slot * R * N + ranks[:, None] * N + tl.arange(0, N)[None, :], key)
        last = proj + (stop - 1).to(tl.int64) * proj_stride + X + head * P + channel
        tl.store(v + slot * P + channel, tl.load(last).to(tl.float32))


def scan_(mixer: Mamba3Mixer, proj: Tensor, layer: State, spans: Spans, tiling: Tiling) -> Tensor:
    """Read a pack in one layer, moving the spans' rows of `layer` on in place.

    proj (L, d_in_proj) contiguous, what `mixer.in_proj` gave; layer fp32 (slots, ...). Returns the gated y (L, H P)
    in proj's dtype, for `mixer.out_proj`.
    """
    shapes, num_tokens, device = Shapes.of(mixer), len(proj), proj.device
    dtype, precision = operands(proj)
    tiling = tiling.fitted(shapes.rank, proj.is_cuda and proj.dtype == torch.float32)
    x_ranks, z_ranks, out_ranks, norm_weight = optional_weights(mixer)

    def scratch(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=device)

    rows, head_rows = shapes.rank * shapes.groups, shapes.rank * shapes.heads
    channels = scratch(2, num_tokens, rows, shapes.d_state, dtype=proj.dtype)
    biases = scratch(2, head_rows, shapes.d_state)
    coefficients = scratch(4, shapes.heads, num_tokens)
    velocity = scratch(num_tokens, shapes.angles)
    out = scratch(num_tokens, shapes.d_inner, dtype=proj.dtype)
    blocks = triton.cdiv(num_tokens, TOKENS_PER_PROGRAM)
    prepare_coefficients[(blocks,)](
        proj, proj.stride(0), mixer.dt_bias, coefficients, velocity, num_tokens,
        DT=shapes.dt_column, THETA=shapes.theta_column, H=shapes.heads, H_BLOCK=triton.next_power_of_2(shapes.heads),
        A=shapes.angles, SOFTPLUS=mixer.config.a_activation == "softplus", A_FLOOR=mixer.config.A_floor,
        T=TOKENS_PER_PROGRAM, **asdict(SMALL),
    )  # fmt: skip
    prepare_channels[(blocks, rows, 2)](
        proj, proj.stride(0), mixer.B_norm.weight, mixer.C_norm.weight, mixer.B_bias, mixer.C_bias,
        channels, biases, num_tokens, B=shapes.b_column, ROWS=rows, HR=head_rows, N=shapes.d_state,
        IS_MIMO=shapes.is_mimo, EPS=NORM_EPS, T=TOKENS_PER_PROGRAM, **asdict(SMALL),
    )  # fmt: skip
    chunk = tiling.rows // shapes.rank
    turned = scratch(shapes.heads, num_tokens * shapes.rank, 2, shapes.d_state, dtype=proj.dtype)
    decays = scratch(num_tokens // chunk + spans.num_spans, 3, shapes.heads, chunk)
    span_turns = scratch(spans.num_spans, shapes.heads, shapes.angles)
    state = {"H": shapes.heads, "N": shapes.d_state, "R": shapes.rank}
    turning = state | {"A": shapes.angles, "G": shapes.groups}
    tile = {"X": shapes.d_inner, "P": shapes.headdim, "M": tiling.rows, "DTYPE": dtype, "PRECISION": precision}
    turn_channels[(shapes.heads, spans.num_spans)](
        channels, biases, coefficients, velocity, spans.starts, spans.stops, spans.segment_stops, turned, decays,
        span_turns, num_tokens, M=tiling.rows, **turning, STAGES=tiling.turn.num_stages, **asdict(tiling.turn),
    )  # fmt: skip
    slots = (layer["angle"], layer["ssm"], layer["k"], layer["v"])
    entries = (spans.num_entries, shapes.heads)
    sums, entering = scratch(*entries, shapes.headdim, shapes.d_state), scratch(*entries, shapes.angles)
    if spans.num_entries:
        span_decays = scratch(*entries)
        sum_spans[(shapes.heads, len(spans.inner))](
            proj, proj.stride(0), turned, decays, x_ranks, spans.starts, spans.stops, spans.entries, spans.inner,
            sums, span_decays, num_tokens, **state, **tile, **asdict(tiling.sum),
        )  # fmt: skip
        pass_states[(len(spans.long_first), shapes.heads, shapes.headdim // 16)](
            sums, span_turns, span_decays, entering, *slots, x_ranks, coefficients, spans.starts, spans.rows,
            spans.entries, spans.long_first, spans.long_count, num_tokens, **state, P=shapes.headdim, A=shapes.angles,
            P_BLOCK=16, **asdict(SMALL),
        )  # fmt: skip
    _read_spans[(shapes.heads, spans.num_spans)](
        proj, proj.stride(0), channels, biases, turned, decays, coefficients, mixer.D, x_ranks, z_ranks, out_ranks,
        norm_weight, sums, entering, span_turns, *slots, spans.starts, spans.stops, spans.segment_stops, spans.rows,
        spans.entries, out, num_tokens, HAS_NORM=mixer.config.is_outproj_norm, EPS=NORM_EPS, **turning, **tile,
        STAGES=tiling.read.num_stages, **asdict(tiling.read),
    )  # fmt: skip
    return out
