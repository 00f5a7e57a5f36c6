"""Tiles of the Mamba-3 scan in registers: rows of a chunk, and states; `prefill.py` explains the letters.

A chunk's rows are (token, rank), ranks of one token side by side, so that SISO is R = 1. Channels are in turning order,
the two of a pair side by side, as in a slot: a pair of still ones is one that turns by nothing.
"""

import triton
import triton.language as tl

from models.kernels.activations import cos_sin


@triton.jit
def channels_of(
    channels,
    biases,
    head,
    row,
    live,
    FIRST: tl.constexpr,
    COUNT: tl.constexpr,
    H: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    N: tl.constexpr,
):
    """(m, COUNT) channels, from FIRST on, of B or C of one head's group in some rows, in fp32 and with its bias."""
    column = FIRST + tl.arange(0, COUNT)[None, :]
    source, own = channels + head * G // H * N + row[:, None] * G * N, biases + head * R * N
    if R > 1:
        own += (row % R)[:, None] * N
    return tl.load(source + column, mask=live[:, None], other=0.0).to(tl.float32) + tl.load(own + column)


@triton.jit
def rows_of(turned, L, head, chunk, live, which: tl.constexpr, N: tl.constexpr, R: tl.constexpr, M: tl.constexpr):
    """(M, N) of one head's B (0) or C (1), turned, as they are in memory."""
    first = (head * L.to(tl.int64) + chunk) * R * 2 * N
    source = turned + first + tl.arange(0, M)[:, None] * 2 * N + tl.arange(0, N)[None, :]
    return tl.load(source + which * N, mask=live[:, None], other=0.0)


@triton.jit
def decays_of(decays, head, tile, local, H: tl.constexpr, TOKENS: tl.constexpr):
    """What `turn_channels` says of a chunk: `since`, `later`, `now` (M,) of each row's token, and `since` at its end.

    A token j sees i, before it, with weight exp2(since_j + later_i), and itself with `now`.
    """
    source, plane = decays + (tile.to(tl.int64) * 3 * H + head) * TOKENS, H * TOKENS
    since, later, now = tl.load(source + local), tl.load(source + plane + local), tl.load(source + 2 * plane + local)
    return since, later, now, tl.load(source + TOKENS - 1)


@triton.jit
def state_after(state, x, b, later, total, DTYPE: tl.constexpr, PRECISION: tl.constexpr):
    """The state (P, N) after a chunk with x (M, P) and B (M, N) in DTYPE, weighed as `decays_of` says."""
    weighed = tl.trans((x * tl.exp2(total + later)[:, None]).to(DTYPE))
    return tl.dot(weighed, b, state * tl.exp2(total), input_precision=PRECISION)


@triton.jit
def read_of(state, x, b, c, d, local, since, later, now, DTYPE: tl.constexpr, PRECISION: tl.constexpr):
    """(M, P) what a chunk reads of itself and of the state that enters it, with D's skip; C and B (M, N) in DTYPE."""
    scores = tl.dot(c, tl.trans(b), input_precision=PRECISION)
    # A token weighs for itself what gamma says, and D.
    earlier, same = local[:, None] > local[None, :], local[:, None] == local[None, :]
    mixing = tl.exp2(tl.where(earlier, since[:, None] + later[None, :], -float("inf")))
    scores *= tl.where(same, now[:, None], mixing)
    y = tl.dot(c, tl.trans(state.to(DTYPE)), input_precision=PRECISION) * tl.exp2(since)[:, None]
    return tl.dot(scores.to(DTYPE), x.to(DTYPE), y + d * x, input_precision=PRECISION)


@triton.jit
def row_stride(proj_stride, H: tl.constexpr):
    """The same. With a multiple of 8 heads, the projection's rows are multiples of 8 numbers, whatever else is in them:
    told so, the compiler reads 16 bytes of them at once and not 2."""
    if H % 8 == 0:
        proj_stride = proj_stride // 8 * 8
    return proj_stride


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
def turns_at(source, N: tl.constexpr, A: tl.constexpr):
    """(N / 2,) what each pair turns by, from the (A,) of those that turn."""
    pair = tl.arange(0, N // 2)
    return tl.load(source + pair, mask=pair < A, other=0.0)


@triton.jit
def rotated(values, cos, sin):
    """(m, n) of which each pair is turned: by angles (m, n / 2), or the same for all rows."""
    firsts, seconds = tl.split(tl.reshape(values, (values.shape[0], values.shape[1] // 2, 2)))
    return tl.interleave(firsts * cos - seconds * sin, firsts * sin + seconds * cos)


@triton.jit
def state_turned(state, turns):
    """(P, N), each pair turned by its own of `turns` (N / 2,)."""
    cos, sin = cos_sin(turns)
    return rotated(state, cos[None, :], sin[None, :])


@triton.jit
def rank_factor(factors, head, r, channel, R: tl.constexpr, P: tl.constexpr):
    """What MIMO multiplies a head's channels with in one rank: (P,), or 1 for SISO."""
    factor = tl.full(channel.shape, 1.0, tl.float32)
    if R > 1:
        factor = tl.load(factors + (head * R + r) * P + channel).to(tl.float32)
    return factor


@triton.jit
def carried_state(
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
    R: tl.constexpr,
):
    """Some channels of a slot's state, with what the first token lets the last one before it add."""
    place, column = row * H + head, tl.arange(0, N)
    state = tl.load(ssm + place * P * N + channel[:, None] * N + column[None, :])
    last = tl.load(v + place * P + channel) * tl.load(coefficients + (3 * H + head) * L.to(tl.int64) + start)
    for r in tl.static_range(R):
        into = last * rank_factor(x_ranks, head, r, channel, R, P)
        state += into[:, None] * tl.load(k + (place * R + r) * N + column)[None, :]
    return state
