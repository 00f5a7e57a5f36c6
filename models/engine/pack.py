"""One pass: the work in it, whose that is, and the tokens that it gives."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from models.engine.backend import Backend, Handle, Mark, Work
from models.engine.sampling import choose_all
from models.engine.slots import ActiveDocument, AnswerTry

if TYPE_CHECKING:
    from torch import Tensor


class Pack:
    """Prompts, then documents, then answers being decoded, with the tokens that the pass takes of each."""

    def __init__(self, kind: Literal["prefill", "decode"]) -> None:
        self.kind = kind
        self.shares: dict[Hashable, int] = {}
        """Tokens of each document, its prompts and answers included."""
        self.answering: list[AnswerTry] = []
        """Whose next tokens the pass gives, in the order of its logits."""
        self.mark: Mark | None = None
        """The end of the pass on its device, once it was asked for."""
        self._work: list[Work] = []
        self._read: list[tuple[ActiveDocument, int, bool]] = []
        """Documents with their tokens, and whether a section ends with those."""
        self._chosen: Tensor | None = None
        """On its way to the host."""

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
        assert each.newest is not None, "it has begun"
        self._add(each.document, each.handle, each.newest, wants_logits=True, is_decode=True)
        self.answering.append(each)

    def run(self, backend: Backend) -> None:
        """Ask it of the backend, whose device may do it later. The documents are told how far they have been read."""
        logits = backend.run(self._work)
        if self.answering:
            chosen = choose_all(logits, [each.sampler for each in self.answering])
            for each, token in zip(self.answering, chosen.split(1), strict=True):
                each.has_chosen(token)
            self._chosen = chosen.to("cpu", non_blocking=True)
        self.mark = backend.mark()
        for document, size, ends_section in self._read:
            document.tokens_read += size
            if ends_section:
                document.end_section()

    def tokens(self) -> Sequence[int]:
        """Those of `answering`, having waited for the device. Raises what broke it."""
        if self.mark is not None:
            self.mark.wait()
        return [] if self._chosen is None else self._chosen.tolist()

    def _add(
        self,
        document: ActiveDocument,
        handle: Handle | None,
        tokens: "np.ndarray | Tensor",
        wants_logits: bool = False,
        is_decode: bool = False,
    ) -> None:
        assert handle is not None, "what is in a pass is in a slot"
        self._work.append(Work(handle, tokens, wants_logits, is_decode))
        self.shares[document.request.id] = self.shares.get(document.request.id, 0) + len(tokens)
