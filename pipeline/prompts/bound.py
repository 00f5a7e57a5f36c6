"""A prompt of the settings as the engine takes it, the same for a run and for a later question."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from configs.settings import PromptSettings, SectionSettings, answers_of
from models.engine.request import Check, Prompt, Sampling
from models.weights.tokenizer import Tokenizer
from pipeline.prompts import template
from pipeline.prompts.checks import AnswerCheck


@dataclass(frozen=True)
class BoundPrompt:
    """A prompt as token ids that follow a document, with the check of its answers."""

    settings: PromptSettings
    question: tuple[int, ...]
    check: Check

    @staticmethod
    def of(settings: PromptSettings, tokenizer: Tokenizer) -> "BoundPrompt":
        """Tokenizes the instruction and prepares the check of its answers."""
        check = AnswerCheck(settings, tokenizer.begins_thinking)
        question = _question(settings, tokenizer)
        return BoundPrompt(settings, tuple(question), lambda tokens: check.judge(tokenizer.decode(tokens)).reason)

    def prompt(self, document_id: str) -> Prompt:
        """The prompt for one document, with the document's own seed."""
        return Prompt(self.question, _sampling(self.settings, document_id), self.check)


def _question(prompt: PromptSettings, tokenizer: Tokenizer) -> list[int]:
    if tokenizer.chat is None:
        return tokenizer.encode(template.render(prompt.instruction, prompt.json_schema))
    return tokenizer.encode_pieces(tokenizer.chat.after(template.question(prompt.instruction, prompt.json_schema)))


def _sampling(prompt: PromptSettings, document_id: str) -> Sampling:
    """Each document and prompt has its own stream of random numbers, whatever else is in the batch."""
    digest = sha256(f"{prompt.seed}/{prompt.name}/{document_id}".encode()).digest()
    return Sampling(prompt.max_tokens, prompt.temperature, prompt.top_p, int.from_bytes(digest[:8]))


class BoundPrompts:
    """All that is asked of a model about every document of a run."""

    def __init__(
        self, prompts: Sequence[PromptSettings], sections: SectionSettings | None, tokenizer: Tokenizer
    ) -> None:
        asked_of_sections = answers_of(sections.prompts) if sections else ()
        self._whole = [BoundPrompt.of(each, tokenizer) for each in answers_of(tuple(prompts))]
        self._of_sections = [BoundPrompt.of(each, tokenizer) for each in asked_of_sections]

    def of(self, document_id: str) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
        """About a document as a whole, and about each of its sections."""
        whole, of_sections = (
            tuple(each.prompt(document_id) for each in asked) for asked in (self._whole, self._of_sections)
        )
        return whole, of_sections
