"""Several workers that train one model, through Ray Train. A worker that is lost is replaced, from the last save."""

import os
import tempfile
from pathlib import Path
from typing import Any

from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device
from ray.train.v2.api.exceptions import WorkerGroupError

from configs.errors import ConfigError, LonghaulError
from configs.loader import AnySettings
from configs.training import TrainConfig
from models.weights.tokenizer import Tokenizer
from pipeline.cluster import connection
from pipeline.storage import objects
from pipeline.telemetry import logs
from pipeline.training import work

REPLACED_TIMES = 5
"""How often lost workers are replaced before the training ends; the same command resumes it even then."""


def train(config: TrainConfig) -> None:
    """`work.train` on `config.workers` workers. Raises the same."""
    tokenizer = work.prepare(config).origin.tokenizer
    # Else each line of a worker's log comes twice.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    with (
        connection.joined(config.ray_address, config.workers * config.threads, watched=True) as can_grow,
        tempfile.TemporaryDirectory() as scratch,
    ):
        trainer = TorchTrainer(
            _work,
            train_loop_config={"config": _from_anywhere(config), "tokenizer": tokenizer.serialized},
            scaling_config=_scaling(config, connection.resources().get("GPU", 0.0), can_grow),
            # Saves are ours and in the output: what Ray keeps of a run is nobody's after it.
            run_config=RunConfig(storage_path=scratch, failure_config=FailureConfig(max_failures=REPLACED_TIMES)),
        )
        try:
            trainer.fit()
        except WorkerGroupError as error:
            for failure in error.worker_failures.values():
                if isinstance(failure, LonghaulError):
                    raise failure from error
            raise


def _scaling(config: TrainConfig, num_gpus: float, can_grow: bool) -> ScalingConfig:
    """Raises ConfigError where Ray would wait for GPUs without end."""
    on_gpu = config.device == "cuda" or (config.device == "auto" and num_gpus > 0)
    if on_gpu and num_gpus < config.workers and not can_grow:
        raise ConfigError(
            f"workers = {config.workers}: each takes a GPU, and this machine has {num_gpus:.0f}; set workers to that, "
            "or device=cpu"
        )
    resources = {"CPU": float(config.threads), **({"GPU": 1.0} if on_gpu else {})}
    return ScalingConfig(num_workers=config.workers, use_gpu=on_gpu, resources_per_worker=resources)


def _from_anywhere(config: TrainConfig) -> TrainConfig:
    """The settings as workers get them, who are in another working directory: with absolute paths."""
    data = _resolved(config.data, "directory", "long_document")
    named = [name for name in ("start_from", "tokenizer") if (uri := getattr(config, name)) and _is_folder(uri)]
    return _resolved(config.model_copy(update={"data": data}), "output", *named)


def _resolved(settings: AnySettings, *names: str) -> AnySettings:
    given = {name: getattr(settings, name) for name in names}
    return settings.model_copy(update={name: uri and objects.resolve(uri) for name, uri in given.items()})


def _is_folder(uri: str) -> bool:
    return Path(uri).expanduser().is_dir()


def _work(given: dict[str, Any]) -> None:
    """What each worker runs, in a process group of all of them."""
    logs.configure()
    config: TrainConfig = given["config"]
    prepared = work.prepare(config, Tokenizer.read(given["tokenizer"], "tokenizer"))
    work.work(config, prepared, get_device())
