"""How many tokens documents have, estimated from a sample."""

import random
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from pathlib import PurePosixPath

from configs.errors import DocumentError
from configs.settings import SummarizeConfig
from models.weights.tokenizer import Tokenizer
from pipeline.documents import compression as compressions
from pipeline.documents import tokenize
from pipeline.documents.extract import Extractor, is_plain_by_name, parsed_whole
from pipeline.documents.reader import ReaderSettings
from pipeline.documents.reader_process import ReaderProcess
from pipeline.schemas.document import Document

SAMPLED_BYTES = 2 * 2**20
"""Bytes of text that are sampled of each kind of document."""
LARGEST_PARSED_BYTES = 8 * 2**20
"""Documents that must be parsed as a whole are not sampled if they are larger."""


@dataclass(frozen=True)
class Tokens:
    """How many tokens the documents of a run have."""

    total: int
    """Number of tokens to be read."""
    longest: int
    """Number of tokens of the longest document."""
    is_counted: bool
    """Whether all documents were counted rather than estimated from a sample."""
    before: float = 0.0
    """Tokens that stand before a token in its document, on average."""
    longer: tuple[tuple[str, int], ...] = ()
    """Documents of more than `limit` tokens, each with its number, the longest first."""


def count_tokens(
    documents: Sequence[Document],
    config: SummarizeConfig,
    tokenizer: Tokenizer,
    exact: bool,
    read_before: Mapping[str, int],
    limit: float = inf,
) -> Tokens:
    """Count or estimate the tokens of documents: the tokens per byte of a sample are assumed for the rest of its kind.
    Unreadable documents do not count, nor do tokens that were `read_before`."""
    longer: list[tuple[str, int]] = []
    squares = all_tokens = 0
    by_kind: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        by_kind[_kind(document)].append(document)
    sampler, total, longest, is_counted = _Sampler(config, tokenizer, exact), 0, 0, True
    for group in by_kind.values():
        known = sampler.counts(group, sys.maxsize if exact else SAMPLED_BYTES)
        counts = [known.get(each.document_id, round(each.size_bytes * sampler.tokens_per_byte)) for each in group]
        before = [read_before.get(document.document_id, 0) for document in group]
        total += sum(max(0, count - had) for count, had in zip(counts, before, strict=True))
        longest = max(longest, *counts)
        is_counted &= len(known) == len(group)
        squares, all_tokens = squares + sum(count * count for count in counts), all_tokens + sum(counts)
        longer += [(each.document_id, count) for each, count in zip(group, counts, strict=True) if count > limit]
    longer.sort(key=lambda each: each[1], reverse=True)
    return Tokens(total, longest, is_counted, squares / max(1, all_tokens) / 2, tuple(longer))


class _Sampler:
    """Reads a sample of the documents of a kind, always the same ones. Formats that must be parsed are read as a run's
    readers do it, in a process that can be killed: a document that hangs or crashes a parser must not hang or crash the
    driver."""

    def __init__(self, config: SummarizeConfig, tokenizer: Tokenizer, exact: bool) -> None:
        self._extractor, self._tokenizer = Extractor(config.input), tokenizer
        most = config.input.max_document_seconds
        limits = {"max_document_seconds": most if exact else min(most, SAMPLED_SECONDS)}
        self._process = ReaderProcess()
        self._settings = ReaderSettings(config.input.model_copy(update=limits), config.model)
        self.tokens_per_byte = tokenize.TOKENS_PER_BYTE
        """Of the last group."""

    def counts(self, group: Sequence[Document], most_bytes: int) -> dict[str, int]:
        """Tokens and bytes of the documents that were read in full."""
        known: dict[str, int] = {}
        tokens, size, left = 0, 0, most_bytes
        for document in _picked(group, most_bytes):
            if left <= 0:
                break
            if parsed_whole(document) and LARGEST_PARSED_BYTES < document.size_bytes < most_bytes:
                continue
            count, text_bytes, is_whole = self._read(document, left)
            if is_whole:
                known[document.document_id] = count
            tokens, size = tokens + count, size + (document.size_bytes if is_whole else text_bytes)
            left -= text_bytes
        self.tokens_per_byte = tokens / size if size else tokenize.TOKENS_PER_BYTE
        return known

    def _read(self, document: Document, most_bytes: int) -> tuple[int, int, bool]:
        """Tokens and bytes of a document's text, up to about so many bytes, and whether that is all of it. What has
        come from the readers' process is whole, and its bytes are what so many tokens take elsewhere."""
        if is_plain_by_name(document):
            return self._streamed(document, most_bytes)
        (read,) = self._process.read([document.as_row() | {"state_uri": None}], self._settings)
        if read["error_class"] is not None:
            return 0, 0, True
        if read["is_streamed"]:
            # It is plain text after all, or too long to pass on: then the process has read it and survived.
            return self._streamed(document, most_bytes)
        tokens = len(read["tokens"])
        return tokens, round(tokens / tokenize.TOKENS_PER_BYTE), True

    def _streamed(self, document: Document, most_bytes: int) -> tuple[int, int, bool]:
        tokens, size = 1, 0
        try:
            extracted = self._extractor.read(document)
            with closing(extracted):
                for part in tokenize.cut(extracted.text):
                    tokens, size = tokens + len(self._tokenizer.encode(part)), size + len(part.encode())
                    if size >= most_bytes:
                        break
        except DocumentError:
            return 0, 0, True
        return tokens, size, size < most_bytes


def _picked(group: Sequence[Document], most_bytes: int) -> Sequence[Document]:
    """A sample, at random; of what lies in containers in their order, in which each is gone through once."""
    if most_bytes == sys.maxsize:
        return group
    shuffled = random.Random(0).sample(range(len(group)), len(group))
    if group[0].within:
        before = accumulate((group[index].size_bytes for index in shuffled), initial=0)
        shuffled = sorted(index for index, size in zip(shuffled, before, strict=False) if size < most_bytes)
    return [group[index] for index in shuffled]


SAMPLED_SECONDS = 10.0
"""CPU seconds after which a sampled document is skipped."""


def _kind(document: Document) -> str:
    """A document's suffix and compression, and what holds it. A suffix with a digit is a date or a number and is
    ignored."""
    *_, format, compression = ("", "", *PurePosixPath(document.name).suffixes)
    if compressions.by_name(document.name) is None:
        format, compression = compression, ""
    holders = "/".join(place.kind for place in document.within)
    return f"{holders}{format if format[1:].isalpha() else ''}{compression}".lower()
