"""What a training begins with: a checkpoint and its tokenizer, or fresh weights and a tokenizer made for them."""

from dataclasses import dataclass
from pathlib import Path

import structlog
import torch

from configs.errors import ModelError
from configs.training import TrainConfig
from models.mamba.architecture import Mamba3Config, MambaConfig
from models.mamba.language_model import MambaLM
from models.weights import checkpoint, hub
from models.weights.tokenizer import Tokenizer
from pipeline.storage import objects
from pipeline.training.corpus import Corpus
from pipeline.training.saves import INDEX

log = structlog.get_logger()

TOKENIZER_CHARS = 24_000_000


@dataclass(frozen=True)
class Origin:
    """Architecture, tokenizer and weights before the first step."""

    architecture: MambaConfig
    tokenizer: Tokenizer
    directory: Path | None
    """Of the checkpoint, on this machine; None for fresh weights."""

    @staticmethod
    def of(config: TrainConfig, tokenizer: Tokenizer) -> "Origin":
        """Brings the checkpoint here. Raises ModelError where it cannot be used, or does not fit the tokenizer."""
        if config.start_from is None:
            return Origin(_architecture(config, tokenizer), tokenizer, None)
        directory = checkpoint.resolve(config.start_from, hub.OF_A_TRAINING.model)
        architecture = checkpoint.check(directory)
        if not isinstance(architecture, MambaConfig):
            raise ModelError(f"start_from = {config.start_from!r}: only Mamba models can be trained")
        tokenizer.check_fits(architecture.padded_vocab_size, hub.OF_A_TRAINING)
        return Origin(architecture, tokenizer, directory)

    @property
    def fingerprint(self) -> str | None:
        """Of the checkpoint; None for fresh weights."""
        return checkpoint.fingerprint(self.directory) if self.directory else None

    def model(self, device: torch.device) -> MambaLM:
        """In fp32, all of it trainable. Fresh weights are drawn from torch's generator."""
        if self.directory is None:
            return MambaLM(self.architecture).initialize().to(device)
        model = checkpoint.load(self.directory, torch.float32, device)
        assert isinstance(model, MambaLM)
        return model.train().requires_grad_(True)


def tokenizer_of(config: TrainConfig, corpus: Corpus) -> Tokenizer:
    """That of the checkpoint; for fresh weights that of an unfinished training, or a new one. Raises ModelError."""
    if config.start_from is not None:
        return Tokenizer.find(config.tokenizer, config.start_from, hub.OF_A_TRAINING)
    stored = objects.join(config.output, hub.TOKENIZER)
    if objects.exists(objects.join(config.output, INDEX)):
        return Tokenizer.read(objects.read_bytes(stored).decode(), stored)
    tokenizer = Tokenizer.train(corpus.sample_texts(TOKENIZER_CHARS, config.seed), config.model.vocab_size)
    objects.publish(stored, tokenizer.serialized.encode())
    log.info("tokenizer_trained", vocab_size=tokenizer.vocab_size)
    return tokenizer


def _architecture(config: TrainConfig, tokenizer: Tokenizer) -> MambaConfig:
    shape = config.model
    return MambaConfig(
        d_model=shape.d_model,
        d_intermediate=shape.d_intermediate,
        n_layer=shape.n_layer,
        vocab_size=tokenizer.vocab_size,
        ssm_cfg=Mamba3Config(d_state=shape.d_state, headdim=shape.headdim, chunk_size=shape.chunk_size),
    )
