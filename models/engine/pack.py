"""The work of one pass, and whose it is."""

from collections.abc import Hashable

import numpy as np

from models.engine.backend import Handle, Work
from models.engine.slots import ActiveDocument, AnswerTry


class Pack:
    """Prompts, then documents, then answers being decoded, with the tokens that the pass takes of each."""

    def __init__(self) -> None:
        self.work: list[Work] = []
        self.shares: dict[Hashable, int] = {}
        """Tokens of each document, its prompts and answers included."""
        self.answering: list[AnswerTry] = []
        """Whose next tokens the pass gives, in the order of its logits."""
        self._read: list[tuple[ActiveDocument, int, bool]] = []
        """Documents with their tokens, and whether a section ends with those."""

    @property
    def reading(self) -> list[ActiveDocument]:
        return [document for document, _, _ in self._read]

    @property
    def document_tokens(self) -> int:
        return sum(size for _, size, _ in self._read)

    def add_prompt(self, each: AnswerTry, size: int) -> None:
        """Read the next `size` tokens of a prompt; with its last token the answer begins."""
        tokens, each.pending = each.pending[:size], each.pending[size:]
        is_last = not len(each.pending)
        self._add(each.document, each.handle, tokens, wants_logits=is_last)
        if is_last:
            self.answering.append(each)

    def add_document(self, document: ActiveDocument, size: int) -> None:
        """Read the next `size` tokens of a document, at most up to where it must stop."""
        feed = document.request.feed
        ends_section = bool(document.request.section_prompts) and feed.section_end == size
        self._add(document, document.handle, feed.take(size))
        self._read.append((document, size, ends_section))

    def add_answer(self, each: AnswerTry) -> None:
        """Decode the next token of an answer."""
        self._add(each.document, each.handle, np.array(each.output[-1:]), wants_logits=True, is_decode=True)
        self.answering.append(each)

    def has_run(self) -> None:
        """Tell the documents how far they have been read."""
        for document, size, ends_section in self._read:
            document.tokens_read += size
            if ends_section:
                document.end_section()

    def _add(
        self,
        document: ActiveDocument,
        handle: Handle | None,
        tokens: np.ndarray,
        wants_logits: bool = False,
        is_decode: bool = False,
    ) -> None:
        assert handle is not None, "what is in a pass is in a slot"
        self.work.append(Work(handle, tokens, wants_logits, is_decode))
        self.shares[document.request.id] = self.shares.get(document.request.id, 0) + len(tokens)
