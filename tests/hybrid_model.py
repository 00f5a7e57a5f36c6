"""Small models with attention: a hybrid with Mamba-2, a transformer, and one with no attention at all."""

import torch

from models.hybrid.architecture import AttentionShape, HybridConfig, Layer, MambaShape, MLPShape
from models.hybrid.language_model import HybridLM

VOCAB_SIZE, END, CHUNK = 61, 60, 8
ATTENTION = AttentionShape(num_heads=4, num_kv_heads=2, head_dim=6, scale=6**-0.5, is_rotary=False)
MAMBA = MambaShape(num_heads=4, headdim=8, d_state=8, ngroups=1, chunk_size=CHUNK, eps=1e-5)
MLP = MLPShape(d_hidden=24)
FORMS: dict[str, tuple[Layer, ...]] = {
    "hybrid": (MAMBA, MLP, ATTENTION, MLP, MAMBA, ATTENTION, MLP),
    "transformer": (ATTENTION, MLP, ATTENTION, MLP),
    "recurrent": (MAMBA, MLP, MAMBA, MLP),
}


def build(form: str, dtype: torch.dtype = torch.float64, max_context: int | None = None) -> HybridLM:
    """In evaluation mode, with weights large enough that each token matters."""
    config = HybridConfig(
        d_model=16, vocab_size=VOCAB_SIZE, tie_embeddings=True, eps=1e-5, layers=FORMS[form], max_context=max_context
    )
    torch.manual_seed(7)
    model = HybridLM(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.5 if "embedding" in name else 0.25)
    return model.to(dtype).eval().requires_grad_(False)
