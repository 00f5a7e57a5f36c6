"""Tiles of the Mamba-3 scan in registers: rows of a chunk and states, in planes; `prefill.py` explains the letters.

A chunk's rows are (token, rank), ranks of one token side by side, so that SISO is R = 1. Channels are kept as three
planes, the firsts of all pairs (A), their seconds (A) and the still ones (F), so that a rotation is arithmetic on whole
tiles and a product over N is a sum of three.
"""

import triton
import triton.language as tl

from models.kernels.activations import wrapped


@triton.jit
def coefficients_of(coefficients, L, H: tl.constexpr, head, chunk, local, stop, segment_stop, leads):
    """Per row: a_dt log2(e) and dt, on a token's first row alone; gamma, and the weight for later tokens."""
    live = local < stop - chunk
    plane = H * L.to(tl.int64)
    place = coefficients + head * L.to(tl.int64) + chunk + local
    a_dt = tl.load(place, mask=live & leads, other=0.0)
    dt = tl.load(place + plane, mask=live & leads, other=0.0)
    now = tl.load(place + 2 * plane, mask=live, other=0.0)
    pending = tl.load(place + 3 * plane + 1, mask=live & (local + 1 < segment_stop - chunk), other=0.0)
    return a_dt, dt, now, now + pending


@triton.jit
def turns_of(velocity, A: tl.constexpr, chunk, local, live, dt, entering):
    """(M, A) phase after each row's token, in turns, and the phase after the chunk (A,)."""
    source = velocity + chunk.to(tl.int64) * A + local[:, None] * A + tl.arange(0, A)[None, :]
    turns = tl.load(source, mask=live[:, None], other=0.0) * dt[:, None]
    return tl.cumsum(turns, 0) + entering[None, :], wrapped(entering + tl.sum(turns, 0))


@triton.jit
def channel_planes(
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
    """The three planes (M, A), (M, A) and (M, F) of B or C of one head's group, as they are in memory."""
    source = channels + (chunk.to(tl.int64) * R * G + head * G // H) * N + tl.arange(0, M)[:, None] * G * N
    pair, mask = tl.arange(0, A)[None, :], live[:, None]
    still = tl.load(source + 2 * A + tl.arange(0, N - 2 * A)[None, :], mask=mask, other=0.0)
    return tl.load(source + pair, mask=mask, other=0.0), tl.load(source + A + pair, mask=mask, other=0.0), still


@triton.jit
def turned_planes(
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
    """What `channel_planes` loaded, in fp32: with the head's bias, and turned."""
    own = biases + head * N
    if R > 1:
        own = biases + (head * R + rank)[:, None] * N
    pair = tl.arange(0, A)[None, :]
    firsts = firsts.to(tl.float32) + tl.load(own + pair)
    seconds = seconds.to(tl.float32) + tl.load(own + A + pair)
    still = still.to(tl.float32) + tl.load(own + 2 * A + tl.arange(0, N - 2 * A)[None, :])
    return firsts * cos - seconds * sin, firsts * sin + seconds * cos, still


@triton.jit
def dot_planes(a_pairs, a_still, b_pairs, b_still, DTYPE: tl.constexpr, PRECISION: tl.constexpr):
    """(m, N) by (n, N) -> (m, n), each given as its pairs, side by side, and its still channels."""
    product = tl.dot(a_pairs, tl.trans(b_pairs.to(DTYPE)), input_precision=PRECISION)
    return tl.dot(a_still, tl.trans(b_still.to(DTYPE)), product, input_precision=PRECISION)


@triton.jit
def columns_of(proj, proj_stride, first, chunk, local, live, P: tl.constexpr):
    """(M, P) of the projection, from column `first` on, as they are in memory."""
    channel = tl.arange(0, P)[None, :]
    source = proj + chunk.to(tl.int64) * proj_stride + first + local[:, None] * proj_stride + channel
    return tl.load(source, mask=live[:, None], other=0.0)


@triton.jit
def of_ranks(values, factors, head, rank, R: tl.constexpr, P: tl.constexpr):
    """(M, P) x, z or y of each row in fp32, as it enters or leaves its rank."""
    values = values.to(tl.float32)
    if R > 1:
        values *= tl.load(factors + (head * R + rank)[:, None] * P + tl.arange(0, P)[None, :]).to(tl.float32)
    return values


@triton.jit
def store_planes(target, channel, firsts, seconds, still, N: tl.constexpr, A: tl.constexpr):
    """A state (P, N) of the scratch table, in planes."""
    row, pair = target + channel[:, None] * N, tl.arange(0, A)[None, :]
    tl.store(row + pair, firsts)
    tl.store(row + A + pair, seconds)
    tl.store(row + 2 * A + tl.arange(0, N - 2 * A)[None, :], still)


@triton.jit
def load_planes(source, channel, N: tl.constexpr, A: tl.constexpr):
    """What `store_planes` stored."""
    row, pair = source + channel[:, None] * N, tl.arange(0, A)[None, :]
    still = tl.load(row + 2 * A + tl.arange(0, N - 2 * A)[None, :])
    return tl.load(row + pair), tl.load(row + A + pair), still


@triton.jit
def load_slot(source, channel, N: tl.constexpr, A: tl.constexpr):
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
def carried_planes(
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
    firsts, seconds, still = load_slot(ssm + place * P * N, channel, N, A)
    last = tl.load(v + place * P + channel) * tl.load(coefficients + (3 * H + head) * L.to(tl.int64) + start)
    pair = 2 * tl.arange(0, A)
    for r in tl.static_range(R):
        into = last * rank_factor(x_ranks, head, r, channel, R, P)
        own = k + (place * R + r) * N
        firsts += into[:, None] * tl.load(own + pair)[None, :]
        seconds += into[:, None] * tl.load(own + pair + 1)[None, :]
        still += into[:, None] * tl.load(own + 2 * A + tl.arange(0, N - 2 * A))[None, :]
    return firsts, seconds, still
