"""A training under way: data, model and optimizer, saved so that it resumes after an interruption."""

import math
import time
from collections.abc import Mapping
from functools import partial

import structlog
import torch
import torch.distributed as dist
from torch import Tensor

from configs.errors import ConfigError
from configs.training import TrainConfig
from models.mamba import lora
from models.mamba.language_model import MambaLM
from models.mamba.trainer import Place, Recipe, Stream, Trainer, multiply_in_bf16, recompute_blocks, scan_at_once
from models.state import State
from pipeline.training import memory
from pipeline.training.corpus import Corpus
from pipeline.training.origin import Origin
from pipeline.training.saves import Progress, Saves

log = structlog.get_logger()

DATA_THAT_DECIDES = (
    *("pair_share", "weights", "max_pair_tokens", "min_summary_chars", "max_text_tokens", "held_out_share", "preamble"),
)
LEAST_RATE = 0.01


class Training:
    """One model being trained, by this process alone or by this one of several."""

    def __init__(self, config: TrainConfig, corpus: Corpus, origin: Origin, device: torch.device) -> None:
        """A new training, or the one that the output holds, resumed from its last save.

        Raises ConfigError where that is another one, or the device has no room.
        """
        self.config, self.tokenizer, self._saves = config, origin.tokenizer, Saves(config.output)
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.steps, self.tokens, self.seconds = 0, 0, 0.0
        self.text_loss = self.answer_loss = math.nan
        self._belongs_to = _belongs_to(config, corpus, origin)
        saved = self._saves.latest(self._belongs_to)
        # All workers begin with the same weights, and drop out differently.
        torch.manual_seed(config.seed)
        self.model = _model(config, origin, device)
        torch.manual_seed(config.seed + 1 + self.rank)
        own = self._own_of_saved(saved) if saved else {}
        self.trainer = Trainer(self.model, self._streams(corpus, own.get("places")), _recipe(config))
        if saved:
            self._resume(saved, own)

    def run(self) -> None:
        """Train until the steps or the minutes are used up. Raises ConfigError where a step needs more memory, or the
        weights have gone astray."""
        try:
            while self.share_done < 1:
                self._step()
        except FloatingPointError as error:
            raise ConfigError(
                f"learning_rate = {self.config.learning_rate}: in step {self.steps + 1} {error}; lower it, or raise "
                "warmup_steps; what was saved before is in the output"
            ) from error
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"a step of streams = {self.config.streams} times segment_tokens = {self.config.segment_tokens} does "
                "not fit into the device's memory: lower either, or set gradient_checkpointing=true, precision=bf16 or "
                "lora.rank=16"
            ) from error

    def finish(self) -> None:
        """Remove what only an interrupted training needs."""
        self._saves.remove()

    @property
    def share_done(self) -> float:
        """From 0 to 1 and, at the last step, beyond."""
        minutes = self.config.max_minutes
        return max(self.steps / self.config.steps, self.seconds / 60 / minutes if minutes else 0.0)

    def weights(self) -> Mapping[str, Tensor]:
        """By their published names."""
        return lora.merged(self.model) if self.config.lora else self.model.state_dict()

    def result(self) -> MambaLM:
        """The model that was trained, as any run would load it, but in fp32."""
        with torch.device("meta"):
            model = MambaLM(self.model.config)
        model.load_state_dict(self.weights(), assign=True)
        return model.eval().requires_grad_(False)

    def figures(self) -> dict[str, object]:
        """Recipe and course of the training, for the model's card."""
        total = sum(parameter.numel() for parameter in self.model.parameters())
        trained = sum(parameter.numel() for parameter in self.trainer.parameters.values())
        return {
            "recipe": self.config.model_dump(mode="json"),
            "parameters": total - trained if self.config.lora else total,
            "trained_parameters": trained,
            "steps": self.steps,
            "tokens": self.tokens,
            "minutes": round(self.seconds / 60, 1),
            "threads": self.config.threads,
            "train_text_loss": _rounded(self.text_loss),
            "train_answer_loss": _rounded(self.answer_loss),
        }

    def _step(self) -> None:
        started = time.monotonic()
        result = self.trainer.step(self._rate())
        self.steps += 1
        self.tokens += result.num_tokens
        self.seconds = self._agreed(self.seconds + time.monotonic() - started)
        self.text_loss = _smooth(self.text_loss, result.text_loss)
        self.answer_loss = _smooth(self.answer_loss, result.answer_loss)
        if self.steps % self.config.log_every == 0 and self.rank == 0:
            self._log()
        if self.steps % self.config.save_every == 0:
            self._save()

    def _rate(self) -> float:
        """Linear warm-up, then linear decay to a hundredth."""
        warm = min(1.0, (self.steps + 1) / max(1, self.config.warmup_steps))
        return warm * max(LEAST_RATE, 1 - self.share_done)

    def _agreed(self, seconds: float) -> float:
        """The first worker's clock: all must decay alike, and stop at the same step."""
        if not dist.is_initialized():
            return seconds
        clock = torch.tensor(seconds, dtype=torch.float64, device=self.model.lm_head.weight.device)
        dist.broadcast(clock, 0)
        return clock.item()

    def _log(self) -> None:
        left = self.seconds * (1 / self.share_done - 1)
        log.info(
            "training_step",
            step=self.steps,
            done=f"{self.share_done:.1%}",
            minutes_left=round(max(0.0, left) / 60, 1),
            tokens=self.tokens,
            tokens_per_second=round(self.tokens / self.seconds),
            text_loss=_rounded(self.text_loss),
            answer_loss=_rounded(self.answer_loss),
        )

    def _save(self) -> None:
        """Every worker what is its own, the first what all share; it counts once all of that is stored."""
        trainer = self.trainer
        places = torch.tensor([[stream.place.document, stream.place.offset] for stream in trainer.streams])
        states = {f"state/{name}": tensor for name, tensor in trainer.states.tensors.items()}
        own = {"places": places, **states, **_random_numbers(self.model.lm_head.weight.device)}
        self._saves.write_worker(self.steps, self.rank, own)
        if self.rank == 0:
            self._saves.write_weights(self.steps, {**trainer.parameters, **trainer.memory()})
        if dist.is_initialized():
            dist.barrier()
        if self.rank == 0:
            self._saves.publish(self._progress())

    def _progress(self) -> Progress:
        text, answer = (None if math.isnan(loss) else loss for loss in (self.text_loss, self.answer_loss))
        return Progress(self.steps, self.tokens, self.seconds, text, answer, self.config.workers, self._belongs_to)

    def _own_of_saved(self, saved: Progress) -> dict[str, Tensor]:
        """This worker's streams of a save, also where there were more or fewer workers, and its random numbers."""
        files = [self._saves.read_worker(saved.steps, rank) for rank in range(saved.num_workers)]
        rows = slice(self.rank * self.config.streams, (self.rank + 1) * self.config.streams)
        own = {"places": torch.cat([file["places"] for file in files])[rows]}
        for name in files[0]:
            if name.startswith("state/"):
                own[name] = torch.cat([file[name] for file in files], dim=1)[:, rows]
        mine = files[self.rank] if saved.num_workers == self.config.workers else {}
        return own | {name: tensor for name, tensor in mine.items() if name.startswith("random/")}

    def _resume(self, saved: Progress, own: Mapping[str, Tensor]) -> None:
        device = self.model.lm_head.weight.device
        tensors = self._saves.read_weights(saved.steps)
        with torch.no_grad():
            for name, parameter in self.trainer.parameters.items():
                parameter.copy_(tensors[name])
        self.trainer.remember(tensors)
        states = {name.removeprefix("state/"): tensor.to(device) for name, tensor in own.items() if "state/" in name}
        self.trainer.states = State(states)
        _set_random_numbers(own, device)
        self.steps, self.tokens, self.seconds = saved.steps, saved.tokens, saved.seconds
        self.text_loss, self.answer_loss = (
            math.nan if loss is None else loss for loss in (saved.text_loss, saved.answer_loss)
        )
        log.info("training_resumed", steps=self.steps, minutes=round(self.seconds / 60, 1))

    def _streams(self, corpus: Corpus, places: Tensor | None) -> list[Stream]:
        config, first = self.config, self.rank * self.config.streams
        at = [Place()] * config.streams if places is None else [Place(*place) for place in places.tolist()]
        return [
            Stream(partial(corpus.example, self.tokenizer, config.seed, first + row), config.segment_tokens, place)
            for row, place in enumerate(at)
        ]


