"""What an actor does first: it finds out what its device costs, and loads the model into an engine."""

from models.engine.summarizer import Summarizer
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
    from models.backends import device  # it brings torch, which extracts do without

    return assignment.rates.of_gpu(device.gpu_name(), node_labels)


def engine_of(assignment: Assignment) -> tuple[Summarizer, Tokenizer]:
    """What reads and answers, ready to, and the tokenizer of its documents. Raises ModelError."""
    config = assignment.config
    if config.is_extract_only:
        tokenizer = Tokenizer.shipped()
        prompts = ExtractPrompts.of(config.prompts, config.sections)
        engine = config.engine
        return ExtractEngine(prompts, tokenizer, engine.slots_on("cpu"), engine.step_tokens_on("cpu")), tokenizer
    from pipeline.actor import model_engine

    return model_engine.load(assignment)
