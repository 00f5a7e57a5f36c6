"""A Mamba, by default a Mamba-3, small enough for tests, and with every parameter away from its initial value."""

from pathlib import Path

import torch

from models.mamba.architecture import Mamba2Config, Mamba3Config, MambaConfig
from models.mamba.language_model import MambaLM

VOCAB_SIZE = 61


def build(dtype: torch.dtype = torch.float64, **mixer: object) -> MambaLM:
    torch.manual_seed(7)
    shape = {"d_state": 16, "headdim": 12, "chunk_size": 8, "dt_min": 0.05, "dt_max": 0.9}
    kind = Mamba2Config if mixer.get("layer") == "Mamba2" else Mamba3Config
    config = MambaConfig(d_model=24, d_intermediate=40, n_layer=2, vocab_size=VOCAB_SIZE, ssm_cfg=kind(**shape | mixer))
    model = MambaLM(config).initialize()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.to(dtype).eval()


def write(directory: Path, text: str, vocab_size: int = 300) -> str:
    """One with a tokenizer that learned from a text, as `model.uri` takes it. Its answers are noise."""
    # Here, so that the tests of a GPU need no more than torch and pytest.
    from models.weights import checkpoint
    from models.weights.tokenizer import Tokenizer

    Tokenizer.train([text], vocab_size).save(directory)
    config = build(chunk_size=16).config.model_copy(update={"vocab_size": vocab_size})
    checkpoint.save(MambaLM(config).initialize(), directory)
    return str(directory)
