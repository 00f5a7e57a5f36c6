"""One run from its settings to its committed tables: list, skip what is done, summarise or stop, commit."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from threading import Thread
from typing import Any
from uuid import uuid4

import structlog

from configs.errors import ConfigError
from configs.prices import Catalogue
from configs.settings import SummarizeConfig
from models import checkpoint
from models.architecture import MambaConfig
from models.tokenizer import Tokenizer
from pipeline import history, lease, node, plan, prompts, quantities, quote, states, storage
from pipeline.assignment import Assignment, Row
from pipeline.commit import commit
from pipeline.documents import Document
from pipeline.lease import Lease
from pipeline.ledger import Ledger, document_key
from pipeline.progress import Progress, Tally
from pipeline.rates import Rates
from pipeline.shared_nodes import Nodes, SharedNodes
from pipeline.snapshot import READING_VERSION, state_key
from pipeline.sources import list_documents
from pipeline.stopping import Stopping

log = structlog.get_logger()

QUOTE_SECONDS = 10.0
"""That a run which is through waits for its quote."""


@dataclass(frozen=True)
class Prepared:
    """Everything known before Ray starts."""

    config: SummarizeConfig
    ledger: Ledger
    model_revision: str
    settings_sha256: str
    architecture: MambaConfig
    tokenizer: Tokenizer
    documents: tuple[Document, ...]
    """Of this run: those listed, without those that other runs have done."""
    todo: tuple[Document, ...]
    """Still to be summarised."""
    num_skipped: int
    """Done in other runs."""
    deadline: datetime | None
    stopping: Stopping
    rates: Rates
    last_start: int
    """Of the run, before this one, as `lease.newest_over` has it: what is `todo` was found out after that."""


def prepare(config: SummarizeConfig) -> Prepared:
    """Check the model, list the documents, and find out what is left to do. Writes nothing.

    Raises ConfigError, ModelError or StorageError: the run cannot start.
    """
    _refuse_output_that_goes_with_the_job(config.output.uri)
    rates = Rates(config.price, config.engine.cpus_per_actor, Catalogue.load(config.price.catalogue))
    directory = checkpoint.resolve(config.model.uri)
    architecture = checkpoint.check(directory)
    model_revision = checkpoint.fingerprint(directory)
    tokenizer = Tokenizer.find(config.model.tokenizer, config.model.uri)
    tokenizer.check_fits(architecture.padded_vocab_size)
    settings_sha256 = _settings_sha256(config, model_revision, tokenizer)
    listed = list_documents(config.input)
    run_id = _run_id(config, settings_sha256)
    ledger = Ledger(config.output.uri, run_id)
    _refuse_other_settings(ledger, settings_sha256)
    elsewhere = history.done_in_other_runs(config.output.uri, settings_sha256, run_id)
    last_start = lease.newest_over(ledger)
    documents = tuple(each for each in listed if _key(each) not in elsewhere)
    deadline = config.run.deadline_after(datetime.now(UTC))
    if deadline is not None and deadline <= datetime.now(UTC):
        raise ConfigError(f"run.deadline = {config.run.deadline!r} has passed: give one that is still to come")
    return Prepared(
        config,
        ledger,
        model_revision,
        settings_sha256,
        architecture,
        tokenizer,
        documents,
        todo=_left(documents, ledger),
        num_skipped=len(listed) - len(documents),
        deadline=deadline,
        stopping=Stopping(ledger, config.run.budget_usd, _microseconds(deadline)),
        rates=rates,
        last_start=last_start,
    )


def execute(prepared: Prepared) -> dict[str, Any] | None:
    """Summarise what is left, until it is time to stop, and commit. Returns the run's row in `jobs`, or None where
    there was nothing to do. Raises ConfigError where another driver is at work on the run."""
    if _is_done(prepared):
        return None
    ledger = prepared.ledger
    with Lease(ledger) as held:
        prepared = _looked_again(prepared, held)
        if _is_done(prepared):
            return None
        ledger.begin(_about(prepared))
        _refuse_a_twin(prepared, held)
        if prepared.todo:
            _begin(prepared)
            _summarise(prepared, held)
        held.check()
        job = commit(ledger, prepared.documents, stopped=prepared.stopping.reason is not None)
    log.info("run_committed", run_id=ledger.run_id, status=job["status"], documents=job["documents_total"])
    return job


def _is_done(prepared: Prepared) -> bool:
    if prepared.todo or (prepared.documents and not prepared.ledger.is_complete):
        return False
    done = len(prepared.documents) + prepared.num_skipped
    log.info("nothing_to_do", run_id=prepared.ledger.run_id, documents_done=done)
    return True


def _looked_again(prepared: Prepared, held: Lease) -> Prepared:
    """Where another start of the run was at work while this one was being prepared, without what that has done."""
    if held.number == prepared.last_start + 1:
        return prepared
    return replace(prepared, todo=_left(prepared.documents, prepared.ledger))


def _left(documents: tuple[Document, ...], ledger: Ledger) -> tuple[Document, ...]:
    """Those that the run has not summarised yet."""
    here = history.done_in(ledger)
    return tuple(each for each in documents if _key(each) not in here)


def _refuse_a_twin(prepared: Prepared, held: Lease) -> None:
    """Of two starts of one command at the same moment, neither of which saw the other's run, the later gives way."""
    config, run_id = prepared.config, prepared.ledger.run_id
    if held.number > 1 or config.run.id is not None:
        return
    sources = list(config.input.sources)
    for other in history.unfinished_runs(config.output.uri, prepared.settings_sha256, sources):
        if other < run_id:
            prepared.ledger.withdraw()
            raise ConfigError(f"the same command was started a moment before, as run.id = {other!r}: leave it to that")


