"""`python -m jobs.train CONFIG.yaml`: a tokenizer and a small Mamba-3 from a directory of documents."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch

from configs.loader import load
from configs.training import TrainConfig
from jobs import command
from models import checkpoint
from models.architecture import MambaConfig, MixerConfig
from models.mamba3 import Mamba3
from models.tokenizer import Tokenizer
from models.trainer import Stream, Trainer, losses_by_token
from pipeline import logs, tokenise
from pipeline.corpus import Corpus, Example, pair

log = structlog.get_logger()

TOKENIZER_CHARS = 24_000_000
EVAL_PAIRS = 40
EVAL_PAIR_CHARS = 15_000
EVAL_TEXT_TOKENS = 100_000
EVAL_SEGMENT = 1024
EVAL_MEMORY = 2048
RESUME_FILE = "resume.pt"


def train(config_path: command.ConfigPath, overrides: command.Overrides = None) -> None:
    """Train a tokenizer and a small Mamba-3, with state carried from segment to segment."""
    config = load(TrainConfig, config_path, overrides or [])
    logs.configure()
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    output = Path(config.output)
    output.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(config.data)
    tokenizer = _tokenizer(config, corpus, output)
    progress = _Progress.start(config, tokenizer, corpus, output)
    progress.run()
    checkpoint.save(progress.model, output)
    figures = progress.figures() | evaluate(progress.model, tokenizer, corpus, config)
    (output / "training.json").write_text(json.dumps(figures, indent=2) + "\n")
    (output / RESUME_FILE).unlink(missing_ok=True)
    log.info("training_finished", output=str(output), steps=progress.steps, minutes=round(progress.seconds / 60, 1))


@dataclass
class _Progress:
    """A training under way, saved every so often, so that it goes on after an interruption."""

    config: TrainConfig
    model: Mamba3
    trainer: Trainer
    output: Path
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    text_loss: float = math.nan
    answer_loss: float = math.nan

    @staticmethod
    def start(config: TrainConfig, tokenizer: Tokenizer, corpus: Corpus, output: Path) -> "_Progress":
        model = Mamba3(_architecture(config, tokenizer)).initialise()
        saved = _read_saved(output)
        # Go on with documents that an earlier attempt has not drawn yet.
        seed = config.seed + 1_000_003 * (saved["steps"] if saved else 0)
        streams = [
            Stream(_weighted(corpus.examples(tokenizer, seed + row), config.summary_weight), config.segment_tokens)
            for row in range(config.streams)
        ]
        trainer = Trainer(model, streams, config.learning_rate, config.weight_decay)
        progress = _Progress(config, model, trainer, output)
        if saved:
            model.load_state_dict(saved["model"])
            trainer.optimizer.load_state_dict(saved["optimizer"])
            progress.steps, progress.tokens, progress.seconds = saved["steps"], saved["tokens"], saved["seconds"]
            log.info("training_resumed", steps=progress.steps, minutes=round(progress.seconds / 60, 1))
        return progress

    def run(self) -> None:
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

    @property
    def share_done(self) -> float:
        return max(self.steps / self.config.steps, self.seconds / 60 / self.config.max_minutes)

    def figures(self) -> dict[str, object]:
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


def _tokenizer(config: TrainConfig, corpus: Corpus, output: Path) -> Tokenizer:
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
        ssm_cfg=MixerConfig(d_state=shape.d_state, headdim=shape.headdim, chunk_size=shape.chunk_size),
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


def evaluate(model: Mamba3, tokenizer: Tokenizer, corpus: Corpus, config: TrainConfig) -> dict[str, object]:
    """Loss on held-out summaries, and by position over one long document that training never saw."""
    model.eval()
    pairs = [record for record in corpus.held_out if record.summary and len(record.text) < EVAL_PAIR_CHARS]
    answers = []
    for record in pairs[:EVAL_PAIRS]:
        example = pair(record, tokenizer)
        answers.append(losses_by_token(model, example.tokens, EVAL_SEGMENT)[-example.answer_tokens :].mean())
    text = Path(config.data.long_document).read_text(encoding="utf-8")[: EVAL_TEXT_TOKENS * 5]
    tokens = tokenise.tokens([text], tokenizer)[: EVAL_TEXT_TOKENS + 1]
    return {
        "held_out_answer_loss": round(float(np.mean(answers)), 3) if answers else None,
        "held_out_answers": len(answers),
        "loss_by_position": _by_position(
            losses_by_token(model, tokens, EVAL_SEGMENT),
            losses_by_token(model, tokens, EVAL_SEGMENT, forget_every=EVAL_MEMORY),
        ),
    }


def _by_position(carried: np.ndarray, forgetful: np.ndarray) -> list[dict[str, float]]:
    """Mean loss in ranges of position that double, with the state carried all the way and with it emptied often."""
    bounds = [0, *(512 * 2**power for power in range(20) if 512 * 2**power < len(carried)), len(carried)]
    return [
        {
            "from": start,
            "to": stop,
            "loss": round(float(carried[start:stop].mean()), 3),
            f"loss_forgetting_every_{EVAL_MEMORY}": round(float(forgetful[start:stop].mean()), 3),
        }
        for start, stop in pairwise(bounds)
    ]


if __name__ == "__main__":
    command.run(train, TrainConfig)
