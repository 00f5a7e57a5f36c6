"""What every head needs of the projection for the Mamba-3 scan, once per token; `prefill.py` explains the letters."""

import triton
import triton.language as tl

from models.kernels.activations import LOG2_E, decay_rate, sigmoid, softplus, velocity_of


@triton.jit(do_not_specialize=["L"])
def prepare_coefficients(
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
    """Of T tokens: a_dt log2(e), dt, gamma and pending (4, H, L), heads first; phase velocity in turns (L, A)."""
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
    tl.store(coefficients + place, decay_rate(a_logit, SOFTPLUS, A_FLOOR) * dt * LOG2_E, mask=mask)
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


@triton.jit(do_not_specialize=["L"])
def prepare_channels(
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
    IS_MIMO: tl.constexpr,
    EPS: tl.constexpr,
    T: tl.constexpr,
):
    """B and C of T tokens, normalized, in turning order: (2, L, ROWS, N), ROWS = R G. The biases too: (2, H R, N)."""
    block, row, which = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    token = block * T + tl.arange(0, T)
    mask = (token < L)[:, None]
    place = tl.arange(0, N)[None, :]
    published = published_of(place, N, IS_MIMO)
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
