"""Attention of a ragged pass to what its sequences hold in pages.

Softmax over a whole sequence is put together from softmaxes over its parts: each part gives its output and the
logarithm of its sum of exponentials, which says how much it weighs. So no page is copied, and what several sequences
share is read once for all of them.

L = tokens of a pass, P = places in the pages of a layer, HQ and HKV = heads of queries, and of keys and values,
D = channels of a head; l and t = tokens of a part.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from models.hybrid.pages import Pages

QUERIES = 1024
"""At a time, where their mask is written down."""
KEYS, MANY_ROWS = 4096, 256
"""Of a head at a time, copied together for so many rows of queries, which find them in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Piece:
    """The tokens of one sequence in a pass."""

    first: int
    """Its first token's index in the pass."""
    length: int
    held: int
    """Tokens that the sequence held before."""
    runs: list[slice]
    """Where those lie, in order."""
    pages: Pages
    """Of the sequence, in order."""

    @property
    def tokens(self) -> slice:
        """Of the pass."""
        return slice(self.first, self.first + self.length)


class Part(NamedTuple):
    """What queries gave for some of the keys."""

    output: Tensor
    """(l, HQ, D)"""
    weight: Tensor
    """(l, HQ), in at least fp32: the logarithm of the sum of exponentials."""


class Attention(Protocol):
    """A way to attend, laid out once for all layers of a pass."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """q (L, HQ, D), k and v (L, HKV, D) of the pass's tokens, which are among keys and values (P, HKV, D) already.
        Returns (L, HQ, D): of each token, the attention to itself and all before it in its sequence."""


class ByRuns:
    """On a CPU, by torch's flash attention: each piece attends to itself, then to every run of pages before it."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._own = [piece.tokens for piece in pieces]
        sharing: dict[tuple[int, int], list[slice]] = {}
        for piece in pieces:
            for run in piece.runs:
                sharing.setdefault((run.start, run.stop), []).append(piece.tokens)
        self._runs = [(slice(*run), _index(tokens)) for run, tokens in sharing.items()]

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """As `Attention.attend`."""
        total = self._to_itself(q, k, v, scale)
        for run, tokens in self._runs:
            held = Part(total.output[tokens], total.weight[tokens])
            both = _together(held, _to_all(q[tokens], keys[run], values[run], scale))
            total.output[tokens], total.weight[tokens] = both
        return total.output

    def _to_itself(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Part:
        if len(self._own) == len(q):
            return _to_one(q, k, v, scale)
        parts = [_causal(q[own], k[own], v[own], scale) for own in self._own]
        return parts[0] if len(parts) == 1 else Part(*(torch.cat(each) for each in zip(*parts, strict=True)))


class Gathered:
    """Where nothing else runs: what a sequence holds is copied together, for scaled_dot_product_attention."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        """As `Attention.attend`."""
        return torch.cat([self._piece(piece, q, k, v, keys, values, scale) for piece in self._pieces])

    @staticmethod
    def _piece(piece: Piece, q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        own = piece.tokens
        k, v = (torch.cat([*(pages[run] for run in piece.runs), new[own]]) for new, pages in ((k, keys), (v, values)))
        k, v = k.transpose(0, 1).unsqueeze(0), v.transpose(0, 1).unsqueeze(0)
        seen, parts = piece.held, []
        for queries in q[own].split(QUERIES):
            seen += len(queries)
            mask, queries = causal_lower_right(len(queries), seen), queries.transpose(0, 1).unsqueeze(0)
            # Returns (1, HQ, l, D).
            output = F.scaled_dot_product_attention(
                queries, k[:, :, :seen], v[:, :, :seen], mask, scale=scale, enable_gqa=True
            )
            parts.append(output.squeeze(0).transpose(0, 1))
        return torch.cat(parts)


def _index(pieces: Sequence[slice]) -> slice | Tensor:
    """Of the tokens of these pieces in the pass."""
    if len(pieces) == 1:
        return pieces[0]
    return torch.cat([torch.arange(piece.start, piece.stop) for piece in pieces])


def _together(one: Part, other: Part) -> Part:
    """Softmax over the keys of both."""
    weight = torch.logaddexp(one.weight, other.weight)
    share = (other.weight - weight).exp().unsqueeze(-1)
    output = torch.lerp(one.output.to(share.dtype), other.output.to(share.dtype), share)
    return Part(output.to(one.output.dtype), weight)


def _to_one(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Part:
    """Each token to itself alone."""
    groups = q.shape[1] // k.shape[1]
    keys, values = (part.repeat_interleave(groups, dim=1) for part in (k, v))
    wide = torch.promote_types(q.dtype, torch.float32)
    return Part(values, (q.to(wide) * keys.to(wide)).sum(-1) * scale)


def _causal(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Part:
    """Each token of a piece to itself and those before it: q (l, HQ, D), k and v (l, HKV, D)."""
    queries = q.unflatten(1, (k.shape[1], -1)).permute(1, 2, 0, 3)
    every = (*queries.shape[:2], -1, -1)
    # Heads that share keys have a stride of 0 there, which copies nothing.
    keys, values = (part.transpose(0, 1).contiguous().unsqueeze(1).expand(every) for part in (k, v))
    output, weight = _flash(queries, keys, values, scale, is_causal=True)
    return Part(output.permute(2, 0, 1, 3).flatten(1, 2), weight.permute(2, 0, 1).flatten(1, 2))


def _to_all(q: Tensor, keys: Tensor, values: Tensor, scale: float) -> Part:
    """All of q (l, HQ, D) to all of keys and values (t, HKV, D)."""
    # Queries that share keys are rows of one matrix.
    queries = q.unflatten(1, (keys.shape[1], -1)).transpose(0, 1).flatten(1, 2).unsqueeze(0)
    if queries.shape[2] < MANY_ROWS:
        found = Part(*_flash(queries, keys.transpose(0, 1).unsqueeze(0), values.transpose(0, 1).unsqueeze(0), scale))
    else:
        found = _to_spans(queries, keys, values, scale)
    output, weight = (part.squeeze(0).unflatten(1, (len(q), -1)).transpose(0, 1).flatten(1, 2) for part in found)
    return Part(output.to(q.dtype), weight)


def _to_spans(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Part:
    """The same, of queries (1, HKV, rows, D), span by span: outputs in the dtype of weights, in which they add up."""
    total: Part | None = None
    for span in zip(keys.split(KEYS), values.split(KEYS), strict=True):
        k, v = (part.transpose(0, 1).contiguous().unsqueeze(0) for part in span)
        output, weight = _flash(queries, k, v, scale)
        found = Part(output.to(weight.dtype), weight)
        total = found if total is None else _together(total, found)
    assert total is not None, "a run holds tokens"
    return total


def _flash(q: Tensor, keys: Tensor, values: Tensor, scale: float, is_causal: bool = False) -> tuple[Tensor, Tensor]:
    """What scaled_dot_product_attention runs on a CPU, which itself does not tell the sums of exponentials: output
    (B, H, l, D) and their logarithms (B, H, l)."""
    output, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, keys, values, 0.0, is_causal, scale=scale
    )
    return output, weight
