"""Activations of the projections, in registers: the functions of `models.mamba.mamba3` for Triton."""

import math

import triton
import triton.language as tl

FULL_TURN = tl.constexpr(2 * math.pi)
LOG2_E = tl.constexpr(math.log2(math.e))
"""exp(x) = exp2(LOG2_E x); the second is one instruction, the first a few."""


@triton.jit
def softplus(x):
    """log(1 + exp(x)), without overflow for large x."""
    return tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + tl.exp2(x * -LOG2_E))


@triton.jit
def velocity_of(logit):
    """Phase velocity in turns per unit of dt: tanh(logit) pi / 2 pi."""
    return sigmoid(2.0 * logit) - 0.5


@triton.jit
def decay_rate(logit, SOFTPLUS: tl.constexpr, A_FLOOR: tl.constexpr):
    """A < 0."""
    if SOFTPLUS:
        return -tl.maximum(softplus(logit), A_FLOOR)
    return -tl.maximum(tl.where(logit >= 0, 1.0 + logit, 1.0 / (1.0 - tl.minimum(logit, 0.0))), A_FLOOR)


@triton.jit
def wrapped(turns):
    """Whole turns taken off: into [0, 1)."""
    return turns - tl.floor(turns)


@triton.jit
def cos_sin(turns):
    """Cosine and sine of 2 pi times `turns`, to 1e-6, without branches.

    With r = turns less whole turns, in [-1/2, 1/2], sin(pi r) and cos(pi r) are minimax polynomials in r squared,
    and the double angle follows. The library's functions reduce any angle, in some forty instructions and a branch.
    """
    r = turns - tl.floor(turns + 0.5)
    u = r * r
    s = 0.0820504534 - 0.00702846896 * u
    s = -0.599252209 + u * s
    s = 2.55016332 + u * s
    s = -5.16771276 + u * s
    s = r * (3.14159265 + u * s)
    c = 0.234937559 - 0.0243967166 * u
    c = -1.33521206 + u * c
    c = 4.05870916 + u * c
    c = -4.93480214 + u * c
    c = 1.0 + u * c
    return 1.0 - 2.0 * s * s, 2.0 * s * c
