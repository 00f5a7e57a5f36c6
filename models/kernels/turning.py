"""B and C as each head uses them, for the scan that `prefill.py` describes; it explains the letters too."""

import triton
import triton.language as tl

from models.kernels.activations import cos_sin, wrapped
from models.kernels.tiles import rotated


@triton.jit(do_not_specialize=["L"])
def turn_channels(
    channels,
    biases,
    coefficients,
    velocity,
    starts,
    stops,
    segment_stops,
    turned,
    decays,
    span_turns,
    span_decays,
    last_keys,
    L,
    H: tl.constexpr,
    N: tl.constexpr,
    A: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    M: tl.constexpr,
):
    """One span of one head, with phases that begin at zero.

    `turned` (2, H, L R, N) are B and C in turning order, rounded. `decays` (tiles, 3, H, M / R) are of each token in its
    chunk `since`, log2 of the decay from the chunk's start, `later`, log2 of its weight for later tokens less `since`,
    and gamma; chunk i of span k that starts at s is tile s R // M + k + i, so that no two spans share one, and places
    beyond the span's end weigh nothing. Of the span: its turn (A,), log2 of its decay and, where it ends a segment, B
    of its last token (R, N) as it was before rounding.
    """
    head, span = tl.program_id(0), tl.program_id(1)
    start, stop, segment_stop = tl.load(starts + span), tl.load(stops + span), tl.load(segment_stops + span)
    local, rank = tl.arange(0, M) // R, tl.arange(0, M) % R
    leads = rank == 0
    place = span.to(tl.int64) * H + head
    turn, decay = tl.zeros((A,), tl.float32), 0.0
    for index in range(tl.cdiv(stop - start, M // R)):
        chunk = start + index * (M // R)
        live = local < stop - chunk
        a_dt, dt, now, weight = _coefficients_of(coefficients, L, H, head, chunk, local, live, segment_stop, leads)
        since = tl.cumsum(a_dt, 0)
        later = tl.where(live, tl.log2(tl.maximum(weight, 1e-37)) - since, -float("inf"))
        kept = decays + ((start // (M // R) + span + index).to(tl.int64) * 3 * H + head) * (M // R) + local
        tl.store(kept, since, mask=leads)
        tl.store(kept + H * (M // R), later, mask=leads)
        tl.store(kept + 2 * H * (M // R), now, mask=leads)
        decay += tl.sum(a_dt, 0)
        phase, turn = _turns_of(velocity, A, chunk, local, live, dt, turn)
        cos, sin = cos_sin(phase)
        for which in tl.static_range(2):
            source, own = channels + which * R * G * N * L.to(tl.int64), biases + which * H * R * N
            pairs = rotated(_channels_of(source, own, head, rank, chunk, live, 0, 2 * A, H, R, G, N, M), cos, sin)
            still = _channels_of(source, own, head, rank, chunk, live, 2 * A, N - 2 * A, H, R, G, N, M)
            if which == 0:
                if chunk + M // R >= segment_stop:
                    is_last = local == segment_stop - 1 - chunk
                    _store_rows(last_keys + place * R * N, rank, pairs, still, is_last, N, A)
            target = turned + ((which * H + head) * L.to(tl.int64) + chunk) * R * N
            _store_rows(target, tl.arange(0, M), pairs, still, live, N, A)
    tl.store(span_turns + place * A + tl.arange(0, A), turn)
    tl.store(span_decays + place, decay)


@triton.jit
def _coefficients_of(coefficients, L, H: tl.constexpr, head, chunk, local, live, segment_stop, leads):
    """Per row: a_dt log2(e) and dt, on a token's first row alone; gamma, and the weight for later tokens."""
    plane = H * L.to(tl.int64)
    place = coefficients + head * L.to(tl.int64) + chunk + local
    a_dt = tl.load(place, mask=live & leads, other=0.0)
    dt = tl.load(place + plane, mask=live & leads, other=0.0)
    now = tl.load(place + 2 * plane, mask=live, other=0.0)
    pending = tl.load(place + 3 * plane + 1, mask=live & (local + 1 < segment_stop - chunk), other=0.0)
    return a_dt, dt, now, now + pending


@triton.jit
def _turns_of(velocity, A: tl.constexpr, chunk, local, live, dt, entering):
    """(M, A) phase after each row's token, in turns, and the phase after the chunk (A,)."""
    source = velocity + chunk.to(tl.int64) * A + local[:, None] * A + tl.arange(0, A)[None, :]
    turns = tl.load(source, mask=live[:, None], other=0.0) * dt[:, None]
    return tl.cumsum(turns, 0) + entering[None, :], wrapped(entering + tl.sum(turns, 0))


@triton.jit
def _channels_of(
    channels,
    biases,
    head,
    rank,
    chunk,
    live,
    FIRST: tl.constexpr,
    COUNT: tl.constexpr,
    H: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    N: tl.constexpr,
    M: tl.constexpr,
):
    """(M, COUNT) channels, from FIRST on, of B or C of one head's group, with the head's bias, in fp32."""
    column = FIRST + tl.arange(0, COUNT)[None, :]
    source = channels + (chunk.to(tl.int64) * R * G + head * G // H) * N + tl.arange(0, M)[:, None] * G * N
    own = biases + head * N
    if R > 1:
        own = biases + (head * R + rank)[:, None] * N
    return tl.load(source + column, mask=live[:, None], other=0.0).to(tl.float32) + tl.load(own + column)


@triton.jit
def _store_rows(target, row, pairs, still, wanted, N: tl.constexpr, A: tl.constexpr):
    """Those rows that are `wanted`, at their `row` of N channels."""
    source, mask = target + row[:, None] * N, wanted[:, None]
    tl.store(source + tl.arange(0, 2 * A)[None, :], pairs.to(target.dtype.element_ty), mask=mask)
    tl.store(source + 2 * A + tl.arange(0, N - 2 * A)[None, :], still.to(target.dtype.element_ty), mask=mask)
