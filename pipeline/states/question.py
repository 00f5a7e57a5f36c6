"""A question asked of a kept state: only the document's tail and the question are read.

The answer is that of a reading of the whole document with this prompt, to the rounding of where its segments are cut.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from configs.errors import ModelError, StateError
from configs.settings import BackendName, EngineSettings, ModelSettings, PromptSettings
from models.backends import device as devices
from models.backends import engines, loading
from models.engine.feed import ArrayFeed
from models.engine.request import Answer, Finished, ReadState, Request
from models.engine.summarizer import Summarizer
from models.weights import checkpoint
from models.weights.endings import end_ids
from models.weights.tokenizer import Tokenizer
from pipeline.ledger.run_folder import Ledger
from pipeline.prompts.bound import BoundPrompt
from pipeline.prompts.checks import AnswerCheck
from pipeline.schemas.tables import Row
from pipeline.states import snapshot, stored
from pipeline.states.library import KeptState, StateLibrary
from pipeline.states.snapshot import EXTRACTION_VERSION, Snapshot, state_key

DTYPES = ("float32", "bfloat16", "int8", "float8")
JOB = "SELECT config FROM jobs WHERE run_id = $run AND config IS NOT NULL"


@dataclass(frozen=True)
class Reply:
    """What a state answered."""

    answer: str
    finish_reason: str
    error: str | None
    """What is wrong with the answer, as a sentence."""
    retries: int
    tokens: int
    """Of the answer."""
    tokens_read: int
    """To give it: of the tail and of the question, that again for a second try."""
    load_seconds: float
    """To fetch state and model."""
    seconds: float
    """To read and answer."""


@dataclass(frozen=True)
class Making:
    """What the run that kept a state read it with, beside the model."""

    tokenizer_uri: str | None = None
    """As `model.tokenizer`."""
    preamble: str | None = None
    chat: Literal["auto", "off"] = "off"
    """As `model.chat`, which runs before there was such a thing did without."""
    backend: BackendName = "auto"
    """As `model.backend`."""

    @staticmethod
    def of(catalog: StateLibrary, state: KeptState) -> "Making":
        """From the run's row in `jobs`, or from its folder; all unset where both are gone."""
        run_id = state.row["run_id"]
        jobs = catalog.warehouse.rows(JOB, run=run_id)
        about = {"config": json.loads(jobs[0]["config"])} if jobs else Ledger(catalog.output_uri, run_id).about()
        config = about["config"] if about else {}
        model = config.get("model", {})
        return Making(
            model.get("tokenizer"), config.get("preamble"), model.get("chat", "off"), model.get("backend", "auto")
        )


@dataclass(frozen=True)
class Reader:
    """The model and tokenizer that a state belongs to."""

    directory: Path
    tokenizer: Tokenizer
    dtype: str
    device: str
    backend: BackendName = "auto"

    @staticmethod
    def of(state: KeptState, making: Making, model_uri: str | None = None, device: str = "auto") -> "Reader":
        """`model_uri`: a copy elsewhere of the model that the state's row names; nothing of it is loaded yet.

        Raises ModelError where it is not to be had, StateError where the state was removed, or belongs to another model
        or tokenizer.
        """
        _refuse_removed(state)
        directory = _weights(state.row, model_uri)
        uri = model_uri or state.row["model_id"]
        tokenizer = Tokenizer.of_run(ModelSettings(uri=uri, tokenizer=making.tokenizer_uri, chat=making.chat))
        dtype = _dtype(state.row, tokenizer, making.preamble)
        return Reader(directory, tokenizer, dtype, _device(device), making.backend)

    def engine(self) -> Summarizer:
        """For one document."""
        step_tokens = EngineSettings().step_tokens_on(self.device)
        dtype, kind = loading.precision(self.dtype)
        model = loading.loaded(self.directory, dtype, self.device, self.backend, kind)
        return engines.around(model, end_ids(self.directory, self.tokenizer), 1, step_tokens)


