"""The Mamba-3 scan on a GPU: parallel over spans of a document as well as over heads and documents.

Source: Mamba-3, arXiv 2603.15569; the equations are those of `models.mamba.scan`, which judges this file.

L = tokens in the pack, K = spans, Q = tokens in a chunk, R = rank, M = QR rows of a chunk, H = heads, P = head width,
N = state channels, of which A pairs turn and F = N - 2A keep still, G = groups of B and C.

A chunk's rows are (token, rank), ranks of one token side by side, so that SISO is R = 1. Channels are kept as three
planes, the firsts of all pairs (A), their seconds (A) and the still ones (F), so that a rotation is arithmetic on whole
tiles and a product over N is a sum of three. Nothing of size (L, H, N) is ever in memory: each head adds its bias to
B and C, and turns them, in registers.

1. `_prepare_coefficients`, `_prepare_channels`: what every head needs of the projection, once per token.
2. `_sum_spans`: what each span adds to the state, turned as if its phase began at zero; all spans at once.
3. `_pass_states`: the state and the phase that enter each span, one span after the other; little work.
4. `_read_spans`: outputs, gated, and the state after each segment; all spans at once.

Heads vary fastest over the programs: those that run at one time share B, C and the velocities of a span in the cache.
A document of one span needs 1 and 4 alone. L is no part of what a kernel is compiled for: no length compiles anew.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.kernels.activations import FULL_TURN, cos_sin, decay_rate, sigmoid, softplus, velocity_of, wrapped
from models.kernels.shapes import ROWS_PER_CHUNK, Shapes, optional_weights
from models.kernels.spans import Spans
from models.mamba.mamba3 import Mamba3Mixer
from models.mamba.norms import NORM_EPS
from models.state import State

TOKENS_PER_PROGRAM = 16
WARPS, STAGES = 8, 1


@triton.jit(do_not_specialize=["L"])
def _prepare_coefficients(
    proj,
    proj_stride,
    dt_bias,
    coefficients,
    velocity,
    L,
    DT: tl.constexpr,
    THETA: tl.constexpr,
    H: tl.constexpr,
    H_BLOCK: tl.constexpr,
    A: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    A_FLOOR: tl.constexpr,
    T: tl.constexpr,
):
    """Of T tokens: a_dt, dt, gamma and pending (4, H, L), heads first; phase velocity in turns (L, A)."""
    token = tl.program_id(0) * T + tl.arange(0, T)
    inside = token < L
    row = proj + token.to(tl.int64)[:, None] * proj_stride
    head = tl.arange(0, H_BLOCK)[None, :]
    mask = inside[:, None] & (head < H)
    logit = tl.load(row + DT + head, mask=mask, other=0.0).to(tl.float32)
    dt = softplus(logit + tl.load(dt_bias + head, mask=head < H, other=0.0).to(tl.float32))
    a_logit = tl.load(row + DT + H + head, mask=mask, other=0.0).to(tl.float32)
    trap = sigmoid(tl.load(row + DT + 2 * H + head, mask=mask, other=0.0).to(tl.float32))
    place = head.to(tl.int64) * L + token[:, None]
    plane = H * L.to(tl.int64)
    tl.store(coefficients + place, decay_rate(a_logit, SOFTPLUS, A_FLOOR) * dt, mask=mask)
    tl.store(coefficients + plane + place, dt, mask=mask)
    tl.store(coefficients + 2 * plane + place, trap * dt, mask=mask)
    tl.store(coefficients + 3 * plane + place, dt - trap * dt, mask=mask)
    pair = tl.arange(0, A)[None, :]
    theta = velocity_of(tl.load(row + THETA + pair, mask=inside[:, None], other=0.0).to(tl.float32))
    tl.store(velocity + token.to(tl.int64)[:, None] * A + pair, theta, mask=inside[:, None])


@triton.jit
def published_of(ordered, N: tl.constexpr, IS_MIMO: tl.constexpr):
    """Where channels in turning order stand in a checkpoint: SISO turns the pair (2i, 2i + 1), MIMO (i, i + N/2)."""
    return ordered // 2 + ordered % 2 * (N // 2) if IS_MIMO else ordered


@triton.jit
def _published(N: tl.constexpr, A: tl.constexpr, IS_MIMO: tl.constexpr):
    """(N,) where the channel at each place of the three planes stands in a checkpoint."""
    place = tl.arange(0, N)
    ordered = tl.where(place < A, 2 * place, tl.where(place < 2 * A, 2 * (place - A) + 1, place))
    return published_of(ordered, N, IS_MIMO)


@triton.jit(do_not_specialize=["L"])
def _prepare_channels(
    proj,
    proj_stride,
    b_weight,
    c_weight,
    b_bias,
    c_bias,
    channels,
    biases,
    L,
    B: tl.constexpr,
    ROWS: tl.constexpr,
    HR: tl.constexpr,
    N: tl.constexpr,
    A: tl.constexpr,
    IS_MIMO: tl.constexpr,
    EPS: tl.constexpr,
    T: tl.constexpr,
):
    """B and C of T tokens, normalized, in planes: (2, L, ROWS, N) with ROWS = R G. The biases too: (2, H R, N)."""
    block, row, which = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    token = block * T + tl.arange(0, T)
    mask = (token < L)[:, None]
    published, place = _published(N, A, IS_MIMO)[None, :], tl.arange(0, N)[None, :]
    weight, bias = b_weight, b_bias
    if which == 1:
        weight, bias = c_weight, c_bias
    source = proj + token.to(tl.int64)[:, None] * proj_stride + B + (which * ROWS + row) * N
    values = tl.load(source + published, mask=mask, other=0.0).to(tl.float32)
    values *= tl.rsqrt(tl.sum(values * values, 1) / N + EPS)[:, None] * tl.load(weight + published).to(tl.float32)
    target = channels + ((which * L.to(tl.int64) + token) * ROWS + row)[:, None] * N + place
    tl.store(target, values.to(channels.dtype.element_ty), mask=mask)
    if row == 0:
        for head in range(block, HR, tl.num_programs(0)):
            own = tl.load(bias + head * N + published).to(tl.float32)
            tl.store(biases + (which * HR + head) * N + place, own)


@triton.jit
def _coefficients_of(coefficients, L, H: tl.constexpr, head, chunk, local, stop, segment_stop, leads):
    """Per row: a_dt and dt, on the first rank's row of each token alone; gamma and the weight for later tokens."""
    live = local < stop - chunk
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
def _plane(source, own, live, FIRST: tl.constexpr, WIDTH: tl.constexpr):
    """(M, WIDTH) channels of a plane in fp32, with the head's bias."""
    place = FIRST + tl.arange(0, WIDTH)[None, :]
    return tl.load(source + place, mask=live[:, None], other=0.0).to(tl.float32) + tl.load(own + place)


