"""What a run that asks for extracts alone reads with: no model, and nothing that a GPU could do."""

import time
from dataclasses import dataclass, field
from pydoc_data.topics import topics

from configs.settings import SummarizeConfig
from models.weights.tokenizer import Tokenizer
from pipeline.documents.extracts import ExtractPrompts, Extracts
from pipeline.planning.speed import Speed
from pipeline.sentences import weights

TIMED_CHARACTERS = 400_000


@dataclass(frozen=True)
class Extracting:
    """A `pipeline.planning.quote.Reads`."""

    revision: str = field(default_factory=weights.fingerprint)
    tokenizer: Tokenizer = field(default_factory=Tokenizer.shipped)
    footprint: None = None

    def longest(self, config: SummarizeConfig, device: str) -> None:
        """Any length will do."""

    def timed_speed(self, config: SummarizeConfig, tokens_before: float = 0.0) -> Speed:
        """Measured on a text that every Python brings."""
        text = "\n".join(topics.values())[:TIMED_CHARACTERS]
        tokens = self.tokenizer.encode(text)
        started = time.perf_counter()
        extracts = Extracts(ExtractPrompts.of(config.prompts, config.sections))
        extracts.feed(self.tokenizer.bytes_of(tokens).decode())
        extracts.rows()
        seconds = (time.perf_counter() - started) / len(tokens)
        return Speed(seconds, 0.0, 0.0, "timed on this machine just now")
