"""The Mamba-3 scan on a GPU: parallel over spans of a document as well as over heads and documents.

Source: Mamba-3, arXiv 2603.15569; the equations are those of `models.mamba.scan`, which judges this file.

L = tokens in the pack, K = spans, Q = tokens in a chunk, R = rank, M = QR rows of a chunk, H = heads, P = head width,
N = state channels, of which A pairs turn and F = N - 2A keep still, G = groups of B and C.

Nothing of size (L, H, N) is ever in memory: each head adds its bias to B and C, and turns them, in registers, in the
tiles of `tiles.py`.

1. `prepare_coefficients`, `prepare_channels`: what every head needs of the projection, once per token.
2. `sum_spans`: what each span adds to the state, turned as if its phase began at zero; all spans at once.
3. `pass_states`: the state and the phase that enter each span, one span after the other; little work.
4. `_read_spans`: outputs, gated, and the state after each segment; all spans at once.

Heads vary fastest over the programs: those that run at one time share B, C and the velocities of a span in the cache.
A document of one span needs 1 and 4 alone. L is no part of what a kernel is compiled for: no length compiles anew.
"""

from dataclasses import asdict

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.kernels.activations import FULL_TURN, cos_sin, sigmoid, wrapped
from models.kernels.coefficients import prepare_channels, prepare_coefficients
from models.kernels.shapes import Shapes, optional_weights
from models.kernels.span_states import pass_states, sum_spans
from models.kernels.spans import Spans
from models.kernels.tiles import (
    carried_planes,
    channel_planes,
    coefficients_of,
    columns_of,
    dot_planes,
    load_planes,
    of_ranks,
    turned_planes,
    turns_of,
)
from models.kernels.tiling import Tiling
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
    coefficients,
    velocity,
    skip,
    x_ranks,
    z_ranks,
    out_ranks,
    norm_weight,
    sums,
    entering,
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
):
    """One span of one head: its outputs, gated, (L, H P); and at a segment's end its slot's next state."""
    head, span = tl.program_id(0), tl.program_id(1)
    start, stop = tl.load(starts + span), tl.load(stops + span)
    segment_stop, entry = tl.load(segment_stops + span), tl.load(entries + span).to(tl.int64)
    slot = tl.load(rows + span).to(tl.int64) * H + head
    local, rank = tl.arange(0, M) // R, tl.arange(0, M) % R
    channel, pair = tl.arange(0, P), tl.arange(0, A)
    leads = rank == 0
    if entry < 0:
        firsts, seconds, still = carried_planes(
            ssm, k, v, x_ranks, coefficients, L, tl.load(rows + span).to(tl.int64), head, start, channel, H, P, N, A, R
        )
        turn = tl.load(angle + slot * A + pair) / FULL_TURN
    else:
        firsts, seconds, still = load_planes(sums + (entry * H + head) * P * N, channel, N, A)
        turn = tl.load(entering + (entry * H + head) * A + pair)
    pairs = tl.interleave(firsts, seconds)
    # All threads have read the slot before any writes to it.
    tl.debug_barrier()
    d = tl.load(skip + head).to(tl.float32)
    c_channels, c_biases = channels + L.to(tl.int64) * R * G * N, biases + H * R * N
    for index in range(tl.cdiv(stop - start, M // R)):
        chunk = start + index * (M // R)
        live = local < stop - chunk
        a_dt, dt, now, weight = coefficients_of(coefficients, L, H, head, chunk, local, stop, segment_stop, leads)
        phase, turn = turns_of(velocity, A, chunk, local, live, dt, turn)
        cos, sin = cos_sin(phase)
        b_first, b_second, b_still = channel_planes(channels, head, chunk, live, H, R, G, N, A, M)
        b_first, b_second, b_still = turned_planes(b_first, b_second, b_still, biases, head, rank, cos, sin, R, N, A)
        if chunk + M // R >= segment_stop:
            is_last = local == segment_stop - 1 - chunk
            last_k = k + (slot * R + rank)[:, None] * N
            tl.store(last_k + 2 * pair[None, :], b_first, mask=is_last[:, None])
            tl.store(last_k + 2 * pair[None, :] + 1, b_second, mask=is_last[:, None])
            tl.store(last_k + 2 * A + tl.arange(0, N - 2 * A)[None, :], b_still, mask=is_last[:, None])
            last_angle = angle + slot * A + 0 * rank[:, None] + pair[None, :]
            tl.store(last_angle, wrapped(phase) * FULL_TURN, mask=(is_last & leads)[:, None])
        b_pairs, b_still = tl.interleave(b_first, b_second).to(DTYPE), b_still.to(DTYPE)
        c_first, c_second, c_still = channel_planes(c_channels, head, chunk, live, H, R, G, N, A, M)
        c_first, c_second, c_still = turned_planes(c_first, c_second, c_still, c_biases, head, rank, cos, sin, R, N, A)
        c_pairs, c_still = tl.interleave(c_first, c_second).to(DTYPE), c_still.to(DTYPE)

        decay, total = tl.cumsum(a_dt, 0), tl.sum(a_dt, 0)
        x = columns_of(proj, proj_stride, X + head * P, chunk, local, live, P)
        x = of_ranks(x, x_ranks, head, rank, R, P)
        y = dot_planes(c_pairs, c_still, pairs, still, DTYPE, PRECISION) * tl.exp2(decay)[:, None]
        scores = dot_planes(c_pairs, c_still, b_pairs, b_still, DTYPE, PRECISION)
        # A token's own weight is gamma: relative to the weight for later ones, which x brings with it.
        own = (now / tl.maximum(weight, 1e-30))[:, None]
        earlier, same = local[:, None] > local[None, :], local[:, None] == local[None, :]
        scores *= tl.exp2(tl.where(earlier, decay[:, None] - decay[None, :], -float("inf"))) + tl.where(same, own, 0.0)
        weighted = x * weight[:, None]
        y = tl.dot(scores.to(DTYPE), weighted.to(DTYPE), y + d * x, input_precision=PRECISION)

        x_turned = tl.trans((weighted * tl.exp2(total - decay)[:, None]).to(DTYPE))
        alpha = tl.exp2(total)
        pairs = tl.dot(x_turned, b_pairs, pairs * alpha, input_precision=PRECISION)
        still = tl.dot(x_turned, b_still, still * alpha, input_precision=PRECISION)

        if HAS_NORM:
            scale = tl.rsqrt(tl.sum(y * y, 1) / P + EPS)[:, None]
            y *= scale * tl.load(norm_weight + head * P + channel).to(tl.float32)[None, :]
        z = columns_of(proj, proj_stride, head * P, chunk, local, live, P)
        z = of_ranks(z, z_ranks, head, rank, R, P)
        y = of_ranks(y, out_ranks, head, rank, R, P) * z * sigmoid(z)
        if R > 1:
            y = tl.sum(tl.reshape(y, (M // R, R, P)), 1)
        written = tl.arange(0, M // R)[:, None]
        target = out + chunk.to(tl.int64) * H * P + head * P + written * H * P + channel[None, :]
        tl.store(target, y.to(out.dtype.element_ty), mask=written < stop - chunk)

    if stop == segment_stop:
        row = ssm + slot * P * N + channel[:, None] * N
        tl.store(row + tl.arange(0, 2 * A)[None, :], pairs)
        tl.store(row + 2 * A + tl.arange(0, N - 2 * A)[None, :], still)
        last = proj + (segment_stop - 1).to(tl.int64) * proj_stride + X + head * P + channel
        tl.store(v + slot * P + channel, tl.load(last).to(tl.float32))


def _operands(proj: Tensor) -> tuple[tl.dtype, str]:
    """What the matrix products take, and how: fp32 as it is, since Triton's default would be tf32.

    Triton's interpreter, which runs where there is no GPU, multiplies the bits of bf16 as integers: fp32 there.
    """
    if proj.dtype == torch.float32 or not proj.is_cuda:
        return tl.float32, "ieee"
    return (tl.bfloat16 if proj.dtype == torch.bfloat16 else tl.float16), "tf32"


def scan_(mixer: Mamba3Mixer, proj: Tensor, layer: State, spans: Spans, tiling: Tiling) -> Tensor:
    """Read a pack in one layer, moving the spans' rows of `layer` on in place.

    proj (L, d_in_proj) contiguous, what `mixer.in_proj` gave; layer fp32 (slots, ...). Returns the gated y (L, H P)
    in proj's dtype, for `mixer.out_proj`.
    """
    shapes, num_tokens, device = Shapes.of(mixer), len(proj), proj.device
    dtype, precision = _operands(proj)
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
        T=TOKENS_PER_PROGRAM,
    )  # fmt: skip
    prepare_channels[(blocks, rows, 2)](
        proj, proj.stride(0), mixer.B_norm.weight, mixer.C_norm.weight, mixer.B_bias, mixer.C_bias,
        channels, biases, num_tokens, B=shapes.b_column, ROWS=rows, HR=head_rows, N=shapes.d_state, A=shapes.angles,
        IS_MIMO=shapes.is_mimo, EPS=NORM_EPS, T=TOKENS_PER_PROGRAM,
    )  # fmt: skip
    sizes = {"H": shapes.heads, "P": shapes.headdim, "N": shapes.d_state, "A": shapes.angles, "R": shapes.rank}
    tiles = {"X": shapes.d_inner, "G": shapes.groups, "M": tiling.rows, "DTYPE": dtype, "PRECISION": precision}
    slots = (layer["angle"], layer["ssm"], layer["k"], layer["v"])
    entries = (spans.num_entries, shapes.heads)
    sums, entering = scratch(*entries, shapes.headdim, shapes.d_state), scratch(*entries, shapes.angles)
    if spans.num_entries:
        turns, decays = scratch(*entries, shapes.angles), scratch(*entries)
        sum_spans[(shapes.heads, len(spans.inner))](
            proj, proj.stride(0), channels, biases, coefficients, velocity, x_ranks, spans.starts, spans.stops,
            spans.segment_stops, spans.entries, spans.inner, sums, turns, decays, num_tokens, **sizes, **tiles,
            **asdict(tiling.sum),
        )  # fmt: skip
        pass_states[(len(spans.long_first), shapes.heads, shapes.headdim // 16)](
            sums, turns, decays, entering, *slots, x_ranks, coefficients, spans.starts, spans.rows, spans.entries,
            spans.long_first, spans.long_count, num_tokens, P_BLOCK=16, **sizes,
        )  # fmt: skip
    _read_spans[(shapes.heads, spans.num_spans)](
        proj, proj.stride(0), channels, biases, coefficients, velocity, mixer.D, x_ranks,
        z_ranks, out_ranks, norm_weight, sums, entering, *slots, spans.starts, spans.stops,
        spans.segment_stops, spans.rows, spans.entries, out, num_tokens,
        HAS_NORM=mixer.config.is_outproj_norm, EPS=NORM_EPS, **sizes, **tiles, **asdict(tiling.read),
    )  # fmt: skip
    return out
