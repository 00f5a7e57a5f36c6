"""What is in the slots of an engine: documents being read and asked about, and answers being decoded."""

import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from torch import Tensor

from models.engine.backend import Handle, SavedState
from models.engine.request import WHOLE, Answer, AnsweredSection, Finished, Prompt, ReadState, Request, Sampling
from models.engine.sampling import Sampler, loop_start

RETRY_TEMPERATURE = 0.7


@dataclass(eq=False)
class ActiveDocument:
    """A document in a slot, from its first token to its last answer."""

    request: Request
    handle: Handle
    """Of its sequence, unless it is parked."""
    granted: int = 0
    """Tokens that its sequence may come to."""
    parked: SavedState | None = None
    """Its sequence, while there is no room for it in the backend's memory."""
    tokens_read: int = 0
    is_read: bool = False
    read_at: float | None = None
    """Seconds since 1970."""
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
    def of(request: Request, handle: Handle, granted: int) -> "ActiveDocument":
        """A request in a slot, resumed from its `start` if it has one."""
        start = request.start
        if start is None:
            return ActiveDocument(request, handle, granted)
        ends, answers = list(start.section_ends), dict(start.answers)
        return ActiveDocument(request, handle, granted, tokens_read=start.tokens_read, ends=ends, answers=answers)

    def prompts(self, section: int) -> tuple[Prompt, ...]:
        """The prompts of a section, `WHOLE` for the whole document."""
        return self.request.prompts if section == WHOLE else self.request.section_prompts

    def ask(self, section: int) -> None:
        """All prompts that an earlier reading has not had answered."""
        for index, prompt in enumerate(self.prompts(section)):
            if (section, index) not in self.answers:
                self.tries.append(AnswerTry.of(self, section, index, prompt.sampling))

    def stops(self) -> list[int]:
        """Tokens up to where it must be stopped at: a section's end, and the last cut, where its state is kept; 0 where
        it stands at that cut."""
        feed = self.request.feed
        section_end = feed.section_end if self.request.section_prompts else None
        last_cut = feed.last_cut if self.request.keep_state else None
        return [stop for stop in (section_end, last_cut) if stop is not None]

    def end_section(self) -> None:
        """A section ends after the tokens read so far; ask its prompts."""
        self.ends.append(self.tokens_read)
        self.ask(len(self.ends) - 1)

    def end(self) -> None:
        """It has been read to its last token."""
        self.is_read, self.read_at = True, time.time()
        self.request.feed.close()
        # The last section ends here, where the feed could not know it before.
        if self.request.section_prompts and self.ends[-1:] != [self.tokens_read]:
            self.end_section()
        self.ask(WHOLE)

    def conclude(self) -> None:
        """Read no more of it, and ask about what has been read."""
        self.is_read = self.so_far = True
        self.read_at = time.time()
        self.request.feed.close()
        self.ask(WHOLE)

    def keep(self, answer: Answer, of: "AnswerTry") -> None:
        """What a try gave; where it will not do, ask once more from the same state."""
        is_accepted = answer.finish_reason in ("stop", "length")
        if not is_accepted and of.first is None:
            self.tries.append(of.again(answer))
            return
        if of.first is not None:
            # Of two that will not do, the first is the likelier text.
            decoded = of.first.tokens_decoded + answer.tokens_decoded
            answer = replace(answer if is_accepted else of.first, tokens_decoded=decoded, retries=1)
        self.answers[of.section, of.prompt] = answer

    def finished(self) -> Finished | None:
        """Itself with all its answers; None where one is missing."""
        if not self.is_read or len(self.answers) < sum(len(self.prompts(each)) for each in self._sections()):
            return None
        whole, *sections = (
            tuple(self.answers[section, index] for index in range(len(self.prompts(section))))
            for section in self._sections()
        )
        ended = tuple(AnsweredSection(end, answers) for end, answers in zip(self.ends, sections, strict=True))
        kept = self.kept and replace(self.kept, answers=self._answers_of_sections(self.kept.section_ends))
        return Finished(self.request.id, self.tokens_read, whole, ended, self.so_far, kept, read_at=self.read_at)

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
    handle: Handle | None = None
    """Of its sequence, while it is in a slot."""
    output: list[int] = field(default_factory=list)
    """As far as the host knows it."""
    newest: Tensor | None = None
    """(1,) int64 on the device: the token that was chosen last, which the output may not have yet."""
    num_chosen: int = 0
    """Of the output and of passes under way."""

    @staticmethod
    def of(
        document: ActiveDocument, section: int, prompt: int, sampling: Sampling, first: Answer | None = None
    ) -> "AnswerTry":
        """A try at a prompt of a document, the first unless `first` was rejected."""
        tokens = np.array(document.prompts(section)[prompt].tokens)
        return AnswerTry(document, section, prompt, sampling, tokens, Sampler(sampling), first)

    def again(self, answer: Answer) -> "AnswerTry":
        """A second try, after an answer that will not do."""
        temperature = max(self.sampling.temperature, RETRY_TEMPERATURE)
        sampling = replace(self.sampling, temperature=temperature, seed=self.sampling.seed ^ 1)
        return AnswerTry.of(self.document, self.section, self.prompt, sampling, first=answer)

    @property
    def may_go_on(self) -> bool:
        """Whether a token may follow those chosen so far, for all that the host knows."""
        return not len(self.pending) and self.num_chosen < self.sampling.max_tokens

    def has_chosen(self, token: Tensor) -> None:
        """A pass that was asked for chooses this token (1,)."""
        self.newest, self.num_chosen = token, self.num_chosen + 1

    def ended(self, end_ids: Collection[int]) -> Answer | None:
        """The answer, if the last token of the output was its last. Raises what the prompt's check raises."""
        output, count = self.output, len(self.output)
        if output[-1] in end_ids:
            answer = Answer(tuple(output[:-1]), "stop", count)
        elif (cut := loop_start(output)) is not None:
            return Answer(tuple(output[:cut]), "loop", count)
        elif count >= self.sampling.max_tokens:
            answer = Answer(tuple(output), "length", count)
        else:
            return None
        check = self.document.prompts(self.section)[self.prompt].check
        reason = check(answer.tokens) if check is not None else None
        return answer if reason is None else replace(answer, finish_reason=reason)
