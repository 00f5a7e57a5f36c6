"""Every error that Longhaul raises on purpose, split by what the run does next.

LonghaulError
├── ConfigError        refuse to start: a setting is wrong; names the field, the value and the remedy
├── ModelError         refuse to start: weights or tokenizer cannot be used
├── StorageError       stop the run: the object store or its permissions
├── LedgerError        stop the run: the ledger contradicts itself
├── DeviceError        stop the run: actor after actor loses its device
├── StateError         read the document from its start: a stored state does not fit
└── DocumentError      record a failure row and continue with the next document
    ├── EmptyDocumentError
    ├── UndecodableError     bytes that are no text in any known encoding, or binary
    ├── CorruptError         a broken gzip, zstd, PDF or JSON
    ├── UnreadableError      missing, no permission, a symlink loop, deleted since it was listed
    ├── EncryptedError       protected by a password or rights management
    ├── ChangedError         changed since it was listed; the next run reads it
    ├── TooLargeError        over a limit set in the config
    ├── TimeLimitError       reading it takes longer than the config allows
    ├── ProcessKilledError   it kills the process that reads it: out of memory, a crash in native code
    └── UnexpectedError      any other exception while reading it, with class, message and source line

All take one message, so that they survive pickling between Ray processes.
"""

from pathlib import Path
from traceback import extract_tb
from typing import ClassVar

from configs.credentials import masked

ROOT = Path(__file__).parent.parent
PACKAGES = ("configs", "models", "pipeline", "jobs")
MAX_MESSAGE_CHARS = 500


class LonghaulError(Exception):
    """Base of every error below; `str(error)` is a sentence for the user, without the credentials of URIs in it."""

    def __init__(self, message: str = "") -> None:
        super().__init__(masked(message))


class ConfigError(LonghaulError):
    """A setting is wrong. Names the field, the value received and what to do."""


class ModelError(LonghaulError):
    """A model directory cannot be used: files missing, tensors misshapen, tokenizer mismatched."""


class StorageError(LonghaulError):
    """The object store as a whole cannot be used: its bucket, credentials or endpoint."""


class LedgerError(LonghaulError):
    """The ledger of a run contradicts itself."""


class DeviceError(LonghaulError):
    """Every actor that was tried lost its device: out of memory, an ECC error, a broken driver."""


class StateError(LonghaulError):
    """A stored state does not match the weights, tokenizer, dtype or content; the document is read from its start."""


class DocumentError(LonghaulError):
    """One document cannot be summarized; it becomes a failure row with this class and message."""

    is_of_content: ClassVar[bool] = False
    """Whether the same content fails again: nothing but the document itself is the reason."""


class EmptyDocumentError(DocumentError):
    """The document has no bytes, or no text."""

    is_of_content = True


class UndecodableError(DocumentError):
    """The bytes are not text in any known encoding."""

    is_of_content = True


class CorruptError(DocumentError):
    """The container is broken: a truncated gzip or zstd, an unreadable PDF, invalid JSON."""

    is_of_content = True


class UnreadableError(DocumentError):
    """The object cannot be opened: missing, forbidden, a symlink loop."""


class EncryptedError(DocumentError):
    """The document is protected by a password or rights management; whoever has the key must unlock it."""

    is_of_content = True


class ChangedError(DocumentError):
    """The document changed between listing and reading; the next run lists it again."""


class TooLargeError(DocumentError):
    """The document exceeds a limit set in the config."""


class TimeLimitError(DocumentError):
    """Reading the document takes longer than the config allows."""


class ProcessKilledError(DocumentError):
    """Reading or summarizing the document killed the process: out of memory, a crash in native code."""


class UnexpectedError(DocumentError):
    """Reading or summarizing the document raised an error outside of this family; see `unexpected`."""


def unexpected(error: BaseException) -> UnexpectedError:
    """Wraps a foreign error as a document's: its class, its message and the innermost line of this project in its
    traceback.

    The message is cut to MAX_MESSAGE_CHARS and holds no lone surrogates, so that a table can store it. The error is
    chained.
    """
    message = str(error)[:MAX_MESSAGE_CHARS].encode(errors="backslashreplace").decode()
    wrapped = UnexpectedError(": ".join(filter(None, (type(error).__name__, message))) + _place(error))
    wrapped.__cause__ = error
    return wrapped


def _place(error: BaseException) -> str:
    """` (at pipeline/documents/encoding.py:200)`; empty for an error that was never raised."""
    frames = [(Path(frame.filename), frame.lineno) for frame in extract_tb(error.__traceback__)]
    own = [(path.relative_to(ROOT), line) for path, line in frames if _is_own(path)]
    return "".join(f" (at {path}:{line})" for path, line in (own or frames)[-1:])


def _is_own(path: Path) -> bool:
    return path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES
