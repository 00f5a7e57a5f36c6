"""A prompt of the settings as the engine takes it, the same for a run and for a later question."""

from dataclasses import dataclass
from hashlib import sha256

from configs.settings import PromptSettings
from models.engine.request import Check, Prompt
from models.engine.sampling import Sampling
from models.weights.tokenizer import Tokenizer
from pipeline.prompts import template
from pipeline.prompts.checks import AnswerCheck


@dataclass(frozen=True)
class BoundPrompt:
    """What is read after a document, and what judges the answer."""

    settings: PromptSettings
    question: tuple[int, ...]
    check: Check

    @staticmethod
    def of(settings: PromptSettings, tokenizer: Tokenizer) -> "BoundPrompt":
        """Tokenizes the instruction and prepares the check of its answers."""
        question = tokenizer.encode(template.render(settings.instruction, settings.json_schema))
        check = AnswerCheck(settings)
        return BoundPrompt(settings, tuple(question), lambda tokens: check.judge(tokenizer.decode(tokens)).reason)

    def prompt(self, document_id: str) -> Prompt:
        """Asked of one document."""
        return Prompt(self.question, _sampling(self.settings, document_id), self.check)


def _sampling(prompt: PromptSettings, document_id: str) -> Sampling:
    """Each document and prompt draws from its own stream, whatever else is in the batch."""
    digest = sha256(f"{prompt.seed}/{prompt.name}/{document_id}".encode()).digest()
    return Sampling(prompt.max_tokens, prompt.temperature, prompt.top_p, int.from_bytes(digest[:8]))
