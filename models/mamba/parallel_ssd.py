"""The Mamba-2 recurrence of `models.mamba.ssd`, with all chunks of a pack at once: for training on a GPU.

Source: Transformers are SSMs (Mamba-2), arXiv 2405.21060, section 6; letters as in `models.mamba.ssd`, K = chunks.
"""

from torch import Tensor

from models.mamba.chunks import Layout, carried, with_diagonal_added
from models.mamba.packing import Packing
from models.mamba.scan import decay_of
from models.mamba.ssd import Inputs


def scan(inputs: Inputs, skip: Tensor, state: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
    """`models.mamba.ssd.scan`: the same numbers, to rounding."""
    layout, per_group = Layout.of(packing), inputs.x.shape[1] // inputs.b.shape[1]
    x, b, c = (layout.padded(each.unsqueeze(2)) for each in (inputs.x, inputs.b, inputs.c))
    decay = layout.by_head(inputs.a_dt.mT).cumsum(-1)
    weight = decay_of(decay.unsqueeze(-1) - decay.unsqueeze(-2)) * layout.by_head(inputs.dt.mT).unsqueeze(-2)
    weight = weight.tril()
    added = (x * weight[..., -1, :].unsqueeze(-1)).mT @ b.repeat_interleave(per_group, dim=1)
    entering, after = carried(added, decay[..., -1], state, layout)
    scores = with_diagonal_added((c @ b.mT).repeat_interleave(per_group, dim=1) * weight, skip)
    read = c.repeat_interleave(per_group, dim=1) @ entering.mT
    y = scores @ x + read * decay_of(decay).unsqueeze(-1)
    return layout.unpadded(y, 1).squeeze(2), after