def _begin(prepared: Prepared) -> None:
    ledger = prepared.ledger
    ledger.reopen()
    prepared.stopping.is_possible = True
    ledger.write_manifest(prepared.documents)
    log.info(
        "run_started",
        run_id=ledger.run_id,
        documents=len(prepared.todo),
        done_before=len(prepared.documents) - len(prepared.todo) + prepared.num_skipped,
        bytes=sum(document.size_bytes for document in prepared.todo),
        deadline=prepared.deadline and prepared.deadline.isoformat(timespec="seconds"),
    )


def _summarise(prepared: Prepared, held: Lease) -> None:
    config, ledger, stopping = prepared.config, prepared.ledger, prepared.stopping
    tally = Tally(len(prepared.todo), sum(document.size_bytes for document in prepared.todo))
    with plan.cluster(config) as cluster:
        on_gpu = _on_gpu(config, cluster)
        if on_gpu:
            _refuse_gpus_without_a_price(prepared.rates, cluster)
        assignment = _assignment(prepared, on_gpu, held.number)
        device = cluster.gpu_nodes[0][0] if on_gpu and cluster.gpu_nodes else assignment.device
        kept = kept_states(prepared, assignment.device)
        others = partial(node.without_devices, on_gpu, config.engine.cpus_per_actor)
        # Beside the actors' start, which need not wait for a sample of the documents.
        quoting = Thread(target=_keep_quote, args=(prepared, device, kept, len(others())), name="quote", daemon=True)
        # What is left for a later start is not what the run was thought to take.
        if held.number == 1:
            quoting.start()
        on_cost = None if config.run.budget_usd is None else stopping.spent
        progress = Progress(tally, config.price.currency, ledger.beats, ledger.run_id, on_cost)
        with progress, _shared_nodes(prepared, others, held):
            for receipt in plan.receipts(_with_states(prepared, kept), config, assignment):
                held.check()
                tally.add(receipt["status"], receipt["size_bytes"], receipt["tokens_read"])
                if receipt["status"] == "failed":
                    reason = {name: receipt[name] for name in ("document_id", "error_class", "error_message")}
                    log.warning("document_failed", run_id=ledger.run_id, **reason)
        if quoting.is_alive():
            quoting.join(QUOTE_SECONDS)


def _shared_nodes(prepared: Prepared, others: Callable[[], Nodes], held: Lease) -> AbstractContextManager[object]:
    rate = prepared.rates.of_node()
    if rate is None:
        return nullcontext()
    return SharedNodes(prepared.ledger, others, rate, prepared.config.run.heartbeat_seconds, held.number)


def _keep_quote(prepared: Prepared, device: str, kept: Mapping[str, Row], other_nodes: int) -> None:
    """What the run is thought to take, to be compared in the end; none where nothing is known of the device."""
    try:
        quoted = quote_of(prepared, device, kept, other_nodes=other_nodes, may_time=False)
        if quoted is not None:
            prepared.ledger.keep_quote(quoted.as_row())
    except Exception as error:  # a run need not end because nobody can say what it takes
        log.debug("no_quote", run_id=prepared.ledger.run_id, reason=str(error))
        return
    if quoted is not None:
        log.info(
            "quoted",
            run_id=prepared.ledger.run_id,
            tokens=quoted.tokens,
            cost=quantities.money(quoted.cost, quoted.currency),
            device_time=quantities.duration(quoted.device_seconds),
        )


def quote_of(
    prepared: Prepared,
    device: str,
    kept: Mapping[str, Row],
    *,
    other_nodes: int = 1,
    exact: bool = False,
    may_time: bool = True,
) -> quote.Quote | None:
    """What is left of a run on `cpu` or a GPU of that name, as `quote.for_run`; `kept` is from `kept_states`."""
    return quote.for_run(
        prepared.todo,
        prepared.config,
        quote.Model(prepared.model_revision, prepared.architecture, prepared.tokenizer),
        prepared.rates,
        device,
        read_before={document_id: row["tokens"] for document_id, row in kept.items()},
        other_nodes=other_nodes,
        exact=exact,
        may_time=may_time,
    )


