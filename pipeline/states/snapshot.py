"""A document's progress as one object: the recurrent state and all that resuming elsewhere needs.

A safetensors file: the state's tensors by name (Z, ...), for a kept state also `tail`, and in its metadata `longhaul`,
a JSON object that says what the tensors belong to, with a checksum over everything. What grows with the tokens is in
segments beside it (`pipeline.states.segments`), which the metadata names; only a kept state holds it itself. A snapshot
that does not match the document, model or settings is refused.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from safetensors import SafetensorError

from configs.errors import StateError
from models.engine.request import Answer, ReadState
from models.weights.tokenizer import LIBRARY
from pipeline.documents.sections import Section
from pipeline.documents.tokenize import TOKEN_DTYPE, Position
from pipeline.states import int8
from pipeline.states.segments import Segment
from pipeline.storage.header import FORMAT, SEGMENTED, about_of

EXTRACTION_VERSION = 3
"""Incremented when a change to extraction or tokenizing changes what a model reads: earlier results are not reused."""
TAIL = "tail"


@dataclass(frozen=True)
class Snapshot:
    """The state of one model at one position in a document."""

    document_id: str
    source_uri: str
    source_etag: str
    """Of the content that was read."""
    state_key: str
    """From `state_key`."""
    made_by: str
    """What the text depends on, from `extract.makers`."""
    tokenized_by: str
    """The version of the library that did."""
    settings_sha256: str
    """Of the settings that the answers belong to."""
    run_id: str
    title: str
    position: Position
    """The last canonical cut at or before the state, where resumed reading starts."""
    sections: tuple[Section, ...]
    """Sections found before the cut."""
    read_state: ReadState
    tail: np.ndarray = field(default_factory=lambda: np.empty(0, TOKEN_DTYPE))
    """For a state that is kept at its document's last cut: the tokens (L,) int32 from there to the end."""
    segments: tuple[Segment, ...] = ()
    """Of what grows with the tokens, in order."""


def state_key(
    model_revision: str, tokenizer: str, dtype: str, extraction_version: int, preamble: str | None = None
) -> str:
    """Hash of all that a state depends on apart from the document's text: weights, tokenizer, dtype, version of
    extraction, and preamble."""
    parts = {
        "model": model_revision,
        "tokenizer": tokenizer,
        "dtype": dtype,
        "extraction_version": str(extraction_version),
    }
    parts |= {"preamble": preamble} if preamble is not None else {}
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def to_bytes(snapshot: Snapshot) -> bytes:
    """The object as it is stored."""
    read_state = snapshot.read_state
    tensors = {name: np.ascontiguousarray(array) for name, array in read_state.state.items()}
    if len(snapshot.tail):
        tensors[TAIL] = np.ascontiguousarray(snapshot.tail, TOKEN_DTYPE)
    about = {
        "format": SEGMENTED if _is_new(snapshot) else FORMAT,
        "tokens": read_state.tokens_read,
        "section_ends": read_state.section_ends,
        "answers": [[*place, asdict(answer)] for place, answer in read_state.answers.items()],
        "position": asdict(snapshot.position),
        "sections": [asdict(section) for section in snapshot.sections],
    }
    about |= {name: getattr(snapshot, name) for name in _PLAIN}
    about |= {"window_start": read_state.window_start} if read_state.window_start else {}
    about |= {"segments": [asdict(segment) for segment in snapshot.segments]} if snapshot.segments else {}
    sealed = about | {"checksum": _checksum(tensors, about)}
    return safetensors.numpy.save(tensors, {"longhaul": json.dumps(sealed)})


def from_bytes(data: bytes) -> Snapshot:
    """The inverse of `to_bytes`, without what segments hold. Raises StateError if the data is damaged or of another
    format."""
    try:
        about = about_of(data)
        tensors = safetensors.numpy.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise StateError(f"The stored state is damaged: {error}.") from error
    if about.pop("checksum", "") != _checksum(tensors, about):
        raise StateError("The stored state is damaged: its checksum does not fit.")
    tail = tensors.pop(TAIL, np.empty(0, TOKEN_DTYPE))
    answers = {
        (section, prompt): Answer(**answer | {"tokens": tuple(answer["tokens"])})
        for section, prompt, answer in about["answers"]
    }
    return Snapshot(
        **{name: about[name] for name in _PLAIN},
        position=Position(**about["position"]),
        sections=tuple(Section(**section) for section in about["sections"]),
        read_state=ReadState(
            int8.unpacked(tensors),
            about["tokens"],
            tuple(about["section_ends"]),
            answers,
            window_start=about.get("window_start", 0),
        ),
        tail=tail,
        segments=tuple(Segment(**segment) for segment in about.get("segments", ())),
    )


def refuse(
    snapshot: Snapshot, key: str, makers: Collection[str], settings_sha256: str, has_sections: bool = False
) -> None:
    """Raises StateError if a state does not match what would resume from it."""
    refuse_model(snapshot, key)
    if snapshot.made_by not in makers:
        raise StateError(f"The stored state is of a text that something else made of the document: {snapshot.made_by}.")
    # Whole parts are known by the digest of their text; of those after the last cut there is but the number of tokens.
    if snapshot.read_state.tokens_read != snapshot.position.tokens and snapshot.tokenized_by != LIBRARY:
        raise StateError(
            f"The stored state lies within tokens that {snapshot.tokenized_by} cut, which is {LIBRARY} now."
        )
    # Answers about earlier sections would be missing, or belong to other questions.
    has_parts = has_sections or snapshot.read_state.window_start > 0
    if has_parts and snapshot.settings_sha256 != settings_sha256:
        raise StateError("The stored state lies behind sections or windows that were asked other questions.")


def refuse_model(snapshot: Snapshot, key: str) -> None:
    """Raises StateError if a state was made by another model than the one that would resume from it."""
    if snapshot.state_key != key:
        raise StateError("The stored state belongs to other weights, another tokenizer, dtype or preamble.")


def _is_new(snapshot: Snapshot) -> bool:
    """Whether it has what a reader of the older format would take for something else."""
    is_packed = any(int8.VALUES in name for name in snapshot.read_state.state)
    return bool(snapshot.segments or snapshot.read_state.window_start or is_packed)


def _checksum(tensors: Mapping[str, npt.NDArray[Any]], about: Mapping[str, Any]) -> str:
    # Processors have instructions for SHA-256: half the time of BLAKE2.
    digest = sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name]).data)
    return digest.hexdigest()


_PLAIN = (
    *("document_id", "source_uri", "source_etag", "state_key", "made_by", "tokenized_by", "settings_sha256", "run_id"),
    "title",
)