def ask(state: KeptState, prompt: PromptSettings, reader: Reader) -> Reply:
    """Raises StateError where the state is gone, damaged or does not fit, ModelError, StorageError."""
    started = time.monotonic()
    found = stored.load(state.uri)
    snapshot.refuse_model(found, state.row["state_key"])
    if found.read_state.window_start:
        raise StateError(
            f"The state of {state.document_id} holds its last window alone, from token "
            f"{found.read_state.window_start + 1:,} on: ask about the document with a run"
        )
    engine = reader.engine()
    loaded = time.monotonic()
    asked = BoundPrompt.of(prompt, reader.tokenizer)
    answer, tokens_read = _read(engine, found, asked)
    verdict = AnswerCheck(prompt, reader.tokenizer.begins_thinking).judge(reader.tokenizer.decode(answer.tokens))
    return Reply(
        answer=verdict.summary,
        finish_reason=answer.finish_reason,
        error=verdict.error,
        retries=answer.retries,
        tokens=len(answer.tokens),
        tokens_read=tokens_read,
        load_seconds=loaded - started,
        seconds=time.monotonic() - loaded,
    )


def _read(engine: Summarizer, found: Snapshot, asked: BoundPrompt) -> tuple[Answer, int]:
    """The answer, and how many tokens were read for it. Raises StateError where the state is of another shape, and
    TooLargeError where it does not fit here."""
    start = ReadState(found.read_state.state, found.read_state.tokens_read)
    prompt = asked.prompt(found.document_id)
    engine.submit(Request(found.document_id, ArrayFeed(found.tail), (prompt,), start=start))
    tokens_read, finished = 0, list[Finished]()
    while not finished:
        done = engine.step()
        tokens_read += sum(done.shares.values()) if done.kind == "prefill" else 0
        finished.extend(done.finished)
        for failed in done.failed:
            raise failed.error
    return finished[0].answers[0], tokens_read


def _refuse_removed(state: KeptState) -> None:
    if state.status == "removed":
        raise StateError(
            f"The state of {state.document_id} was removed (it was kept until {state.row['expires_at']:%Y-%m-%d}): "
            "have the document read again"
        )


def _weights(row: Row, model_uri: str | None) -> Path:
    try:
        directory = checkpoint.resolve(model_uri or row["model_id"])
    except ModelError as error:
        raise error if model_uri else ModelError(f"{error}; --model leads to a copy of it elsewhere") from error
    found = checkpoint.fingerprint(directory)
    if found != row["model_revision"]:
        raise StateError(
            f"The state of {row['document_id']} was made by other weights: {row['model_id']} with the fingerprint "
            f"{row['model_revision'][:12]}, and {directory} has {found[:12]}; --model leads to a copy of the former"
        )
    return directory


def _dtype(row: Row, tokenizer: Tokenizer, preamble: str | None) -> str:
    """The one that the state was made with; nothing but its key tells of it."""
    document, made_with = row["document_id"], (tokenizer.fingerprint, preamble)
    if (dtype := _dtype_at(row, EXTRACTION_VERSION, *made_with)) is not None:
        return dtype
    for version in range(1, EXTRACTION_VERSION):
        if _dtype_at(row, version, *made_with) is not None:
            raise StateError(
                f"The state of {document} is of version {version} of how documents are read, which is "
                f"{EXTRACTION_VERSION} now: have the document read again"
            )
    raise StateError(
        f"The state of {document} was made with another tokenizer, or in a way that is not known here: --tokenizer "
        "leads to the one that it was made with; else have the document read again"
    )


def _dtype_at(row: Row, version: int, tokenizer: str, preamble: str | None) -> str | None:
    keys = {state_key(row["model_revision"], tokenizer, dtype, version, preamble): dtype for dtype in DTYPES}
    return keys.get(row["state_key"])


def _device(wanted: str) -> str:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"torch {torch.__version__} sees no GPU here: --device cpu answers too, only slower")
    return devices.kind_of(wanted)
