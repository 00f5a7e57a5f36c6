"""Small trainings: documents with summaries, and checkpoints in the published format to start from."""

import json
from pathlib import Path
from pydoc_data.topics import topics

import torch
import zstandard

from models.mamba.architecture import Mamba1Config, Mamba2Config, Mamba3Config, MambaConfig
from models.mamba.language_model import MambaLM
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from tests import published_checkpoint

SUMMARY = "How Python treats this topic, told in one short sentence."
SHAPES = {
    "siso": Mamba3Config(d_state=16, headdim=16, chunk_size=16),
    "mimo": Mamba3Config(d_state=16, headdim=16, chunk_size=16, is_mimo=True, mimo_rank=2),
    "mamba2": Mamba2Config(d_state=16, headdim=16, chunk_size=16),
    "mamba1": Mamba1Config(d_state=8),
}
WITHOUT_MLP = ("mamba1", "mamba2")
"""As transformers lays them out, with a tokenizer, where Mamba-3 comes as pytorch_model.bin."""


def write_documents(folder: Path, most: int | None = None) -> Path:
    """JSON lines of the topics of Python's language reference, each with the same summary."""
    folder.mkdir(parents=True)
    chosen = list(topics.items())[:most]
    rows = [json.dumps({"id": name, "text": text, "summary": SUMMARY}) for name, text in chosen]
    (folder / "topics.jsonl.zst").write_bytes(zstandard.compress("\n".join(rows).encode()))
    return folder


def write_tokenizer(folder: Path) -> Tokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.train([*topics.values(), SUMMARY], 320)
    tokenizer.save(folder)
    return tokenizer


def write_checkpoint(folder: Path, shape: str, vocab_size: int = 320) -> Path:
    """A random one, as published: Mamba-3 as pytorch_model.bin and without a tokenizer."""
    torch.manual_seed(3)
    config = MambaConfig(
        d_model=32,
        d_intermediate=0 if shape in WITHOUT_MLP else 64,
        n_layer=2,
        vocab_size=vocab_size,
        ssm_cfg=SHAPES[shape],
    )
    model = MambaLM(config).initialize()
    with torch.no_grad():
        # As wide as trained ones are, so that what is frozen tells tokens apart.
        model.backbone.embedding.weight.mul_(25)
    if shape in WITHOUT_MLP:
        checkpoint.save(model, folder)
    else:
        published_checkpoint.write(model, folder)
    return folder
