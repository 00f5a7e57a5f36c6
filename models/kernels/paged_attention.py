"""Attention over pages on a GPU: prefill in pieces and decoding, of any mix of sequences in one pass.

A program reads the keys and values of one head, page after page by the sequence's table, for a tile of rows: some
tokens of a piece times the G heads of queries that share those keys. A piece of few tokens leaves most of a GPU idle
over a long document: its keys are read in spans by programs of their own, whose outputs are put together by the
logarithms of their sums of exponentials. Where spans begin depends on the sequence alone, so that what runs beside it
changes nothing.

L = tokens of a pass, P = places in the pages of a layer, HQ and HKV = heads of queries, and of keys and values,
G = HQ / HKV, D = channels of a head.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from models.hybrid.page_attention import Piece
from models.kernels.operands import operands
from models.kernels.tiling import Launch, tiling_of
from models.transfer import moved

ROWS = 64
"""Of a tile."""
FEWEST_ROWS = 16
"""That the matrix unit takes."""
FEW_TOKENS = 32
"""Pieces of up to so many are read in spans."""
SPAN_TOKENS = 8192
READ = Launch(num_warps=4, num_stages=2)


@triton.jit
def attend_pages(
    q, keys, values, out, logs, tables, tiles, q_stride, table_stride, num_tokens, scale,
    HKV: tl.constexpr, G: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, D_BLOCK: tl.constexpr,
    TOKENS: tl.constexpr, KEYS: tl.constexpr, PAGE: tl.constexpr, SPAN: tl.constexpr, IS_SPAN: tl.constexpr,
    DTYPE: tl.constexpr, PRECISION: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """q (L, HQ, D) of which each tile reads some tokens and one group of heads, keys and values (P, HKV, D), out as q
    or of each span (spans, tokens, HQ, D), with logs (spans, tokens, HQ)."""
    tile, head, span = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    about = tiles + 5 * tile
    first, written = tl.load(about).to(tl.int64), tl.load(about + 1).to(tl.int64)
    count, position, table = tl.load(about + 2), tl.load(about + 3), tl.load(about + 4).to(tl.int64)
    row, channel = tl.arange(0, TOKENS * GROUP), tl.arange(0, D_BLOCK)
    token, group = row // GROUP, row % GROUP
    is_row = (token < count) & (group < G)
    is_query = is_row[:, None] & (channel < D)[None, :]
    heads = head * G + group
    query = tl.load(
        q + (first + token)[:, None] * q_stride + heads[:, None] * D + channel[None, :], mask=is_query, other=0.0
    ).to(DTYPE)
    begin, end = 0, position + count
    if IS_SPAN:
        begin = tl.minimum((span * SPAN).to(tl.int32), end)
        end = tl.minimum(begin + SPAN, end)
    most = tl.full((TOKENS * GROUP,), float("-inf"), tl.float32)
    total = tl.zeros((TOKENS * GROUP,), tl.float32)
    output = tl.zeros((TOKENS * GROUP, D_BLOCK), tl.float32)
    for start in tl.range(begin, end, KEYS, num_stages=STAGES):
        page = tl.load(tables + table * table_stride + start // PAGE).to(tl.int64)
        key = start + tl.arange(0, KEYS)
        place = ((page * PAGE + key % PAGE) * HKV + head)[:, None] * D + channel[None, :]
        is_key = (key < end)[:, None] & (channel < D)[None, :]
        k = tl.load(keys + place, mask=is_key, other=0.0).to(DTYPE)
        v = tl.load(values + place, mask=is_key, other=0.0).to(DTYPE)
        score = tl.dot(query, tl.trans(k), input_precision=PRECISION) * scale
        is_seen = (key[None, :] <= (position + token)[:, None]) & (key < end)[None, :]
        score = tl.where(is_seen, score, float("-inf"))
        larger = tl.maximum(most, tl.max(score, 1))
        # Rows that have seen no key yet, so that nothing is subtracted from minus infinity.
        base = tl.where(larger == float("-inf"), 0.0, larger)
        share, fading = tl.exp(score - base[:, None]), tl.exp(most - base)
        total = total * fading + tl.sum(share, 1)
        output = output * fading[:, None] + tl.dot(share.to(DTYPE), v, input_precision=PRECISION)
        most = larger
    divisor = tl.where(total == 0.0, 1.0, total)
    place = (span * num_tokens + written + token) * (HKV * G) + heads
    tl.store(
        out + place[:, None] * D + channel[None, :], (output / divisor[:, None]).to(out.dtype.element_ty), mask=is_query
    )
    if IS_SPAN:
        tl.store(logs + place, tl.where(total == 0.0, float("-inf"), most + tl.log(divisor)), mask=is_row)


@dataclass(frozen=True)
class Kind:
    """Pieces that one launch reads, with the rows of their tables."""

    pieces: list[tuple[int, Piece]]
    size: int
    """Tokens of a tile, at most."""
    num_spans: int
    """That keys are read in; 0 where each tile reads all of its own, and writes where its tokens stand in the pass."""

    @property
    def index(self) -> np.ndarray:
        """(l,) int64: of its tokens, their place in the pass."""
        return np.concatenate([np.arange(piece.first, piece.first + piece.length) for _, piece in self.pieces])

    @property
    def tiles(self) -> np.ndarray:
        """(5 * tiles,) int32, of each: its first token in the pass, and where it is written; how many it has, the
        position of the first one, and the row of its sequence in the tables."""
        found, written = [], 0
        for row, piece in self.pieces:
            for before in range(0, piece.length, self.size):
                first = piece.first + before
                place = written + before if self.num_spans else first
                found.append((first, place, min(self.size, piece.length - before), piece.held + before, row))
            written += piece.length
        return np.array(found, np.int32).reshape(-1)


class PagedAttention:
    """A `models.hybrid.page_attention.Attention`."""

    def __init__(self, pieces: Sequence[Piece], groups: int, page_tokens: int, device: torch.device) -> None:
        """`groups` of heads of queries share keys: G."""
        self._keys = tiling_of(device).keys
        assert page_tokens % self._keys == 0
        self._page_tokens, self._group = page_tokens, triton.next_power_of_2(groups)
        self._kinds = self._sorted(pieces)
        tables = np.zeros((len(pieces), max(len(piece.pages) for piece in pieces)), np.int32)
        for table, piece in zip(tables, pieces, strict=True):
            table[: len(piece.pages)] = piece.pages
        self._table_stride = tables.shape[1]
        arrays = [tables.reshape(-1), *(kind.tiles for kind in self._kinds), *(kind.index for kind in self._kinds)]
        self._tables, *rest = moved([torch.from_numpy(array) for array in arrays], device)
        self._tiles, self._indices = rest[: len(self._kinds)], rest[len(self._kinds) :]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """As `Attention.attend`."""
        q = q if q.stride()[1:] == (q.shape[2], 1) else q.contiguous()
        out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        for kind, tiles, index in zip(self._kinds, self._tiles, self._indices, strict=True):
            if not kind.num_spans:
                self._launch(kind, tiles, q, keys, values, out, out, scale)
                continue
            parts = torch.empty((kind.num_spans, len(index), *q.shape[1:]), dtype=torch.float32, device=q.device)
            logs = torch.empty(parts.shape[:3], dtype=torch.float32, device=q.device)
            self._launch(kind, tiles, q, keys, values, parts, logs, scale)
            out[index] = (parts * logs.softmax(0).unsqueeze(-1)).sum(0).to(out.dtype)
        return out

    def _sorted(self, pieces: Sequence[Piece]) -> list[Kind]:
        """By their lengths alone, so that a piece is read in the same way whatever is beside it."""
        rows = list(enumerate(pieces))
        one = [each for each in rows if each[1].length == 1]
        few = [each for each in rows if 1 < each[1].length <= FEW_TOKENS]
        many = [each for each in rows if each[1].length > FEW_TOKENS]
        size, least = max(1, ROWS // self._group), max(1, FEWEST_ROWS // self._group)
        kinds = [Kind(one, least, _spans(one)), Kind(few, size, _spans(few)), Kind(many, size, 0)]
        return [kind for kind in kinds if kind.pieces]

    def _launch(
        self,
        kind: Kind,
        tiles: Tensor,
        q: Tensor,
        keys: Tensor,
        values: Tensor,
        out: Tensor,
        logs: Tensor,
        scale: float,
    ) -> None:
        heads, width = keys.shape[1:]
        dtype, precision = operands(q)
        launch = asdict(READ)
        attend_pages[(len(tiles) // 5, heads, max(1, kind.num_spans))](
            q, keys, values, out, logs, self._tables, tiles, q.stride(0), self._table_stride, out.shape[-3], scale,
            HKV=heads, G=q.shape[1] // heads, GROUP=self._group, D=width, D_BLOCK=triton.next_power_of_2(width),
            TOKENS=kind.size, KEYS=self._keys, PAGE=self._page_tokens, SPAN=SPAN_TOKENS, IS_SPAN=kind.num_spans > 0,
            DTYPE=dtype, PRECISION=precision, STAGES=READ.num_stages, **launch,
        )  # fmt: skip


def _spans(pieces: Sequence[tuple[int, Piece]]) -> int:
    longest = max((piece.held + piece.length for _, piece in pieces), default=0)
    return -(-longest // SPAN_TOKENS)
