"""The states that enter the spans of a long document, found without reading the spans one after the other.

`sum_spans` and `pass_states` are steps 2 and 3 of the scan that `prefill.py` describes; it explains the letters too.
"""

import triton
import triton.language as tl

from models.kernels.activations import FULL_TURN, cos_sin, wrapped
from models.kernels.tiles import (
    carried_planes,
    channel_planes,
    coefficients_of,
    columns_of,
    load_planes,
    of_ranks,
    store_planes,
    turned_planes,
    turns_of,
)


@triton.jit(do_not_specialize=["L"])
def sum_spans(
    proj,
    proj_stride,
    channels,
    biases,
    coefficients,
    velocity,
    x_ranks,
    starts,
    stops,
    segment_stops,
    entries,
    inner,
    sums,
    turns,
    decays,
    L,
    X: tl.constexpr,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    A: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    M: tl.constexpr,
    DTYPE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """What a span adds to one head's state, with phases that begin at zero; its turn (A,) and the log2 of its decay."""
    head, span = tl.program_id(0), tl.load(inner + tl.program_id(1))
    start, stop = tl.load(starts + span), tl.load(stops + span)
    segment_stop, entry = tl.load(segment_stops + span), tl.load(entries + span).to(tl.int64)
    local, rank = tl.arange(0, M) // R, tl.arange(0, M) % R
    leads = rank == 0
    firsts, seconds = tl.zeros((P, A), tl.float32), tl.zeros((P, A), tl.float32)
    still = tl.zeros((P, N - 2 * A), tl.float32)
    turn = tl.zeros((A,), tl.float32)
    decay = 0.0
    for index in range(tl.cdiv(stop - start, M // R)):
        chunk = start + index * (M // R)
        live = local < stop - chunk
        # All loads before anything waits for one of them.
        b_first, b_second, b_still = channel_planes(channels, head, chunk, live, H, R, G, N, A, M)
        x = columns_of(proj, proj_stride, X + head * P, chunk, local, live, P)
        a_dt, dt, _, weight = coefficients_of(coefficients, L, H, head, chunk, local, stop, segment_stop, leads)
        phase, turn = turns_of(velocity, A, chunk, local, live, dt, turn)
        cos, sin = cos_sin(phase)
        b_first, b_second, b_still = turned_planes(b_first, b_second, b_still, biases, head, rank, cos, sin, R, N, A)
        total = tl.sum(a_dt, 0)
        weight *= tl.exp2(total - tl.cumsum(a_dt, 0))
        x = of_ranks(x, x_ranks, head, rank, R, P) * weight[:, None]
        x_turned, alpha = tl.trans(x.to(DTYPE)), tl.exp2(total)
        firsts = tl.dot(x_turned, b_first.to(DTYPE), firsts * alpha, input_precision=PRECISION)
        seconds = tl.dot(x_turned, b_second.to(DTYPE), seconds * alpha, input_precision=PRECISION)
        still = tl.dot(x_turned, b_still.to(DTYPE), still * alpha, input_precision=PRECISION)
        decay += total
    place = entry * H + head
    channel, pair = tl.arange(0, P), tl.arange(0, A)
    store_planes(sums + place * P * N, channel, firsts, seconds, still, N, A)
    tl.store(turns + place * A + pair, turn)
    tl.store(decays + place, decay)


@triton.jit(do_not_specialize=["L"])
def pass_states(
    sums,
    turns,
    decays,
    entering,
    angle,
    ssm,
    k,
    v,
    x_ranks,
    coefficients,
    starts,
    rows,
    entries,
    long_first,
    long_count,
    L,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    A: tl.constexpr,
    R: tl.constexpr,
    P_BLOCK: tl.constexpr,
):
    """Replace the sums of a segment's spans by the states that enter them, and give the phases that enter them.

    The entries of the last span hold nothing yet; they are written, not read.
    """
    segment, head, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    first, count = tl.load(long_first + segment), tl.load(long_count + segment)
    row, entry = tl.load(rows + first).to(tl.int64), tl.load(entries + first).to(tl.int64)
    channel, pair = block * P_BLOCK + tl.arange(0, P_BLOCK), tl.arange(0, A)
    start = tl.load(starts + first)
    firsts, seconds, still = carried_planes(
        ssm, k, v, x_ranks, coefficients, L, row, head, start, channel, H, P, N, A, R
    )
    turn = tl.load(angle + (row * H + head) * A + pair) / FULL_TURN
    for _ in range(count - 1):
        place = entry * H + head
        own_firsts, own_seconds, own_still = load_planes(sums + place * P * N, channel, N, A)
        alpha = tl.exp2(tl.load(decays + place))
        # All threads have read the entry before any writes to it, whatever layouts the compiler chose.
        tl.debug_barrier()
        store_planes(sums + place * P * N, channel, firsts, seconds, still, N, A)
        # Every block needs the sums of turns, so they are not overwritten; one block keeps the phases.
        if block == 0:
            tl.store(entering + place * A + pair, turn)
        cos, sin = cos_sin(turn)
        firsts = firsts * alpha + own_firsts * cos[None, :] - own_seconds * sin[None, :]
        seconds = seconds * alpha + own_firsts * sin[None, :] + own_seconds * cos[None, :]
        still = still * alpha + own_still
        turn = wrapped(turn + tl.load(turns + place * A + pair))
        entry += 1
    place = entry * H + head
    store_planes(sums + place * P * N, channel, firsts, seconds, still, N, A)
    if block == 0:
        tl.store(entering + place * A + pair, turn)
