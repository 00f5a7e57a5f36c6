"""A training under way: data, model and optimizer, checkpointed so that it resumes after an interruption."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch

from configs.training import TrainConfig
from models.mamba.architecture import Mamba3Config, MambaConfig
from models.mamba.language_model import MambaLM
from models.mamba.trainer import Stream, Trainer
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.training.corpus import Corpus, Example

log = structlog.get_logger()

TOKENIZER_CHARS = 24_000_000
RESUME_FILE = "resume.pt"


@dataclass
class Training:
    """One model being trained."""

    config: TrainConfig
    model: MambaLM
    trainer: Trainer
    output: Path
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    text_loss: float = math.nan
    answer_loss: float = math.nan

    @staticmethod
    def start(config: TrainConfig, tokenizer: Tokenizer, corpus: Corpus, output: Path) -> "Training":
        """A new training, or the one that `output` holds, resumed from its last save."""
        model = MambaLM(_architecture(config, tokenizer)).initialize()
        saved = _read_saved(output)
        # Another seed, so that documents are drawn that the interrupted training has not seen.
        seed = config.seed + 1_000_003 * (saved["steps"] if saved else 0)
        streams = [
            Stream(_weighted(corpus.examples(tokenizer, seed + row), config.summary_weight), config.segment_tokens)
            for row in range(config.streams)
        ]
        trainer = Trainer(model, streams, config.learning_rate, config.weight_decay)
        progress = Training(config, model, trainer, output)
        if saved:
            model.load_state_dict(saved["model"])
            trainer.optimizer.load_state_dict(saved["optimizer"])
            progress.steps, progress.tokens, progress.seconds = saved["steps"], saved["tokens"], saved["seconds"]
            log.info("training_resumed", steps=progress.steps, minutes=round(progress.seconds / 60, 1))
        return progress

    def run(self) -> None:
        """Train until the steps or the minutes are used up, and save the weights."""
        while self.share_done < 1:
            started = time.monotonic()
            result = self.trainer.step(self._rate())
            self.steps += 1
            self.tokens += result.num_tokens
            self.seconds += time.monotonic() - started
            self.text_loss = _smooth(self.text_loss, result.text_loss)
            self.answer_loss = _smooth(self.answer_loss, result.answer_loss)
            if self.steps % self.config.log_every == 0:
                self._log()
            if self.steps % self.config.save_every == 0:
                self._save()
        checkpoint.save(self.model, self.output)

    def finish(self) -> None:
        """Remove what only an interrupted training needs."""
        (self.output / RESUME_FILE).unlink(missing_ok=True)

    @property
    def share_done(self) -> float:
        return max(self.steps / self.config.steps, self.seconds / 60 / self.config.max_minutes)

    def figures(self) -> dict[str, object]:
        """Recipe and course of the training, for the model's card."""
        return {
            "recipe": self.config.model_dump(mode="json"),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "steps": self.steps,
            "tokens": self.tokens,
            "minutes": round(self.seconds / 60, 1),
            "threads": self.config.threads,
            "train_text_loss": round(self.text_loss, 3),
            "train_answer_loss": round(self.answer_loss, 3),
        }

    def _rate(self) -> float:
        """Linear warm-up, then linear decay to a hundredth."""
        warm = min(1.0, (self.steps + 1) / max(1, self.config.warmup_steps))
        return warm * max(0.01, 1 - self.share_done)

    def _log(self) -> None:
        log.info(
            "training_step",
            step=self.steps,
            done=f"{self.share_done:.1%}",
            tokens=self.tokens,
            tokens_per_second=round(self.tokens / self.seconds),
            text_loss=round(self.text_loss, 3),
            answer_loss=round(self.answer_loss, 3),
        )

    def _save(self) -> None:
        checkpoint.save(self.model, self.output)
        saved = {
            "model": self.model.state_dict(),
            "optimizer": self.trainer.optimizer.state_dict(),
            **{name: getattr(self, name) for name in ("steps", "tokens", "seconds")},
        }
        partial = self.output / f"{RESUME_FILE}.partial"
        torch.save(saved, partial)
        partial.replace(self.output / RESUME_FILE)


def tokenizer_for(config: TrainConfig, corpus: Corpus, output: Path) -> Tokenizer:
    """The tokenizer of an interrupted training, or a new one, saved beside the weights."""
    if (output / RESUME_FILE).exists():
        return Tokenizer.load(output)
    texts = corpus.sample_texts(TOKENIZER_CHARS, config.seed)
    tokenizer = Tokenizer.train(texts, config.model.vocab_size)
    tokenizer.save(output)
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


def _read_saved(output: Path) -> dict[str, Any] | None:
    path = output / RESUME_FILE
    return torch.load(path, weights_only=True) if path.exists() else None


def _weighted(examples: Iterator[Example], answer_weight: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for example in examples:
        weights = np.ones(len(example.tokens), np.float32)
        if example.answer_tokens:
            weights[-example.answer_tokens :] = answer_weight
        yield example.tokens, weights


def _smooth(average: float, value: float) -> float:
    if math.isnan(average):
        return value
    return average if math.isnan(value) else 0.98 * average + 0.02 * value
