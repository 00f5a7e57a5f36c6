"""One training from its settings to its result: what a worker does, be it alone or one of several."""

import structlog
import torch

from configs.errors import ConfigError
from configs.training import TrainConfig
from pipeline.training import evaluation, result
from pipeline.training.corpus import Corpus
from pipeline.training.origin import Origin, tokenizer_of
from pipeline.training.session import Training

log = structlog.get_logger()


def train(config: TrainConfig) -> None:
    """All of it, on as many workers as the settings say.

    Raises ConfigError, ModelError and StorageError, those about settings, data and checkpoint before it starts.
    """
    if config.workers > 1:
        raise ConfigError(f"workers = {config.workers}: several are not supported yet; set workers=1")
    corpus, text = Corpus(config.data), evaluation.long_text(config)
    tokenizer = tokenizer_of(config, corpus)
    work(config, corpus, Origin.of(config, tokenizer), text, device_of(config))


def work(config: TrainConfig, corpus: Corpus, origin: Origin, text: str | None, device: torch.device) -> None:
    """A worker's part. The first one measures the result and writes it."""
    torch.set_num_threads(config.threads)
    training = Training(config, corpus, origin, device)
    training.run()
    if training.rank == 0:
        measured = evaluation.evaluate(training.result(), origin.tokenizer, corpus, config, text)
        figures = training.figures() | measured
        result.write(training, figures)
        training.finish()
        log.info("training_finished", output=config.output, **{name: figures[name] for name in ("steps", "minutes")})


def device_of(config: TrainConfig) -> torch.device:
    """Where one process trains. Raises ConfigError where a GPU is asked for and there is none."""
    has_gpu = torch.cuda.is_available()
    if config.device == "cuda" and not has_gpu:
        raise ConfigError("device = 'cuda', but torch sees no GPU here: set device=cpu, or start it where there is one")
    return torch.device("cuda" if has_gpu and config.device != "cpu" else "cpu")