def _with_states(prepared: Prepared, kept: Mapping[str, Row]) -> list[tuple[Document, str | None]]:
    """Each document with the state that it can go on from: of this run before it was stopped, or of an earlier one."""
    saved = prepared.ledger.snapshots()
    uris = {document_id: str(row["state_uri"]) for document_id, row in kept.items()}
    return [
        (document, saved.get(document_key(*_key(document))) or uris.get(document.document_id))
        for document in prepared.todo
    ]


def kept_states(prepared: Prepared, device: str) -> dict[str, Row]:
    """Of earlier runs, by document, for a model on `cpu` or `cuda`."""
    if not prepared.config.incremental:
        return {}
    return states.newest(prepared.ledger.output_uri, _state_key(prepared, device))


def _state_key(prepared: Prepared, device: str) -> str:
    """Of what the model makes on `cpu` or `cuda`."""
    config, tokenizer = prepared.config, prepared.tokenizer.fingerprint
    dtype = config.model.dtype_on(device)
    return state_key(prepared.model_revision, tokenizer, dtype, READING_VERSION, config.preamble)


def _assignment(prepared: Prepared, on_gpu: bool, start: int) -> Assignment:
    config = prepared.config
    device = "cuda" if on_gpu else "cpu"
    return Assignment(
        output_uri=prepared.ledger.output_uri,
        run_id=prepared.ledger.run_id,
        settings_sha256=prepared.settings_sha256,
        model_uri=config.model.uri,
        model_revision=prepared.model_revision,
        device=device,
        dtype=config.model.dtype_on(device),
        prompts=config.prompts,
        sections=config.sections,
        engine=config.engine,
        input=config.input,
        rates=prepared.rates,
        heartbeat_seconds=config.run.heartbeat_seconds,
        state_key=_state_key(prepared, device),
        preamble=config.preamble,
        max_lost_gpu_seconds=config.snapshot.max_lost_gpu_seconds,
        ttl_days=config.states.ttl_days if config.incremental else None,
        deadline_us=_microseconds(prepared.deadline),
        summary_so_far=config.run.summary_so_far,
        tokenizer_uri=config.model.tokenizer,
        start=start,
    )


def _on_gpu(config: SummarizeConfig, cluster: plan.Cluster) -> bool:
    if config.model.device == "cuda" and cluster.num_gpus < config.engine.actors:
        if not cluster.can_grow:
            raise ConfigError(
                f"model.device = 'cuda': {config.engine.actors} actors need a GPU each, Ray finds {cluster.num_gpus:g} "
                "here; set model.device=cpu or fewer engine.actors"
            )
        log.warning("waiting_for_gpus", asked=config.engine.actors, in_cluster=cluster.num_gpus)
    return config.model.device == "cuda" or (config.model.device == "auto" and cluster.num_gpus > 0)


def _refuse_gpus_without_a_price(rates: Rates, cluster: plan.Cluster) -> None:
    """Those that are there now; an actor on a node that comes later refuses by itself."""
    for gpu, labels in cluster.gpu_nodes:
        rates.of_gpu(gpu, labels)


def _run_id(config: SummarizeConfig, settings_sha256: str) -> str:
    sources = list(config.input.sources)
    found = config.run.id or next(history.unfinished_runs(config.output.uri, settings_sha256, sources), None)
    return found or f"run-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex[:6]}"


def _refuse_output_that_goes_with_the_job(uri: str) -> None:
    if plan.is_submitted() and storage.is_local(uri) and not uri.startswith(("/", "~", "file:")):
        raise ConfigError(
            f"output.uri = {uri!r}: a relative path would land in the copy of the working directory that Ray deletes "
            "with the job; give an absolute path that every node shares, or s3://"
        )


def _refuse_other_settings(ledger: Ledger, settings_sha256: str) -> None:
    about = ledger.about()
    if about is not None and about["settings_sha256"] != settings_sha256:
        raise ConfigError(
            f"run.id = {ledger.run_id!r}: this run was started with another model, other prompts or other settings; "
            "choose another id, or leave it out"
        )


def _settings_sha256(config: SummarizeConfig, model_revision: str, tokenizer: Tokenizer) -> str:
    """Of all that a summary depends on beside the document."""
    parts = {
        "reading_version": READING_VERSION,
        "model": model_revision,
        "tokenizer": tokenizer.fingerprint,
        "template": prompts.render("instruction"),
        "prompts": [prompt.model_dump(mode="json") for prompt in config.prompts],
        "text_field": config.input.text_field,
    }
    # Only where they are set, so that what was done before there were any stays done.
    if config.sections is not None:
        parts["sections"] = config.sections.model_dump(mode="json")
    if config.preamble is not None:
        parts["preamble"] = config.preamble
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _about(prepared: Prepared) -> dict[str, Any]:
    config = prepared.config.model_dump(mode="json")
    return {
        "run_id": prepared.ledger.run_id,
        "started_at": datetime.now(UTC).isoformat(),
        "settings_sha256": prepared.settings_sha256,
        "model_revision": prepared.model_revision,
        "config": config,
    }


def _microseconds(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1e6)


def _key(document: Document) -> history.Key:
    return document.document_id, document.source_etag
