"""What is known of a run before Ray starts: its model, its documents, and what of them is left to do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid4

import structlog

from configs.errors import ConfigError
from configs.prices import Catalog
from configs.settings import SummarizeConfig, every_prompt
from pipeline.billing.rates import NO_LABELS, Labels, Rates
from pipeline.cluster import submission
from pipeline.documents.sources import list_documents
from pipeline.driver.error_budget import ErrorBudget
from pipeline.driver.stopping import Stopping
from pipeline.formats import registry
from pipeline.ledger import commits, history, lease
from pipeline.ledger.commands import Command
from pipeline.ledger.run_folder import Ledger
from pipeline.planning import quote
from pipeline.planning.extracting import Extracting
from pipeline.prompts import template
from pipeline.schemas.document import Document
from pipeline.schemas.tables import Row
from pipeline.sentences import weights
from pipeline.states import kept as states
from pipeline.states.snapshot import EXTRACTION_VERSION, state_key
from pipeline.storage import objects
from pipeline.telemetry import observer
from pipeline.telemetry.observer import Observer

log = structlog.get_logger()


@dataclass(frozen=True)
class Prepared:
    """Everything known before Ray starts."""

    config: SummarizeConfig
    command: Command
    ledger: Ledger
    reads: quote.Reads
    settings_sha256: str
    listed: tuple[Document, ...]
    """All that the sources hold."""
    documents: tuple[Document, ...]
    """Of this run: those listed, without those that other runs have done."""
    todo: tuple[Document, ...]
    """Still to be summarized."""
    num_skipped: int
    """Done in other runs."""
    num_failed_before: int
    """In other runs, for what is in them, so that they are not tried again."""
    deadline: datetime | None
    stopping: Stopping
    error_budget: ErrorBudget
    rates: Rates
    observer: Observer
    """Hears of what happens in the driver."""
    last_start: int
    """Of the run, before this one, as `lease.newest_over` has it: what is `todo` was found out after that."""

    @property
    def deadline_us(self) -> int | None:
        """UTC, microseconds since 1970."""
        return _microseconds(self.deadline)


def prepare(config: SummarizeConfig) -> Prepared:
    """Check the model, list the documents, and find out what is left to do. Writes nothing.

    Raises ConfigError, ModelError or StorageError: the run cannot start.
    """
    submission.refuse_relative("output.uri", config.output.uri)
    objects.refuse_file("output.uri", config.output.uri)
    rates = Rates(config.price, config.engine.cpus_per_actor, Catalog.load(config.price.catalog))
    reads = _reads(config)
    settings_sha256 = _settings_sha256(config, reads)
    listed = tuple(list_documents(config.input))
    command = Command(config.output.uri, settings_sha256, list(config.input.sources))
    run_id = _run_id(config, command)
    ledger = Ledger(config.output.uri, run_id)
    refuse_other_settings(ledger, settings_sha256, config.price.currency)
    run = settings_sha256, run_id
    elsewhere = history.done_in_other_runs(config.output.uri, *run)
    last_start = lease.newest_over(ledger)
    failed = set() if config.input.retry_failed else history.failed_in_other_runs(config.output.uri, *run)
    failed -= elsewhere
    documents = tuple(each for each in listed if key_of(each) not in elsewhere and key_of(each) not in failed)
    num_failed_before = sum(key_of(each) in failed for each in listed)
    if num_failed_before:
        log.info("failed_before", documents=num_failed_before, remedy="input.retry_failed=true tries them again")
    deadline = config.run.deadline_after(datetime.now(UTC))
    if deadline is not None and deadline <= datetime.now(UTC):
        raise ConfigError(f"run.deadline = {config.run.deadline!r} has passed: give one that is still to come")
    told = observer.of_driver()
    return Prepared(
        config,
        command,
        ledger,
        reads,
        settings_sha256,
        listed,
        documents,
        todo=remaining(documents, ledger),
        num_skipped=len(listed) - len(documents) - num_failed_before,
        num_failed_before=num_failed_before,
        deadline=deadline,
        stopping=Stopping(ledger, config.run.budget_usd, _microseconds(deadline), told),
        error_budget=ErrorBudget(config.run),
        rates=rates,
        observer=told,
        last_start=last_start,
    )


def _reads(config: SummarizeConfig) -> quote.Reads:
    """Raises ModelError."""
    if config.is_extract_only:
        return Extracting()
    from pipeline.planning.model import Model  # it brings torch, which extracts do without

    return Model.of(config)


def remaining(documents: tuple[Document, ...], ledger: Ledger) -> tuple[Document, ...]:
    """Those that the run has not summarized yet."""
    here = history.done_in(ledger)
    return tuple(each for each in documents if key_of(each) not in here)


def quote_of(
    prepared: Prepared,
    device: str,
    kept: Mapping[str, Row],
    *,
    labels: Labels = NO_LABELS,
    other_nodes: int = 1,
    exact: bool = False,
    may_time: bool = True,
) -> quote.Quote | None:
    """Quote what is left of a run on `cpu` or the named GPU, as `quote.for_run` does; `kept` is from `kept_states`."""
    return quote.for_run(
        prepared.todo,
        prepared.config,
        prepared.reads,
        prepared.rates,
        device,
        read_before={document_id: row["tokens"] for document_id, row in kept.items()},
        labels=labels,
        other_nodes=other_nodes,
        exact=exact,
        may_time=may_time,
    )


def kept_states(prepared: Prepared, device: str) -> dict[str, Row]:
    """Rows of the states that earlier runs kept for a model on `cpu` or `cuda`, by document."""
    if not prepared.config.incremental:
        return {}
    makers = registry.makers(prepared.config.input)
    return states.newest(prepared.ledger.output_uri, state_key_of(prepared, device), makers)


def state_key_of(prepared: Prepared, device: str) -> str:
    """That of what the model makes on `cpu` or `cuda`."""
    config, reads = prepared.config, prepared.reads
    dtype = config.model.dtype_on(device)
    return state_key(reads.revision, reads.tokenizer.fingerprint, dtype, EXTRACTION_VERSION, config.preamble)


def _run_id(config: SummarizeConfig, command: Command) -> str:
    found = config.run.id or command.run_id
    if found is not None and (config.run.id or not commits.is_complete(Ledger(config.output.uri, found))):
        return found
    return f"run-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex[:6]}"


def refuse_other_settings(ledger: Ledger, settings_sha256: str, currency: str) -> None:
    """Raise ConfigError if the run was started with other settings or in another currency, or cannot be resumed."""
    about = ledger.about()
    if about is None:
        return
    if ledger.is_pruned():
        raise ConfigError(
            f"run.id = {ledger.run_id!r}: jobs.runs prune has removed what this run would be resumed from; its tables "
            "are whole, so leave run.id out, or choose another id"
        )
    begun_in = about["config"]["price"]["currency"]
    if begun_in != currency:
        raise ConfigError(
            f"price.currency = {currency!r}: run {ledger.run_id} was begun with prices in {begun_in}, and its "
            f"costs are one sum; resume it with price.currency={begun_in}, or begin another run with run.id=NAME"
        )
    if about["settings_sha256"] != settings_sha256:
        raise ConfigError(
            f"run.id = {ledger.run_id!r}: this run was started with another model, other prompts or other settings; "
            "choose another id, or leave it out"
        )


def _settings_sha256(config: SummarizeConfig, reads: quote.Reads) -> str:
    """Of all that a summary depends on beside the document."""
    parts = {
        "extraction_version": EXTRACTION_VERSION,
        "model": reads.revision,
        "tokenizer": reads.tokenizer.fingerprint,
        "template": template.render("instruction"),
        "prompts": [prompt.model_dump(mode="json") for prompt in config.prompts],
        "text_field": config.input.text_field,
    }
    # Only where they are set, so that what was done before there were any stays done.
    if reading := config.input.model_dump(include={"html", "ocr", "encoding", "errors"}, exclude_defaults=True):
        parts["reading"] = reading
    if any(prompt.is_extract for prompt in every_prompt(config.prompts, config.sections)):
        parts["extracts"] = weights.fingerprint()
    if config.sections is not None:
        parts["sections"] = config.sections.model_dump(mode="json")
    if config.long_documents != "fail":
        parts["long_documents"] = config.long_documents
    if config.preamble is not None:
        parts["preamble"] = config.preamble
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1e6)


def key_of(document: Document) -> history.Key:
    """The document at this content."""
    return document.document_id, document.source_etag
