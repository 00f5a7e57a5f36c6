"""B and C as each head uses them, for the scan that `prefill.py` describes; it explains the letters too.

In registers their channels are three planes, the firsts of all pairs (A), their seconds (A) and the still ones, so that
a rotation is arithmetic on whole tiles.
"""

import triton
import triton.language as tl

from models.kernels.activations import cos_sin, wrapped


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

    `turned` (2, H, L R, N) are B and C in turning order, rounded; `decays` (2, H, L) log2 of the decay since the start
    of the token's chunk, and its weight for later tokens. Of the span: its turn (A,), log2 of its decay and, where it
    ends a segment, B of its last token (R, N) as it was before rounding.
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
        a_dt, dt, weight = _coefficients_of(coefficients, L, H, head, chunk, local, live, segment_stop, leads)
        kept = decays + head * L.to(tl.int64) + chunk + local
        tl.store(kept, tl.cumsum(a_dt, 0), mask=live & leads)
        tl.store(kept + H * L.to(tl.int64), weight, mask=live & leads)
        decay += tl.sum(a_dt, 0)
        phase, turn = _turns_of(velocity, A, chunk, local, live, dt, turn)
        cos, sin = cos_sin(phase)
        for which in tl.static_range(2):
            first, second, still = _planes_of(channels + which * R * G * N * L.to(tl.int64), head, chunk, live, H, R, G, N, A, M)
            own = biases + which * H * R * N
            first, second, still = _turned(first, second, still, own, head, rank, cos, sin, R, N, A)
            if which == 0:
                if chunk + M // R >= segment_stop:
                    is_last = local == segment_stop - 1 - chunk
                    _store_planes(last_keys + place * R * N, rank, first, second, still, is_last, N, A)
            target = turned + ((which * H + head) * L.to(tl.int64) + chunk) * R * N
            _store_planes(target, tl.arange(0, M), first, second, still, live, N, A)
    tl.store(span_turns + place * A + tl.arange(0, A), turn)
    tl.store(span_decays + place, decay)


@triton.jit
def _coefficients_of(coefficients, L, H: tl.constexpr, head, chunk, local, live, segment_stop, leads):
    """Per row: a_dt log2(e) and dt, on a token's first row alone; and the weight for later tokens."""
    plane = H * L.to(tl.int64)
    place = coefficients + head * L.to(tl.int64) + chunk + local
    a_dt = tl.load(place, mask=live & leads, other=0.0)
    dt = tl.load(place + plane, mask=live & leads, other=0.0)
    now = tl.load(place + 2 * plane, mask=live, other=0.0)
    pending = tl.load(place + 3 * plane + 1, mask=live & (local + 1 < segment_stop - chunk), other=0.0)
    return a_dt, dt, now + pending


@triton.jit
def _turns_of(velocity, A: tl.constexpr, chunk, local, live, dt, entering):
    """(M, A) phase after each row's token, in turns, and the phase after the chunk (A,)."""
    source = velocity + chunk.to(tl.int64) * A + local[:, None] * A + tl.arange(0, A)[None, :]
    turns = tl.load(source, mask=live[:, None], other=0.0) * dt[:, None]
    return tl.cumsum(turns, 0) + entering[None, :], wrapped(entering + tl.sum(turns, 0))


@triton.jit
def _planes_of(
    channels,
    head,
    chunk,
    live,
    H: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    N: tl.constexpr,
    A: tl.constexpr,
    M: tl.constexpr,
):
    """The three planes (M, A), (M, A) and (M, N - 2A) of B or C of one head's group, as they are in memory."""
    source = channels + (chunk.to(tl.int64) * R * G + head * G // H) * N + tl.arange(0, M)[:, None] * G * N
    pair, mask = tl.arange(0, A)[None, :], live[:, None]
    still = tl.load(source + 2 * A + tl.arange(0, N - 2 * A)[None, :], mask=mask, other=0.0)
    return tl.load(source + pair, mask=mask, other=0.0), tl.load(source + A + pair, mask=mask, other=0.0), still


@triton.jit
def _turned(
    firsts,
    seconds,
    still,
    biases,
    head,
    rank,
    cos,
    sin,
    R: tl.constexpr,
    N: tl.constexpr,
    A: tl.constexpr,
):
    """What `_planes_of` loaded, in fp32: with the head's bias, and turned."""
    own = biases + head * N
    if R > 1:
        own = biases + (head * R + rank)[:, None] * N
    pair = tl.arange(0, A)[None, :]
    firsts = firsts.to(tl.float32) + tl.load(own + pair)
    seconds = seconds.to(tl.float32) + tl.load(own + A + pair)
    still = still.to(tl.float32) + tl.load(own + 2 * A + tl.arange(0, N - 2 * A)[None, :])
    return firsts * cos - seconds * sin, firsts * sin + seconds * cos, still


@triton.jit
def _store_planes(target, row, firsts, seconds, still, wanted, N: tl.constexpr, A: tl.constexpr):
    """Those rows that are `wanted`, at their `row` of N channels in turning order."""
    source, mask, kind = target + row[:, None] * N, wanted[:, None], target.dtype.element_ty
    pairs = tl.interleave(firsts.to(kind), seconds.to(kind))
    tl.store(source + tl.arange(0, 2 * A)[None, :], pairs, mask=mask)
    tl.store(source + 2 * A + tl.arange(0, N - 2 * A)[None, :], still.to(kind), mask=mask)
