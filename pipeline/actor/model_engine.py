"""The engine of an actor that asks a model."""

import platform
from pathlib import Path

from configs.errors import ModelError
from models.backends import loading
from models.engine.engine import Engine
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.actor.assignment import Assignment


def load(assignment: Assignment) -> tuple[Engine, Tokenizer]:
    """The engine, warmed up, and the tokenizer of its documents. Raises ModelError."""
    directory = _model_in(assignment)
    tokenizer = Tokenizer.of_run(assignment.config.model)
    engine = loading.of_run(assignment.config, directory, tokenizer, assignment.device, assignment.dtype)
    return engine, tokenizer


def _model_in(assignment: Assignment) -> Path:
    """The model's directory. Raises ModelError where it holds other weights than those of the run."""
    directory = checkpoint.resolve(assignment.config.model.uri)
    if checkpoint.fingerprint(directory) != assignment.model_revision:
        raise ModelError(f"{directory} on {platform.node()} holds other weights than the run was planned with")
    return directory
