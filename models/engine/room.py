"""What sequences may come to, where a model's memory grows with them or its context ends somewhere."""

from collections.abc import Iterable, Sequence

from configs.errors import TooLargeError
from models.engine.backend import tokens_held
from models.engine.request import Prompt, Request

GROWTH = 4
"""A document that turns out longer than expected gets room for a quarter more."""


class Room:
    """Counts in tokens of sequences, of which a document's begins with the preamble; what they take in bytes is the
    backend's business. All is 0 where there is no limit."""

    def __init__(self, max_context: int | None, preamble_tokens: int, step_tokens: int) -> None:
        self._max_context, self._preamble, self._step = max_context, preamble_tokens, step_tokens

    def of_document(self, request: Request) -> int:
        """Tokens to begin with: all that it has, or what is expected of one that is still on its way. Raises
        TooLargeError, and what its feed raises."""
        if self._max_context is None:
            return 0
        feed = request.feed
        # In this order: what comes in between is not the end.
        ended, ready = feed.ended, feed.ready
        read = request.start.tokens_read if request.start else 0
        self.check(request, read + ready)
        if ended:
            return self.at(request, read + ready)
        expected = max(request.expected_tokens, read + ready + self._step)
        return min(self.at(request, expected), self._max_context - self.of_answer(request))

    def of_answer(self, request: Request) -> int:
        """Tokens of its longest prompt and answer."""
        if self._max_context is None:
            return 0
        return _most((*request.prompts, *request.section_prompts))

    def reserve(self, requests: Iterable[Request]) -> int:
        """Tokens that must be left beside all documents, so that any of them can be answered."""
        return max(map(self.of_answer, requests), default=0)

    def at(self, request: Request, tokens: int) -> int:
        """Tokens of its sequence after so many of the document."""
        return 0 if self._max_context is None else self._before(request) + tokens

    def growth(self, request: Request, granted: int, missing: int) -> int:
        """Tokens to add where some are missing: generously, up to where the context ends."""
        assert self._max_context is not None, "nothing is missing where there is no limit"
        most = self._max_context - self.of_answer(request) - granted
        return max(missing, min(granted // GROWTH, most))

    def to_resume(self, request: Request, granted: int) -> int:
        """Tokens that must be free for a parked document to go on, so that it is not parked again at once."""
        soon = granted + max(self.of_answer(request), self._step)
        return soon if self._max_context is None else min(soon, self._max_context)

    def check(self, request: Request, tokens: int) -> None:
        """Raises TooLargeError where so many tokens of a document, and an answer, are more than the context holds."""
        if self._max_context is None:
            return
        before, answer = self._before(request), self.of_answer(request)
        most = self._max_context - before - answer
        if tokens > most:
            raise TooLargeError(
                f"The document has at least {tokens} tokens, and there is room for {max(most, 0)} tokens: of the "
                f"{self._max_context} that the model's context, or memory beside its weights, holds, {before} stand "
                f"before the document and {answer} are for its longest prompt and answer."
            )

    def longest(self, prompts: Sequence[Prompt]) -> int | None:
        """Tokens that a document may have beside the preamble and the longest of these prompts with its answer; None
        where there is no limit."""
        return None if self._max_context is None else self._max_context - self._preamble - _most(prompts)

    def _before(self, request: Request) -> int:
        """Tokens of its sequence before the document's own."""
        held = tokens_held(request.start.state) if request.start else None
        return self._preamble if request.start is None or held is None else held - request.start.tokens_read


def _most(prompts: Sequence[Prompt]) -> int:
    return max((len(prompt.tokens) + prompt.sampling.max_tokens for prompt in prompts), default=0)
