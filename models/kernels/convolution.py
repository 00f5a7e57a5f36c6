"""The short convolution of Mamba-1 and Mamba-2, within each document of a pack, continued from its slot.

The twin in PyTorch is `models.mamba.convolution.CausalConv`. It runs over C channels with W taps, the last for
the token itself; a slot holds the inputs of the last W - 1 tokens (C, W - 1), the latest last.
"""

from dataclasses import asdict

import torch
import triton
import triton.language as tl
from torch import Tensor

from models.kernels.activations import sigmoid
from models.kernels.spans import Spans
from models.kernels.tiling import SMALL
from models.mamba.convolution import CausalConv

CHANNEL_BLOCK = 256
CONVOLVED_TOKENS, CONVOLVED_CHANNELS = 16, 64
"""Of one program at a time: what its registers hold with all taps."""


@triton.jit
def convolved(
    proj,
    proj_stride,
    taps,
    bias,
    conv,
    starts,
    stops,
    segment_starts,
    rows,
    mixed,
    X: tl.constexpr,
    C: tl.constexpr,
    W: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    T: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Some channels of one span, (L, C) in all, with their SiLU. They begin at column X of the projection."""
    span, channel = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    start, stop = tl.load(starts + span), tl.load(stops + span)
    first, row = tl.load(segment_starts + span), tl.load(rows + span).to(tl.int64)
    is_channel = channel < C
    for index in range(tl.cdiv(stop - start, T)):
        token = start + index * T + tl.arange(0, T)
        live = (token < stop)[:, None] & is_channel[None, :]
        total = tl.zeros((T, BLOCK), tl.float32)
        if HAS_BIAS:
            total += tl.load(bias + channel, mask=is_channel, other=0.0).to(tl.float32)[None, :]
        for tap in tl.static_range(W):
            back = token - (W - 1 - tap)
            source = proj + back.to(tl.int64)[:, None] * proj_stride + X + channel[None, :]
            value = tl.load(source, mask=live & (back >= first)[:, None], other=0.0).to(tl.float32)
            # What came before the segment is in its slot: of token first - 1 in place W - 2.
            place = back - first + (W - 1)
            kept = conv + (row * C + channel[None, :]) * (W - 1) + place[:, None]
            value += tl.load(kept, mask=live & (back < first)[:, None], other=0.0)
            total += value * tl.load(taps + channel * W + tap, mask=is_channel, other=0.0).to(tl.float32)[None, :]
        target = mixed + token.to(tl.int64)[:, None] * C + channel[None, :]
        tl.store(target, (total * sigmoid(total)).to(mixed.dtype.element_ty), mask=live)


@triton.jit
def keep_inputs(
    proj,
    proj_stride,
    conv,
    stops,
    segment_starts,
    segment_stops,
    rows,
    X: tl.constexpr,
    C: tl.constexpr,
    W: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Put the last inputs of each segment into its slot. A kernel of its own: until the first span is convolved, the
    slot must stay as it is."""
    span, channel = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    stop, is_channel = tl.load(stops + span), channel < C
    if stop == tl.load(segment_stops + span):
        first, row = tl.load(segment_starts + span), tl.load(rows + span).to(tl.int64)
        kept = conv + (row * C + channel) * (W - 1)
        # Ascending: a place is read, by one before it, before it is written.
        for place in tl.static_range(W - 1):
            back = stop - (W - 1) + place
            source = proj + back.to(tl.int64) * proj_stride + X + channel
            value = tl.load(source, mask=is_channel & (back >= first), other=0.0).to(tl.float32)
            value += tl.load(kept + (back - first + (W - 1)), mask=is_channel & (back < first), other=0.0)
            tl.debug_barrier()
            tl.store(kept + place, value, mask=is_channel)


@triton.jit
def convolve_step(
    proj,
    proj_stride,
    taps,
    bias,
    conv,
    rows,
    mixed,
    X: tl.constexpr,
    C: tl.constexpr,
    W: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Some channels of one token of a document, (S, C) in all, and its slot moved on. A negative row is padding."""
    document, channel = tl.program_id(0), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    row, is_channel = tl.load(rows + document), channel < C
    if row >= 0:
        kept = conv + (row.to(tl.int64) * C + channel) * (W - 1)
        source = proj + document.to(tl.int64) * proj_stride + X + channel
        value = tl.load(source, mask=is_channel, other=0.0).to(tl.float32)
        total = value * tl.load(taps + channel * W + W - 1, mask=is_channel, other=0.0).to(tl.float32)
        if HAS_BIAS:
            total += tl.load(bias + channel, mask=is_channel, other=0.0).to(tl.float32)
        for tap in tl.static_range(W - 1):
            earlier = tl.load(kept + tap, mask=is_channel, other=0.0)
            total += earlier * tl.load(taps + channel * W + tap, mask=is_channel, other=0.0).to(tl.float32)
            if tap > 0:
                tl.store(kept + tap - 1, earlier, mask=is_channel)
        tl.store(kept + W - 2, value, mask=is_channel)
        target = mixed + document.to(tl.int64) * C + channel
        tl.store(target, (total * sigmoid(total)).to(mixed.dtype.element_ty), mask=is_channel)


def convolve_(conv1d: CausalConv, proj: Tensor, column: int, kept: Tensor, spans: Spans) -> Tensor:
    """The convolution of a pack, in proj's dtype (L, C), its inputs in C columns of proj (L, ...) from `column` on.

    kept fp32 (slots, C, W - 1), one layer's; the spans' rows hold the last inputs then.
    """
    taps, bias = _taps(conv1d)
    channels, reach = taps.shape
    mixed = torch.empty((len(proj), channels), dtype=proj.dtype, device=proj.device)
    fixed = {"X": column, "C": channels, "W": reach}
    convolved[(spans.num_spans, triton.cdiv(channels, CONVOLVED_CHANNELS))](
        proj, proj.stride(0), taps, bias, kept, spans.starts, spans.stops, spans.segment_starts, spans.rows, mixed,
        **fixed, HAS_BIAS=conv1d.bias is not None, T=CONVOLVED_TOKENS, BLOCK=CONVOLVED_CHANNELS, **asdict(SMALL),
    )  # fmt: skip
    keep_inputs[(spans.num_spans, triton.cdiv(channels, CHANNEL_BLOCK))](
        proj, proj.stride(0), kept, spans.stops, spans.segment_starts, spans.segment_stops, spans.rows,
        **fixed, BLOCK=CHANNEL_BLOCK, **asdict(SMALL),
    )  # fmt: skip
    return mixed


def convolve_step_(
    conv1d: CausalConv, proj: Tensor, column: int, kept: Tensor, rows: Tensor, dtype: torch.dtype
) -> Tensor:
    """The same of one token of S documents, (S, C) in a dtype; rows (S,) int32, negative for padding, which is zero."""
    taps, bias = _taps(conv1d)
    channels, reach = taps.shape
    mixed = torch.zeros((len(proj), channels), dtype=dtype, device=proj.device)
    convolve_step[(len(proj), triton.cdiv(channels, CHANNEL_BLOCK))](
        proj, proj.stride(0), taps, bias, kept, rows, mixed, X=column, C=channels, W=reach,
        HAS_BIAS=conv1d.bias is not None, BLOCK=CHANNEL_BLOCK, **asdict(SMALL),
    )  # fmt: skip
    return mixed


def _taps(conv1d: CausalConv) -> tuple[Tensor, Tensor]:
    """(C, W), and the bias; the taps again, which are never read as one, where there is none."""
    taps = conv1d.weight.squeeze(1)
    return taps, taps if conv1d.bias is None else conv1d.bias