@triton.jit
def _turned(
    channels,
    biases,
    head,
    chunk,
    live,
    cos,
    sin,
    H: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    N: tl.constexpr,
    A: tl.constexpr,
    M: tl.constexpr,
):
    """The three planes (M, A), (M, A) and (M, F) of B or C of one head, in fp32: with its bias, and turned."""
    row = tl.arange(0, M)[:, None]
    source = channels + (chunk.to(tl.int64) * R * G + head * G // H) * N + row * G * N
    own = biases + head * N
    if R > 1:
        own = biases + (head * R + row % R) * N
    firsts = _plane(source, own, live, 0, A)
    seconds = _plane(source, own, live, A, A)
    still = _plane(source, own, live, 2 * A, N - 2 * A)
    return firsts * cos - seconds * sin, firsts * sin + seconds * cos, still


@triton.jit
def _dot3(a_first, a_second, a_still, b_first, b_second, b_still, DTYPE: tl.constexpr, PRECISION: tl.constexpr):
    """(m, N) by (n, N) -> (m, n), each given in three planes of which the second factor's are of DTYPE already."""
    product = tl.dot(a_first, tl.trans(b_first.to(DTYPE)), input_precision=PRECISION)
    product = tl.dot(a_second, tl.trans(b_second.to(DTYPE)), product, input_precision=PRECISION)
    return tl.dot(a_still, tl.trans(b_still.to(DTYPE)), product, input_precision=PRECISION)


@triton.jit
def _x_of(
    proj, proj_stride, x_ranks, head, chunk, local, rank, live, X: tl.constexpr, R: tl.constexpr, P: tl.constexpr
):
    """(M, P) x of each row in fp32, as it enters its rank."""
    channel = tl.arange(0, P)[None, :]
    source = proj + chunk.to(tl.int64) * proj_stride + X + head * P + local[:, None] * proj_stride + channel
    x = tl.load(source, mask=live[:, None], other=0.0).to(tl.float32)
    if R > 1:
        x *= tl.load(x_ranks + (head * R + rank)[:, None] * P + channel).to(tl.float32)
    return x


@triton.jit(do_not_specialize=["L"])
def _sum_spans(
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
    """What a span adds to one head's state, with phases that begin at zero; its turn (A,) and its log decay."""
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
        a_dt, dt, _, weight = _coefficients_of(coefficients, L, H, head, chunk, local, stop, segment_stop, leads)
        phase, turn = _turns_of(velocity, A, chunk, local, live, dt, turn)
        cos, sin = cos_sin(phase)
        b_first, b_second, b_still = _turned(channels, biases, head, chunk, live, cos, sin, H, R, G, N, A, M)
        total = tl.sum(a_dt, 0)
        weight *= tl.exp(total - tl.cumsum(a_dt, 0))
        x = _x_of(proj, proj_stride, x_ranks, head, chunk, local, rank, live, X, R, P) * weight[:, None]
        x_turned, alpha = tl.trans(x.to(DTYPE)), tl.exp(total)
        firsts = tl.dot(x_turned, b_first.to(DTYPE), firsts * alpha, input_precision=PRECISION)
        seconds = tl.dot(x_turned, b_second.to(DTYPE), seconds * alpha, input_precision=PRECISION)
        still = tl.dot(x_turned, b_still.to(DTYPE), still * alpha, input_precision=PRECISION)
        decay += total
    place = entry * H + head
    channel, pair = tl.arange(0, P), tl.arange(0, A)
    _store_planes(sums + place * P * N, channel, firsts, seconds, still, N, A)
    tl.store(turns + place * A + pair, turn)
    tl.store(decays + place, decay)


@triton.jit
def _store_planes(target, channel, firsts, seconds, still, N: tl.constexpr, A: tl.constexpr):
    """A state (P, N) of the scratch table, in planes."""
    row, pair = target + channel[:, None] * N, tl.arange(0, A)[None, :]
    tl.store(row + pair, firsts)
    tl.store(row + A + pair, seconds)
    tl.store(row + 2 * A + tl.arange(0, N - 2 * A)[None, :], still)


@triton.jit
def _load_planes(source, channel, N: tl.constexpr, A: tl.constexpr):
    row, pair = source + channel[:, None] * N, tl.arange(0, A)[None, :]
    still = tl.load(row + 2 * A + tl.arange(0, N - 2 * A)[None, :])
    return tl.load(row + pair), tl.load(row + A + pair), still


@triton.jit
def _load_slot(source, channel, N: tl.constexpr, A: tl.constexpr):
    """Three planes of a slot's (P, N), in which pairs are side by side."""
    row = source + channel[:, None] * N
    pairs = tl.load(row + tl.arange(0, 2 * A)[None, :])
    firsts, seconds = tl.split(tl.reshape(pairs, (pairs.shape[0], A, 2)))
    return firsts, seconds, tl.load(row + 2 * A + tl.arange(0, N - 2 * A)[None, :])


@triton.jit
def rank_factor(factors, head, r, channel, R: tl.constexpr, P: tl.constexpr):
    """What MIMO multiplies a head's channels with in one rank: (P,), or 1 for SISO."""
    factor = tl.full(channel.shape, 1.0, tl.float32)
    if R > 1:
        factor = tl.load(factors + (head * R + r) * P + channel).to(tl.float32)
    return factor


@triton.jit
def _carried(
    ssm,
    k,
    v,
    x_ranks,
    coefficients,
    L,
    row,
    head,
    start,
    channel,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    A: tl.constexpr,
    R: tl.constexpr,
):
    """Three planes of a slot's state, with what the first token lets the last one before it add."""
    place = row * H + head
    firsts, seconds, still = _load_slot(ssm + place * P * N, channel, N, A)
    last = tl.load(v + place * P + channel) * tl.load(coefficients + (3 * H + head) * L.to(tl.int64) + start)
    pair = 2 * tl.arange(0, A)
    for r in tl.static_range(R):
        into = last * rank_factor(x_ranks, head, r, channel, R, P)
        own = k + (place * R + r) * N
        firsts += into[:, None] * tl.load(own + pair)[None, :]
        seconds += into[:, None] * tl.load(own + pair + 1)[None, :]
        still += into[:, None] * tl.load(own + 2 * A + tl.arange(0, N - 2 * A))[None, :]
    return firsts, seconds, still


@triton.jit(do_not_specialize=["L"])
def _pass_states(
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
    firsts, seconds, still = _carried(ssm, k, v, x_ranks, coefficients, L, row, head, start, channel, H, P, N, A, R)
    turn = tl.load(angle + (row * H + head) * A + pair) / FULL_TURN
    for _ in range(count - 1):
        place = entry * H + head
        own_firsts, own_seconds, own_still = _load_planes(sums + place * P * N, channel, N, A)
        alpha = tl.exp(tl.load(decays + place))
        _store_planes(sums + place * P * N, channel, firsts, seconds, still, N, A)
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
    _store_planes(sums + place * P * N, channel, firsts, seconds, still, N, A)
    if block == 0:
        tl.store(entering + place * A + pair, turn)


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
        firsts, seconds, still = _carried(
            ssm, k, v, x_ranks, coefficients, L, tl.load(rows + span).to(tl.int64), head, start, channel, H, P, N, A, R
        )
        turn = tl.load(angle + slot * A + pair) / FULL_TURN
    else:
        firsts, seconds, still = _load_planes(sums + (entry * H + head) * P * N, channel, N, A)
        turn = tl.load(entering + (entry * H + head) * A + pair)
    # All threads have read the slot before any writes to it.
    tl.debug_barrier()
    d = tl.load(skip + head).to(tl.float32)
    c_channels, c_biases = channels + L.to(tl.int64) * R * G * N, biases + H * R * N
    for index in range(tl.cdiv(stop - start, M // R)):
        chunk = start + index * (M // R)
        live = local < stop - chunk
        a_dt, dt, now, weight = _coefficients_of(coefficients, L, H, head, chunk, local, stop, segment_stop, leads)
        phase, turn = _turns_of(velocity, A, chunk, local, live, dt, turn)
        cos, sin = cos_sin(phase)
        b_first, b_second, b_still = _turned(channels, biases, head, chunk, live, cos, sin, H, R, G, N, A, M)
        if chunk + M // R >= segment_stop:
            is_last = local == segment_stop - 1 - chunk
            last_k = k + (slot * R + rank)[:, None] * N
            tl.store(last_k + 2 * pair[None, :], b_first, mask=is_last[:, None])
            tl.store(last_k + 2 * pair[None, :] + 1, b_second, mask=is_last[:, None])
            tl.store(last_k + 2 * A + tl.arange(0, N - 2 * A)[None, :], b_still, mask=is_last[:, None])
            last_angle = angle + slot * A + 0 * rank[:, None] + pair[None, :]
            tl.store(last_angle, wrapped(phase) * FULL_TURN, mask=(is_last & leads)[:, None])
        b_first, b_second, b_still = b_first.to(DTYPE), b_second.to(DTYPE), b_still.to(DTYPE)
        c_first, c_second, c_still = _turned(c_channels, c_biases, head, chunk, live, cos, sin, H, R, G, N, A, M)
        c_first, c_second, c_still = c_first.to(DTYPE), c_second.to(DTYPE), c_still.to(DTYPE)

        decay, total = tl.cumsum(a_dt, 0), tl.sum(a_dt, 0)
        x = _x_of(proj, proj_stride, x_ranks, head, chunk, local, rank, live, X, R, P)
        y = _dot3(c_first, c_second, c_still, firsts, seconds, still, DTYPE, PRECISION) * tl.exp(decay)[:, None]
        scores = _dot3(c_first, c_second, c_still, b_first, b_second, b_still, DTYPE, PRECISION)
        # A token's own weight is gamma: relative to the weight for later ones, which x brings with it.
        own = (now / tl.maximum(weight, 1e-30))[:, None]
        earlier, same = local[:, None] > local[None, :], local[:, None] == local[None, :]
        scores *= tl.exp(tl.where(earlier, decay[:, None] - decay[None, :], -float("inf"))) + tl.where(same, own, 0.0)
        weighted = x * weight[:, None]
        y = tl.dot(scores.to(DTYPE), weighted.to(DTYPE), y + d * x, input_precision=PRECISION)

        x_turned = tl.trans((weighted * tl.exp(total - decay)[:, None]).to(DTYPE))
        alpha = tl.exp(total)
        firsts = tl.dot(x_turned, b_first, firsts * alpha, input_precision=PRECISION)
        seconds = tl.dot(x_turned, b_second, seconds * alpha, input_precision=PRECISION)
        still = tl.dot(x_turned, b_still, still * alpha, input_precision=PRECISION)

        if HAS_NORM:
            scale = tl.rsqrt(tl.sum(y * y, 1) / P + EPS)[:, None]
            y *= scale * tl.load(norm_weight + head * P + channel).to(tl.float32)[None, :]
        gate = proj + chunk.to(tl.int64) * proj_stride + head * P + local[:, None] * proj_stride + channel[None, :]
        z = tl.load(gate, mask=live[:, None], other=0.0).to(tl.float32)
        if R > 1:
            of_rank = (head * R + rank)[:, None] * P + channel[None, :]
            z *= tl.load(z_ranks + of_rank).to(tl.float32)
            y *= tl.load(out_ranks + of_rank).to(tl.float32)
        y *= z * sigmoid(z)
        if R > 1:
            y = tl.sum(tl.reshape(y, (M // R, R, P)), 1)
        written = tl.arange(0, M // R)[:, None]
        target = out + chunk.to(tl.int64) * H * P + head * P + written * H * P + channel[None, :]
        tl.store(target, y.to(out.dtype.element_ty), mask=written < stop - chunk)

    if stop == segment_stop:
        row = ssm + slot * P * N + channel[:, None] * N
        tl.store(row + tl.arange(0, 2 * A)[None, :], tl.interleave(firsts, seconds))
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


def scan_(mixer: Mamba3Mixer, proj: Tensor, layer: State, spans: Spans) -> Tensor:
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
    _prepare_coefficients[(blocks,)](
        proj, proj.stride(0), mixer.dt_bias, coefficients, velocity, num_tokens,
        DT=shapes.dt_column, THETA=shapes.theta_column, H=shapes.heads, H_BLOCK=triton.next_power_of_2(shapes.heads),
        A=shapes.angles, SOFTPLUS=mixer.config.a_activation == "softplus", A_FLOOR=mixer.config.A_floor,
        T=TOKENS_PER_PROGRAM,
    )  # fmt: skip
    _prepare_channels[(blocks, rows, 2)](
        proj, proj.stride(0), mixer.B_norm.weight, mixer.C_norm.weight, mixer.B_bias, mixer.C_bias,
        channels, biases, num_tokens, B=shapes.b_column, ROWS=rows, HR=head_rows, N=shapes.d_state, A=shapes.angles,
        IS_MIMO=shapes.is_mimo, EPS=NORM_EPS, T=TOKENS_PER_PROGRAM,
    )  # fmt: skip
    sizes = {"H": shapes.heads, "P": shapes.headdim, "N": shapes.d_state, "A": shapes.angles, "R": shapes.rank}
    tiles = {"X": shapes.d_inner, "G": shapes.groups, "M": ROWS_PER_CHUNK, "DTYPE": dtype, "PRECISION": precision}
    slots = (layer["angle"], layer["ssm"], layer["k"], layer["v"])
    entries = (spans.num_entries, shapes.heads)
    sums, entering = scratch(*entries, shapes.headdim, shapes.d_state), scratch(*entries, shapes.angles)
    if spans.num_entries:
        turns, decays = scratch(*entries, shapes.angles), scratch(*entries)
        _sum_spans[(shapes.heads, len(spans.inner))](
            proj, proj.stride(0), channels, biases, coefficients, velocity, x_ranks, spans.starts, spans.stops,
            spans.segment_stops, spans.entries, spans.inner, sums, turns, decays, num_tokens, **sizes, **tiles,
            num_warps=WARPS,
        )  # fmt: skip
        _pass_states[(len(spans.long_first), shapes.heads, shapes.headdim // 16)](
            sums, turns, decays, entering, *slots, x_ranks, coefficients, spans.starts, spans.rows, spans.entries,
            spans.long_first, spans.long_count, num_tokens, P_BLOCK=16, **sizes,
        )  # fmt: skip
    _read_spans[(shapes.heads, spans.num_spans)](
        proj, proj.stride(0), channels, biases, coefficients, velocity, mixer.D, x_ranks,
        z_ranks, out_ranks, norm_weight, sums, entering, *slots, spans.starts, spans.stops,
        spans.segment_stops, spans.rows, spans.entries, out, num_tokens,
        HAS_NORM=mixer.config.is_outproj_norm, EPS=NORM_EPS, **sizes, **tiles, num_warps=WARPS, num_stages=STAGES,
    )  # fmt: skip
    return out
