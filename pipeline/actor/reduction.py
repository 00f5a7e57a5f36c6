"""One answer from many: the model is asked about its answers to the windows of a document, as often as it takes."""

from collections.abc import Sequence
from dataclasses import replace

from configs.errors import TooLargeError
from configs.settings import PromptSettings
from models.engine.request import Answer, AnsweredSection, Prompt
from models.weights.tokenizer import Tokenizer
from pipeline.prompts.checks import AnswerCheck
from pipeline.prompts.joining import Part, grouped, joined


class Texts:
    """Answers as texts, and joined texts as tokens."""

    def __init__(self, prompts: Sequence[PromptSettings], tokenizer: Tokenizer) -> None:
        """`prompts` are those that a model answers about whole documents, in their order."""
        self._checks = [AnswerCheck(prompt, tokenizer.begins_thinking) for prompt in prompts]
        self._tokenizer = tokenizer

    def of(self, prompt: int, answer: Answer) -> str:
        """Without thoughts."""
        return self._checks[prompt].judge(self._tokenizer.decode(answer.tokens)).summary

    def tokens(self, parts: Sequence[Part]) -> tuple[int, ...]:
        """As a document begins."""
        return (*self._tokenizer.begin, *self._tokenizer.encode(joined(parts)))


class Reduction:
    """Of one document, for all of its prompts."""

    def __init__(
        self, texts: Texts, prompts: Sequence[Prompt], windows: Sequence[AnsweredSection], most_tokens: int
    ) -> None:
        """`most_tokens` are as many as fit beside any of the prompts and its answer."""
        self._texts, self._prompts, self._most = texts, prompts, most_tokens
        starts = [0, *(window.end for window in windows)]
        self._parts = [
            [
                Part(start, window.end, texts.of(prompt, window.answers[prompt]))
                for start, window in zip(starts, windows, strict=False)
            ]
            for prompt in range(len(prompts))
        ]
        """By prompt, what is left to be joined."""
        self._groups: list[tuple[int, list[Part]]] = []
        """What was asked about last: each a prompt and parts that one answer takes the place of."""
        self._last: dict[int, Answer] = {}
        self._decoded = [0] * len(prompts)

    def answers(self) -> tuple[Answer, ...] | None:
        """One for each prompt, once there is no more than one, with all tokens that were decoded for it since the
        windows."""
        if any(len(parts) > 1 for parts in self._parts):
            return None
        return tuple(
            replace(self._last[prompt], tokens_decoded=self._decoded[prompt]) for prompt in range(len(self._prompts))
        )

    def prompts(self) -> tuple[Prompt, ...]:
        """What to ask next, of an empty state. Raises TooLargeError where two answers are too many to be read."""
        self._groups = [
            (prompt, group)
            for prompt, parts in enumerate(self._parts)
            if len(parts) > 1
            for group in self._grouped(parts)
        ]
        return tuple(
            replace(self._prompts[prompt], tokens=self._texts.tokens(group) + self._prompts[prompt].tokens)
            for prompt, group in self._groups
            if len(group) > 1
        )

    def keep(self, answers: Sequence[Answer]) -> None:
        """In the order of what was asked."""
        left = iter(answers)
        for prompt in {prompt for prompt, _ in self._groups}:
            self._parts[prompt] = []
        for prompt, group in self._groups:
            if len(group) > 1:
                self._last[prompt] = answer = next(left)
                self._decoded[prompt] += answer.tokens_decoded
                group = [Part(group[0].start, group[-1].end, self._texts.of(prompt, answer))]
            self._parts[prompt] += group

    def _grouped(self, parts: Sequence[Part]) -> list[list[Part]]:
        """Neighbors that fit together."""
        groups = grouped(parts, lambda group: len(self._texts.tokens(group)) <= self._most)
        if len(groups) == len(parts):
            raise TooLargeError(
                f"Answers about windows of the document cannot be summarized: no two of them fit into the {self._most} "
                "tokens that the model reads beside prompt and answer. Ask for shorter ones (max_tokens), or set "
                "long_documents=windows."
            )
        return groups
