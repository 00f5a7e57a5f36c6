"""One training from its settings to its result: what a worker does, be it alone or one of several."""

from dataclasses import dataclass

import structlog
import torch

from configs.errors import ConfigError
from configs.training import TrainConfig
from models.backends import device as devices
from models.weights.tokenizer import Tokenizer
from pipeline.training import evaluation, result
from pipeline.training.corpus import Corpus
from pipeline.training.origin import Origin, tokenizer_of
from pipeline.training.session import Training

log = structlog.get_logger()

TOLD = ("steps", "minutes", "held_out_answer_loss")


@dataclass(frozen=True)
class Prepared:
    """All that a training needs, read and found to fit each other."""

    corpus: Corpus
    origin: Origin
    long_text: str | None


def prepare(config: TrainConfig, tokenizer: Tokenizer | None = None) -> Prepared:
    """Reads the data and brings the checkpoint here. `tokenizer` is the one to use where it is known already.

    Raises ConfigError, ModelError and StorageError.
    """
    corpus, text = Corpus(config.data), evaluation.long_text(config)
    return Prepared(corpus, Origin.of(config, tokenizer or tokenizer_of(config, corpus)), text)


def train(config: TrainConfig) -> None:
    """All of it, in this process alone. Raises what `prepare` raises, and ConfigError where memory does not suffice."""
    work(config, prepare(config), device_of(config))


def work(config: TrainConfig, prepared: Prepared, device: torch.device) -> None:
    """A worker's part, where there is a process group of several. The first one measures the result and writes it."""
    torch.set_num_threads(config.threads)
    corpus, origin = prepared.corpus, prepared.origin
    training = Training(config, corpus, origin, device)
    training.run()
    if training.rank == 0:
        measured = evaluation.evaluate(training.result(), origin.tokenizer, corpus, config, prepared.long_text)
        figures = training.figures() | measured
        result.write(training, figures)
        training.finish()
        log.info("training_finished", output=config.output, **{name: figures[name] for name in TOLD})


def device_of(config: TrainConfig) -> torch.device:
    """Where one process trains. Raises ConfigError where a GPU is asked for and there is none."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device = 'cuda', but torch sees no GPU here: set device=cpu, or start it where there is one")
    return torch.device(devices.kind_of(config.device))
