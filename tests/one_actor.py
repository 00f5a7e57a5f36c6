"""One actor's engine with its ledger, in this process and without Ray."""

import threading
from concurrent.futures import Future
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from configs.settings import EngineSettings, InputSettings, ModelSettings, PromptSettings, SummarizeConfig
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.actor.assignment import Assignment
from pipeline.actor.engine_driver import EngineDriver
from pipeline.billing.rates import Rates
from pipeline.documents.handover import READ_ROW
from pipeline.ledger import history
from pipeline.ledger.records import Claim, batch_of, document_key
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.tables import Row
from tests.small_model import VOCAB_SIZE, build
from tests.waiting import PATIENCE_SECONDS

__all__ = ["PATIENCE_SECONDS"]

TEXT = "".join(f"{number % 7 * 'a'} line {number % 100}\n" for number in range(250))


def assignment(
    output_uri: str = "o", run_id: str = "r", model_uri: str = "default", model_revision: str = "m", **settings: Any
) -> Assignment:
    """Of a run whose settings are the defaults but for some (see `with_settings`)."""
    config = SummarizeConfig(input=InputSettings(sources=("unused",)), model=ModelSettings(uri=model_uri))
    known = Assignment(config, output_uri, run_id, 0, "s", model_revision, "cpu", "float32", "", Rates())
    return with_settings(known, **settings)


def assignment_in(tmp_path: Path) -> Assignment:
    """Of a small random model that is made there."""
    directory = tmp_path / "model"
    checkpoint.save(build(chunk_size=64), directory)
    tokenizer().save(directory)
    return assignment(
        str(tmp_path / "output"),
        model_uri=str(directory),
        model_revision=checkpoint.fingerprint(directory),
        prompts=(PromptSettings(max_tokens=3),),
        engine=EngineSettings(slots=2, step_tokens=512),
        heartbeat_seconds=30,
    )


PLACES = {
    "heartbeat_seconds": "run",
    "summary_so_far": "run",
    "ttl_days": "states",
    "storage_gib_month": "states",
    "max_lost_device_seconds": "snapshot",
}
"""Sections of the settings."""


def with_settings(known: Assignment, **changes: Any) -> Assignment:
    """With other facts of the run, or other settings. States are kept where `ttl_days` says for how long."""
    config = known.config
    facts = {name: changes.pop(name) for name in list(changes) if name in Assignment.__dataclass_fields__}
    if "ttl_days" in changes:
        config = config.model_copy(update={"incremental": changes["ttl_days"] is not None})
    for name, value in changes.items():
        update = {name: value}
        if name in PLACES:
            update = {PLACES[name]: getattr(config, PLACES[name]).model_copy(update=update)}
        assert update.keys() <= SummarizeConfig.model_fields.keys(), name
        config = config.model_copy(update=update)
    return replace(known, config=config, **facts)


def tokenizer() -> Tokenizer:
    """Of ids that the small model has; it knows nothing but these letters."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers

    vocabulary = {"<|endoftext|>": 0, "?": 1} | {letter: 2 + index for index, letter in enumerate("aelin 0123456789\n")}
    assert len(vocabulary) < VOCAB_SIZE
    backend = Backend(models.WordLevel(vocabulary, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return Tokenizer(backend, backend.to_str())


def row(path: Path, **values: Any) -> Row:
    known = {"document_id": path.name, "source_uri": str(path), "source_etag": "e", "size_bytes": 1, "made_by": "text"}
    return dict.fromkeys(READ_ROW.names) | known | values


def streamed(path: Path, content: bytes) -> Row:
    path.write_bytes(content)
    return row(path, title="T", is_streamed=True)


def run(assignment: Assignment, *rows: Row) -> tuple[EngineDriver, list["Future[Row]"]]:
    driver = EngineDriver(assignment)
    driver.start()
    return driver, submitted(driver, *rows)


def submitted(driver: EngineDriver, *rows: Row) -> list["Future[Row]"]:
    """Each document a batch of its own."""
    return [receipt for row in rows for receipt in driver.submit([row])]


def resuming(assignment: Assignment, *rows: Row) -> list[Row]:
    """As the driver of a run's next start hands them over: those that are not finished."""
    book = ledger(assignment)
    saved, earlier = book.snapshots(), history.begun_in(book)
    keys = {row["document_id"]: document_key(row["document_id"], row["source_etag"]) for row in rows}
    return [
        row
        | {"state_uri": saved.get(keys[row["document_id"]]) or row["state_uri"]}
        | {"earlier": [asdict(each) for each in earlier.get(keys[row["document_id"]], ())]}
        for row in rows
        if (row["document_id"], row["source_etag"]) not in history.done_in(book)
    ]


def begun(assignment: Assignment, claim: Claim) -> None:
    """Another actor has begun an attempt at a document, which came alone."""
    assert ledger(assignment).begin_attempts(batch_of(assignment.start, [claim.key]), claim.attempt, [claim])


def claims(assignment: Assignment, document_id: str) -> list[Claim]:
    """At a document that comes alone."""
    batch = batch_of(assignment.start, [document_key(document_id, "e")])
    return [claim for each in ledger(assignment).claims(batch).values() for claim in each]


def entries(assignment: Assignment) -> dict[str, dict[str, Any]]:
    """By document, the last attempt that came to an end."""
    return {entry["document_id"]: entry for entry in ledger(assignment).entries()}


def ledger(assignment: Assignment) -> Ledger:
    return Ledger(assignment.output_uri, assignment.run_id)


def begin(assignment: Assignment) -> None:
    """As a driver does, so that the run can be committed."""
    config = {"price": {"currency": "USD"}, "model": {"uri": "m"}, "input": {"sources": ["x"]}}
    about = {"run_id": "r", "started_at": "2026-11-22T12:00:00+00:00", "settings_sha256": "s", "model_revision": "m"}
    ledger(assignment).begin(about | {"config": config})


def feed_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "token-feed"]
