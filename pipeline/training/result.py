"""What a training leaves in its output: a model directory that any run loads, the adapter by itself, figures."""

import json
import tempfile
from pathlib import Path

from configs.training import TrainConfig
from models.mamba import lora
from models.weights import checkpoint
from pipeline.storage import objects
from pipeline.training.session import Training

ADAPTER, FIGURES = "adapter", "training.json"


def is_there(config: TrainConfig) -> bool:
    """Whether the output holds the result of a training with these very settings. Raises ConfigError where the output
    is a file."""
    objects.refuse_file("output", config.output)
    try:
        stored = json.loads(objects.read_bytes(objects.join(config.output, FIGURES)))
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(stored, dict) and stored.get("recipe") == config.model_dump(mode="json")


def write(training: Training, figures: dict[str, object]) -> None:
    """Each file whole or not at all, the figures, which tell that all is there, last. Raises StorageError."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        checkpoint.save_weights(training.model.config, training.weights(), directory)
        training.tokenizer.save(directory)
        (directory / FIGURES).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        if training.config.lora:
            (directory / ADAPTER).mkdir()
            lora.save_adapter(training.model, directory / ADAPTER)
        files = [path for path in directory.rglob("*") if path.is_file()]
        for path in sorted(files, key=lambda path: path.name == FIGURES):
            name = path.relative_to(directory).as_posix()
            objects.publish(objects.join(training.config.output, name), path.read_bytes())
