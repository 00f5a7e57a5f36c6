"""What an actor does first: it finds out what its device costs, and loads the model into an engine."""

import platform
from pathlib import Path

import torch

from configs.errors import ModelError
from models.backends import engines
from models.engine.summarizer import Summarizer
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.actor.assignment import Assignment
from pipeline.actor.extract_engine import ExtractEngine
from pipeline.billing.metering import Rate
from pipeline.billing.rates import Labels
from pipeline.documents.extracts import ExtractPrompts


def rate_of(assignment: Assignment, node_labels: Labels) -> Rate:
    """The rate of the device that this actor has. Raises ModelError where torch sees none, ConfigError where it has
    no price."""
    if assignment.device == "cpu":
        return assignment.rates.of_cpu(node_labels)
    if not torch.cuda.is_available():
        raise ModelError(f"torch {torch.__version__} sees no GPU on {platform.node()}: install its CUDA build there")
    return assignment.rates.of_gpu(torch.cuda.get_device_name(), node_labels)


def _model_in(assignment: Assignment) -> Path:
    """The model's directory. Raises ModelError where it holds other weights than those of the run."""
    directory = checkpoint.resolve(assignment.config.model.uri)
    if checkpoint.fingerprint(directory) != assignment.model_revision:
        raise ModelError(f"{directory} on {platform.node()} holds other weights than the run was planned with")
    return directory


def engine_of(assignment: Assignment) -> tuple[Summarizer, Tokenizer]:
    """What reads and answers, ready to, and the tokenizer of its documents. Raises ModelError."""
    config = assignment.config
    if config.is_extract_only:
        tokenizer = Tokenizer.shipped()
        prompts = ExtractPrompts.of(config.prompts, config.sections)
        engine = config.engine
        return ExtractEngine(prompts, tokenizer, engine.slots_on("cpu"), engine.step_tokens_on("cpu")), tokenizer
    directory = _model_in(assignment)
    tokenizer = Tokenizer.find(config.model.tokenizer, config.model.uri)
    return _engine_with_model(assignment, directory, tokenizer), tokenizer


def _engine_with_model(assignment: Assignment, directory: Path, tokenizer: Tokenizer) -> Summarizer:
    """Warmed up."""
    settings = assignment.config.engine
    if assignment.device == "cpu":
        torch.set_num_threads(settings.cpus_per_actor)
    preamble: list[int] = []
    if assignment.config.preamble is not None:
        preamble = [tokenizer.begin_id, *tokenizer.encode(assignment.config.preamble)]
    engine = engines.load(
        directory,
        assignment.dtype,
        assignment.device,
        tokenizer.end_id,
        settings.slots_on(assignment.device),
        settings.step_tokens_on(assignment.device),
        preamble,
    )
    engine.warm_up()
    return engine
