"""The engine of an actor that asks a model."""

import platform
from pathlib import Path

from configs.errors import ModelError
from configs.settings import SummarizeConfig, answers_of
from models.backends import loading
from models.engine.engine import Engine
from models.engine.summarizer import Summarizer
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.actor.assignment import Assignment
from pipeline.actor.reduction import Texts
from pipeline.actor.windows import Windows


def load(assignment: Assignment) -> tuple[Summarizer, Tokenizer]:
    """The engine, warmed up, and the tokenizer of its documents. Raises ModelError."""
    directory = _model_in(assignment)
    tokenizer = Tokenizer.of_run(assignment.config.model)
    engine = loading.of_run(assignment.config, directory, tokenizer, assignment.device, assignment.dtype)
    return in_windows(engine, assignment.config, tokenizer), tokenizer


def in_windows(engine: Engine, config: SummarizeConfig, tokenizer: Tokenizer) -> Summarizer:
    """The engine as the settings want long documents to be read."""
    if config.long_documents == "fail":
        return engine
    texts = Texts(answers_of(config.prompts), tokenizer)
    return Windows(engine, texts, reduces=config.long_documents == "map_reduce")


def _model_in(assignment: Assignment) -> Path:
    """The model's directory. Raises ModelError where it holds other weights than those of the run."""
    directory = checkpoint.resolve(assignment.config.model.uri)
    if checkpoint.fingerprint(directory) != assignment.model_revision:
        raise ModelError(f"{directory} on {platform.node()} holds other weights than the run was planned with")
    return directory
