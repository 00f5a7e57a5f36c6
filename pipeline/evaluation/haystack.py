"""A document of any length to hide needles in: real ones, laid end to end."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt
import structlog

from configs.errors import ConfigError, DocumentError
from configs.settings import InputSettings
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.documents.extract import Extractor
from pipeline.documents.sources import list_documents

log = structlog.get_logger()

MOST_CHARACTERS = 16
"""Of text for a token: more of a document need not be read."""


@dataclass(frozen=True)
class Haystack:
    """The tokens of a long document."""

    tokens: npt.NDArray[np.int32]
    """(L,), the begin token first."""
    line_ends: npt.NDArray[np.bool_]
    """(L,) whether a line ends with the token."""

    @staticmethod
    def of(sources: Sequence[str], settings: InputSettings, tokenizer: Tokenizer, length: int) -> "Haystack":
        """Of as many tokens, read as a run reads documents, with its settings but for the sources.

        Raises ConfigError where there is no text, StorageError.
        """
        found: list[npt.NDArray[np.int32]] = []
        num_tokens = 0
        most = MOST_CHARACTERS * length
        for text in _texts(settings.model_copy(update={"sources": tuple(sources)}), most):
            # Only the first begins.
            found.append(tokenize.tokens([text], tokenizer)[1 if found else 0 :])
            num_tokens += len(found[-1])
            if num_tokens >= length:
                break
        tokens = np.concatenate(found)[:length]
        ends = [token for token in np.unique(tokens).tolist() if "\n" in tokenizer.decode([token])]
        return Haystack(tokens, np.isin(tokens, ends))


def _texts(settings: InputSettings, most: int) -> Iterator[str]:
    """The first `most` characters of each of the documents in the order of their names, again and again. One that
    cannot be read is passed over."""
    extractor = Extractor(settings)
    documents = list_documents(settings)
    for again in count():
        num_characters = 0
        for document in documents:
            try:
                with closing(extractor.read(document)) as extracted:
                    text = _beginning(extracted.text, most)
            except DocumentError as error:
                log.warning("document_passed_over", document_id=document.document_id, error=str(error))
                continue
            num_characters += len(text)
            yield f"{text}\n\n"
        if not num_characters:
            raise ConfigError(f"{', '.join(settings.sources)}: there is no text.")
        if not again:
            log.info("documents_repeated", characters=num_characters)


def _beginning(pieces: Iterable[str], most: int) -> str:
    found, most_left = list[str](), most
    for piece in pieces:
        found.append(piece)
        most_left -= len(piece)
        if most_left <= 0:
            break
    return "".join(found)[:most]
