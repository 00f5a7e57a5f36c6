"""What sequences may come to, where a model's memory grows with them or its context ends somewhere."""

from collections.abc import Iterable

from configs.errors import TooLargeError
from models.engine.request import Request


class Room:
    """Counts in tokens; what they take in bytes is the backend's business. All is 0 where there is no limit."""

    def __init__(self, max_context: int | None, preamble_tokens: int) -> None:
        self._max_context, self._preamble = max_context, preamble_tokens

    def of_document(self, request: Request) -> int:
        """Tokens that its sequence may come to: all that it has, or all that the context holds while some of them are
        still on their way. Raises TooLargeError, and what its feed raises."""
        if self._max_context is None:
            return 0
        feed = request.feed
        # In this order: what comes in between is not the end.
        ended, known = feed.ended, self._preamble + feed.ready + (request.start.tokens_read if request.start else 0)
        self.check(request, known - self._preamble)
        return known if ended else self._max_context - self.of_answer(request)

    def of_answer(self, request: Request) -> int:
        """Tokens of its longest prompt and answer."""
        if self._max_context is None:
            return 0
        prompts = (*request.prompts, *request.section_prompts)
        return max(len(prompt.tokens) + prompt.sampling.max_tokens for prompt in prompts)

    def reserve(self, requests: Iterable[Request]) -> int:
        """Tokens that must be left beside all documents, so that any of them can be answered."""
        return max(map(self.of_answer, requests), default=0)

    def check(self, request: Request, tokens: int) -> None:
        """Raises TooLargeError where so many tokens of a document, and an answer, are more than the context holds."""
        if self._max_context is None:
            return
        most = self._max_context - self._preamble - self.of_answer(request)
        if tokens > most:
            raise TooLargeError(
                f"The document is longer than the model's context: beside its prompts and answers there is room for "
                f"{max(most, 0)} tokens."
            )
