"""What is in the slots of an engine: documents being read and asked about, and answers being decoded."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models.engine.request import WHOLE, Answer, AnsweredSection, Finished, Prompt, ReadState, Request
from models.engine.sampling import Sampler, Sampling


@dataclass(eq=False)
class ActiveDocument:
    """A document in its slot, from its first token to its last answer."""

    request: Request
    slot: int
    tokens_read: int = 0
    is_read: bool = False
    so_far: bool = False
    """Asked about before its end."""
    tries: deque["AnswerTry"] = field(default_factory=deque)
    """Answers that wait for a slot."""
    ends: list[int] = field(default_factory=list)
    """Tokens read at the end of each section so far."""
    answers: dict[tuple[int, int], Answer] = field(default_factory=dict)
    """By section, `WHOLE` for the whole document, and prompt."""
    kept: ReadState | None = None
    """At the last cut of the document; its answers are added in the end."""

    @staticmethod
    def of(request: Request, slot: int) -> "ActiveDocument":
        start = request.start
        if start is None:
            return ActiveDocument(request, slot)
        return ActiveDocument(
            request, slot, start.tokens_read, ends=list(start.section_ends), answers=dict(start.answers)
        )

    def prompts(self, section: int) -> tuple[Prompt, ...]:
        return self.request.prompts if section == WHOLE else self.request.section_prompts

    def ask(self, section: int) -> None:
        """All prompts that an earlier reading has not had answered."""
        for index, prompt in enumerate(self.prompts(section)):
            if (section, index) not in self.answers:
                self.tries.append(AnswerTry.of(self, section, index, prompt.sampling))

    def end_section(self) -> None:
        self.ends.append(self.tokens_read)
        self.ask(len(self.ends) - 1)

    def finished(self) -> Finished | None:
        if not self.is_read or len(self.answers) < sum(len(self.prompts(each)) for each in self._sections()):
            return None
        whole, *sections = (
            tuple(self.answers[section, index] for index in range(len(self.prompts(section))))
            for section in self._sections()
        )
        ended = tuple(AnsweredSection(end, answers) for end, answers in zip(self.ends, sections, strict=True))
        kept = self.kept and replace(self.kept, answers=self._answers_of_sections(self.kept.section_ends))
        return Finished(self.request.id, self.tokens_read, whole, ended, self.so_far, kept)

    def _answers_of_sections(self, ends: Sequence[int]) -> dict[tuple[int, int], Answer]:
        return {place: answer for place, answer in self.answers.items() if WHOLE < place[0] < len(ends)}

    def _sections(self) -> range:
        return range(WHOLE, len(self.ends))


@dataclass(eq=False)
class AnswerTry:
    """One answer to one prompt, waiting or in a slot."""

    document: ActiveDocument
    section: int
    prompt: int
    sampling: Sampling
    pending: np.ndarray
    """Tokens of the prompt still to be read."""
    sampler: Sampler
    first: Answer | None = None
    """The try before this one, which would not do."""
    slot: int = -1
    output: list[int] = field(default_factory=list)

    @staticmethod
    def of(
        document: ActiveDocument, section: int, prompt: int, sampling: Sampling, first: Answer | None = None
    ) -> "AnswerTry":
        tokens = np.array(document.prompts(section)[prompt].tokens)
        return AnswerTry(document, section, prompt, sampling, tokens, Sampler(sampling), first)