def _belongs_to(config: TrainConfig, corpus: Corpus, origin: Origin) -> dict[str, object]:
    """What a training cannot resume with other values of, by the names that a person knows."""
    shown = config.model_dump(mode="json")
    return {
        **{name: shown[name] for name in ("seed", "lora")},
        **{f"data.{name}": shown["data"][name] for name in DATA_THAT_DECIDES},
        "model": origin.architecture.model_dump(mode="json", exclude={"ssm_cfg": {"dt_limit"}}),
        "workers times streams": config.workers * config.streams,
        "a checkpoint in start_from with the hash": origin.fingerprint,
        "a tokenizer with the hash": origin.tokenizer.fingerprint,
        "documents in data.directory with the hash": corpus.digest,
    }


def _model(config: TrainConfig, origin: Origin, device: torch.device) -> MambaLM:
    if device.type == "cuda":
        memory.require(config, origin.architecture, torch.cuda.mem_get_info(device)[0])
    model = origin.model(device)
    if config.lora:
        lora.attach(model, config.lora)
        model.to(device)
    if device.type == "cuda":
        scan_at_once(model)
    if config.precision == "bf16":
        multiply_in_bf16(model)
    if config.gradient_checkpointing:
        recompute_blocks(model)
    return model


def _recipe(config: TrainConfig) -> Recipe:
    return Recipe(config.learning_rate, config.weight_decay, config.text_weight, config.summary_weight)


def _random_numbers(device: torch.device) -> dict[str, Tensor]:
    found = {"random/cpu": torch.get_rng_state()}
    return found | ({"random/cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _set_random_numbers(saved: Mapping[str, Tensor], device: torch.device) -> None:
    if "random/cpu" in saved:
        torch.set_rng_state(saved["random/cpu"])
    if "random/cuda" in saved and device.type == "cuda":
        torch.cuda.set_rng_state(saved["random/cuda"], device)


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 3)


def _smooth(average: float, value: float) -> float:
    if math.isnan(average):
        return value
    return average if math.isnan(value) else 0.98 * average + 0.02 * value
