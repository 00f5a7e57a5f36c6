"""The states that enter the spans of a long document, found without reading the spans one after the other.

`sum_spans` and `pass_states` are steps 3 and 4 of the scan that `prefill.py` describes; it explains the letters too.
"""

import triton
import triton.language as tl

from models.kernels.activations import FULL_TURN, wrapped
from models.kernels.tiles import (
    carried_state,
    columns_of,
    decays_of,
    of_ranks,
    row_stride,
    rows_of,
    state_after,
    state_turned,
    turns_at,
)


@triton.jit(do_not_specialize=["L"])
def sum_spans(
    proj,
    proj_stride,
    turned,
    decays,
    x_ranks,
    starts,
    stops,
    entries,
    inner,
    sums,
    span_decays,
    L,
    X: tl.constexpr,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    R: tl.constexpr,
    M: tl.constexpr,
    DTYPE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """What a span adds to one head's state (P, N), with phases that begin at zero; and log2 of its decay."""
    head, span = tl.program_id(0), tl.load(inner + tl.program_id(1))
    start, stop = tl.load(starts + span), tl.load(stops + span)
    local, rank = tl.arange(0, M) // R, tl.arange(0, M) % R
    state, decay = tl.zeros((P, N), tl.float32), 0.0
    for index in range(tl.cdiv(stop - start, M // R)):
        chunk = start + index * (M // R)
        live = local < stop - chunk
        b = rows_of(turned, L, head, chunk, live, 0, N, R, M)
        x = columns_of(proj, row_stride(proj_stride, H), X + head * P, chunk, local, live, P)
        _, later, _, total = decays_of(decays, head, start // (M // R) + span + index, local, H, M // R)
        x = of_ranks(x, x_ranks, head, rank, R, P)
        state = state_after(state, x, b.to(DTYPE), later, total, DTYPE, PRECISION)
        decay += total
    place = tl.load(entries + span).to(tl.int64) * H + head
    tile = tl.arange(0, P)[:, None] * N + tl.arange(0, N)[None, :]
    tl.store(sums + place * P * N + tile, state)
    tl.store(span_decays + place, decay)


@triton.jit(do_not_specialize=["L"])
def pass_states(
    sums,
    span_turns,
    span_decays,
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
    """Replace the sums of a segment's spans by the states that enter them, and give the phase that enters the last.

    Each is as a span sees it whose phase begins at zero: turned back by the phase that enters. The entry of the last
    span holds nothing yet; it is written, not read.
    """
    segment, head, block = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    first, count = tl.load(long_first + segment), tl.load(long_count + segment)
    row, entry = tl.load(rows + first).to(tl.int64), tl.load(entries + first).to(tl.int64)
    channel = block * P_BLOCK + tl.arange(0, P_BLOCK)
    state = carried_state(ssm, k, v, x_ranks, coefficients, L, row, head, tl.load(starts + first), channel, H, P, N, R)
    phase = turns_at(angle + (row * H + head) * A, N, A) / FULL_TURN
    state = state_turned(state, -phase)
    tile = channel[:, None] * N + tl.arange(0, N)[None, :]
    for index in range(count - 1):
        place = (entry + index) * H + head
        target = sums + place * P * N + tile
        own, alpha = tl.load(target), tl.exp2(tl.load(span_decays + place))
        turn = turns_at(span_turns + ((first + index).to(tl.int64) * H + head) * A, N, A)
        # All threads have read the entry before any writes to it, whatever layouts the compiler chose.
        tl.debug_barrier()
        tl.store(target, state)
        state = state_turned(state * alpha + own, -turn)
        phase = wrapped(phase + turn)
    last = (entry + count - 1) * H + head
    tl.store(sums + last * P * N + tile, state)
    if block == 0:
        pair = tl.arange(0, N // 2)
        tl.store(entering + last * A + pair, phase, mask=pair < A)
