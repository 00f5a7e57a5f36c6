"""The Mamba-3 recurrence of `models.mamba.scan`, with all chunks of a pack at once: for training on a GPU.

Source: Transformers are SSMs (Mamba-2), arXiv 2405.21060, section 6, applied to the Mamba-3 recurrence of
`models.mamba.scan`, whose letters and formulas hold here. K = chunks in the pack.

Within chunks nothing depends on what came before but through the state that enters. So each chunk's own part of the
state is computed for all chunks together; the states that enter them are sums of those parts, each decayed by what lies
between; and only then comes what chunks read from them. Some hundred kernels a layer, however many tokens, where going
from chunk to chunk takes as many for each; the price is memory for all chunks, which training keeps anyway.
"""

import torch
from torch import Tensor

from models.mamba.chunks import Layout, carried, with_diagonal_added
from models.mamba.packing import Packing
from models.mamba.scan import FULL_TURN, Heads, Inputs, coefficients, decay_of, in_groups, spread
from models.state import State


def scan(inputs: Inputs, heads: Heads, state: State, packing: Packing) -> tuple[Tensor, State]:
    """`models.mamba.scan.scan`: the same numbers, to rounding."""
    layout, rank = Layout.of(packing), heads.rank
    pending, (dt, now, later, a_dt) = coefficients(inputs, packing)
    v = pending[packing.starts][..., None, None] * heads.ranked(state["v"])
    initial = state["ssm"] + v.mT @ state["k"]

    angle, last_angle = _angles(inputs.angle.unsqueeze(0) * dt.unsqueeze(-1), state["angle"].double(), layout)
    b, c = spread(in_groups(inputs), heads.biases(inputs.b.shape[2]), angle)
    keys, queries = layout.padded(b.transpose(0, 1)), layout.padded(c.transpose(0, 1))
    x = layout.padded(heads.ranked(inputs.x))

    decay = layout.padded(a_dt.mT).transpose(1, 2).cumsum(-1)
    mixing = (decay_of(decay.unsqueeze(-1) - decay.unsqueeze(-2)) * layout.by_head(later).unsqueeze(-2)).tril()
    to_end, so_far = mixing[..., -1, :], decay_of(decay)
    added = (x * _per_row(to_end, rank)).mT @ keys
    entering, after = carried(added, decay[..., -1], initial, layout)

    is_own = torch.eye(mixing.shape[-1], dtype=torch.bool, device=mixing.device)
    mixing = torch.where(is_own, layout.by_head(now).unsqueeze(-2), mixing)
    scores = with_diagonal_added(_mixed(queries @ keys.mT, mixing, rank), heads.skip)
    y = scores @ x + (queries @ entering.mT) * _per_row(so_far, rank)
    ends = {"angle": last_angle.to(dt.dtype), "ssm": after, "k": b[:, packing.lasts].transpose(0, 1)}
    return layout.unpadded(y, rank), State(ends | {"v": inputs.x[packing.lasts]})


def _angles(turns: Tensor, entering: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Phases (H, L, A) after each token and (S, H, A) after each segment, from those before them (S, H, A).

    turns (H, L, A). Summed in fp32 within a chunk and in fp64 from chunk to chunk, as in `models.mamba.scan`.
    """
    within = torch.where(layout.is_token[..., None, None], turns.transpose(0, 1)[layout.tokens], 0.0).cumsum(1)
    total = within[:, -1].double()
    until = total.cumsum(0) - total
    before = until - until[layout.first][layout.segments] + entering[layout.segments]
    after = (before + total)[layout.last].remainder(FULL_TURN)
    angle = within + before.remainder(FULL_TURN).to(within.dtype).unsqueeze(1)
    return angle[layout.is_token].transpose(0, 1), after


def _per_row(per_token: Tensor, rank: int) -> Tensor:
    """(K, H, Q) -> (K, H, QR, 1)."""
    return per_token.repeat_interleave(rank, dim=-1).unsqueeze(-1)


def _mixed(scores: Tensor, mixing: Tensor, rank: int) -> Tensor:
    """scores (K, H, QR, QR), each weighed by its tokens' (K, H, Q, Q)."""
    if rank == 1:
        return scores * mixing
    by_token = scores.unflatten(3, (-1, rank)).unflatten(2, (-1, rank)) * mixing[:, :, :, None, :, None]
    return by_token.flatten(4, 5).flatten(2, 3)
