"""`python -m jobs.train CONFIG.yaml`: a tokenizer and a small Mamba-3 from a directory of documents."""

import json
from pathlib import Path

import structlog
import torch

from configs.loader import load
from configs.training import TrainConfig
from jobs import command
from pipeline.telemetry import logs
from pipeline.training.corpus import Corpus
from pipeline.training.evaluation import evaluate
from pipeline.training.session import Training, tokenizer_for

log = structlog.get_logger()


def train(config_path: command.ConfigPath, overrides: command.Overrides = None) -> None:
    """Train a tokenizer and a small Mamba-3, with state carried from segment to segment.

    Run the same command again to resume an interrupted training.
    """
    config = load(TrainConfig, config_path, overrides or [])
    logs.configure()
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(config.data)
    tokenizer = tokenizer_for(config, corpus, output)
    training = Training.start(config, tokenizer, corpus, output)
    training.run()
    figures = training.figures() | evaluate(training.model, tokenizer, corpus, config)
    (output / "training.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    training.finish()
    log.info("training_finished", output=str(output), **{name: figures[name] for name in ("steps", "minutes")})


if __name__ == "__main__":
    command.run(train, TrainConfig)
