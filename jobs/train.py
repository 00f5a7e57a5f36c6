"""`python -m jobs.train CONFIG.yaml`: trains a Mamba, from scratch or from a checkpoint, to summarize documents."""

from configs.loader import load
from configs.training import TrainConfig
from jobs import command
from pipeline.telemetry import logs
from pipeline.training import work


def train(config_path: command.ConfigPath, overrides: command.Overrides = None) -> None:
    """Train a small Mamba-3 from scratch, or a checkpoint further, with state carried from segment to segment.

    Run the same command again to resume an interrupted training.
    """
    config = load(TrainConfig, config_path, overrides or [])
    logs.configure()
    if config.workers == 1:
        work.train(config)
        return
    # Here, since Ray takes seconds to import.
    from pipeline.training import workers

    workers.train(config)


if __name__ == "__main__":
    command.run(train, TrainConfig)
