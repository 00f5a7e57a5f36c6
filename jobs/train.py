"""`python -m jobs.train CONFIG.yaml`: trains a Mamba, from scratch or from a checkpoint, to summarize documents."""

import structlog

from configs.loader import load
from configs.training import TrainConfig
from jobs import command
from pipeline.cluster import submission
from pipeline.telemetry import logs
from pipeline.training import result, work
from pipeline.training.saves import Saves

log = structlog.get_logger()


def train(config_path: command.ConfigPath, overrides: command.Overrides = None) -> None:
    """Train a small Mamba-3 from scratch, or a checkpoint further, with state carried from segment to segment.

    Run the same command again to resume an interrupted training. After a finished one, it does nothing.
    """
    config = load(TrainConfig, config_path, overrides or [])
    logs.configure()
    submission.refuse_relative("output", config.output)
    if result.is_there(config):
        log.info("training_is_done", output=config.output)
        Saves(config.output).remove()
        return
    if config.workers == 1:
        work.train(config)
        return
    # Here, since Ray takes seconds to import.
    from pipeline.training import workers

    workers.train(config)


if __name__ == "__main__":
    command.run(train, TrainConfig)
