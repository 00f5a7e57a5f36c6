"""B and C as each head uses them, for the scan that `prefill.py` describes; it explains the letters too."""

import triton
import triton.language as tl

from models.kernels.activations import cos_sin, wrapped
from models.kernels.tiles import channels_of, rotated


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
    L,
    H: tl.constexpr,
    N: tl.constexpr,
    A: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    M: tl.constexpr,
    STAGES: tl.constexpr,
):
    """One span of one head, with phases that begin at zero.

    `turned` (H, L R, 2, N) are B and C in turning order, rounded. `decays` (tiles, 3, H, Q) say of each token of a
    chunk `since`, log2 of the decay from the chunk's start, `later`, log2 of its weight for later tokens less `since`,
    and gamma. Chunk i of span k, which starts at s, is tile s // Q + k + i, so that no two share one; places beyond
    the span's end weigh nothing. `span_turns` (K, H, A) are the phases after each span.
    """
    head, span = tl.program_id(0), tl.program_id(1)
    start, stop, segment_stop = tl.load(starts + span), tl.load(stops + span), tl.load(segment_stops + span)
    row = tl.arange(0, M)
    local, leads = row // R, row % R == 0
    turn = tl.zeros((A,), tl.float32)
    for index in tl.range(0, tl.cdiv(stop - start, M // R), num_stages=STAGES):
        chunk = start + index * (M // R)
        live = local < stop - chunk
        a_dt, dt, now, weight = _coefficients_of(coefficients, L, H, head, chunk, local, live, segment_stop, leads)
        since = tl.cumsum(a_dt, 0)
        later = tl.where(live, tl.log2(tl.maximum(weight, 1e-37)) - since, -float("inf"))
        kept = decays + ((start // (M // R) + span + index).to(tl.int64) * 3 * H + head) * (M // R) + local
        tl.store(kept, since, mask=leads)
        tl.store(kept + H * (M // R), later, mask=leads)
        tl.store(kept + 2 * H * (M // R), now, mask=leads)
        phase, turn = _turns_of(velocity, A, chunk, local, live, dt, turn)
        cos, sin = cos_sin(phase)
        for which in tl.static_range(2):
            source = channels + (which * L.to(tl.int64) + chunk) * R * G * N
            own = biases + which * H * R * N
            pairs = rotated(channels_of(source, own, head, row, live, 0, 2 * A, H, R, G, N), cos, sin)
            still = channels_of(source, own, head, row, live, 2 * A, N - 2 * A, H, R, G, N)
            target = turned + (head * L.to(tl.int64) + chunk) * R * 2 * N + row[:, None] * 2 * N + which * N
            place = target + tl.arange(0, 2 * A)[None, :]
            tl.store(place, pairs.to(turned.dtype.element_ty), mask=live[:, None])
            place = target + 2 * A + tl.arange(0, N - 2 * A)[None, :]
            tl.store(place, still.to(turned.dtype.element_ty), mask=live[:, None])
    tl.store(span_turns + (span.to(tl.int64) * H + head) * A + tl.arange(0, A), turn)


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
