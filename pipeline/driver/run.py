"""One run, prepared, to its committed tables: summarize or stop, commit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from threading import Thread
from typing import Any

import structlog

from configs.errors import ConfigError, LonghaulError
from configs.settings import OutputSettings
from pipeline.actor.assignment import Assignment
from pipeline.billing.rates import Labels
from pipeline.cluster import node
from pipeline.cluster.mailbox import Mailbox
from pipeline.driver import dataset, devices, inventory
from pipeline.driver.fleet import Fleet
from pipeline.driver.metrics import exported
from pipeline.driver.prepare import (
    Prepared,
    kept_states,
    key_of,
    quote_of,
    refuse_other_settings,
    remaining,
    state_key_of,
)
from pipeline.driver.progress import Progress, Tally
from pipeline.driver.shared_nodes import Nodes, SharedNodes
from pipeline.driver.stopping import Drain
from pipeline.ledger import commits, history
from pipeline.ledger.commit import commit
from pipeline.ledger.heartbeats import Heartbeats
from pipeline.ledger.lease import Lease
from pipeline.ledger.records import Heartbeat, document_key
from pipeline.reports import quantities
from pipeline.schemas.tables import Row
from pipeline.storage import objects
from pipeline.telemetry.events import DocumentReceived, Run, RunCommitted, RunFailed, RunStarted

log = structlog.get_logger()

QUOTE_SECONDS = 10.0
"""That a run which is through waits for its quote."""


def execute(prepared: Prepared) -> dict[str, Any] | None:
    """Summarize what is left, until it is time to stop, and commit. Returns the run's row in `jobs`, or None where
    there was nothing to do. Raises ConfigError where another driver is at work on the run, or on the same command."""
    if _is_done(prepared):
        _keep_listing(prepared)
        return None
    ledger, stopping = prepared.ledger, prepared.stopping
    _refuse_unsafe_store(prepared.config.output)
    prepared.command.claim(ledger.run_id, whoever_else=prepared.config.run.id is not None)
    with Lease(ledger) as held:
        refuse_other_settings(ledger, prepared.settings_sha256, prepared.config.price.currency)
        prepared = _refreshed(prepared, held)
        if _is_done(prepared):
            _keep_listing(prepared)
            return None
        ledger.begin(_about(prepared))
        with _observed(prepared, held) as committed:
            if prepared.todo:
                _begin(prepared, held)
                _summarize(prepared, held)
            stopped = stopping.reason is not None
            job = commit(ledger, prepared.documents, stopped, start=held.number, confirm=held.confirm)
            committed.update(job)
        _keep_listing(prepared)
    return job


@contextmanager
def _observed(prepared: Prepared, held: Lease) -> Iterator[dict[str, Any]]:
    """Tells how this start of the run ended: by an error, or with a row of `jobs`, which is put into what it gives."""
    run, tell, started_at = _run(prepared, held), prepared.observer.tell, datetime.now(UTC)
    job: dict[str, Any] = {}
    try:
        yield job
        tell(
            RunCommitted(
                run,
                started_at,
                datetime.now(UTC),
                status=job["status"],
                stopped_by=prepared.stopping.reason if job["documents_left"] else None,
                **{name: job[f"documents_{name}"] for name in ("succeeded", "failed", "left")},
                **{name: job[name] for name in ("tokens_read", "tokens_decoded", "cost", "currency")},
                documents=job["documents_total"],
            )
        )
    except BaseException as error:
        # What others raise may quote documents.
        message = str(error) if isinstance(error, LonghaulError) else None
        tell(RunFailed(run, started_at, datetime.now(UTC), type(error).__name__, message))
        raise
    finally:
        prepared.observer.close()


def _run(prepared: Prepared, held: Lease) -> Run:
    return Run.of(prepared.config, prepared.ledger.run_id, held.number, prepared.ledger.output_uri)


def _keep_listing(prepared: Prepared) -> None:
    inventory.keep(prepared.ledger.output_uri, prepared.config.input.sources, prepared.listed)


def _is_done(prepared: Prepared) -> bool:
    if prepared.todo or (prepared.documents and not commits.is_complete(prepared.ledger)):
        return False
    done = len(prepared.documents) + prepared.num_skipped
    log.info("nothing_to_do", run_id=prepared.ledger.run_id, documents_done=done)
    return True


def _refuse_unsafe_store(output: OutputSettings) -> None:
    if objects.is_local(output.uri) or objects.can_create(objects.join(output.uri, "_runs")):
        return
    if not output.allow_unsafe_store:
        raise ConfigError(
            f"output.uri = {output.uri!r}: this store writes over an object although it was asked (If-None-Match) not "
            "to, so that two drivers or actors may both do one thing; take another store, or set "
            "output.allow_unsafe_store=true, whose help says what may be lost"
        )
    log.warning("unsafe_store", uri=output.uri)


def _refreshed(prepared: Prepared, held: Lease) -> Prepared:
    """Without the documents that another start of the run finished while this one was being prepared."""
    if held.number == prepared.last_start + 1:
        return prepared
    return replace(prepared, todo=remaining(prepared.documents, prepared.ledger))


def _begin(prepared: Prepared, held: Lease) -> None:
    ledger = prepared.ledger
    ledger.write_manifest(prepared.documents, held.number)
    prepared.stopping.begin(held.number)
    prepared.observer.tell(
        RunStarted(
            _run(prepared, held),
            datetime.now(UTC),
            documents=len(prepared.todo),
            done_before=len(prepared.documents) - len(prepared.todo) + prepared.num_skipped,
            bytes=sum(document.size_bytes for document in prepared.todo),
            deadline=prepared.deadline,
        )
    )


def _summarize(prepared: Prepared, held: Lease) -> None:
    config, ledger, stopping = prepared.config, prepared.ledger, prepared.stopping
    tally = Tally(len(prepared.todo), sum(document.size_bytes for document in prepared.todo))
    with dataset.cluster(config) as cluster:
        on_gpu = devices.on_gpu(config, cluster)
        nodes = devices.nodes_of_choice(config, prepared.reads, prepared.rates, cluster, on_gpu)
        found = devices.usable_gpus(cluster, nodes) if on_gpu else ()
        for gpu, labels in found:
            # Those that are there now; an actor on a node that joins later checks for itself.
            prepared.rates.check_gpu(gpu, labels)
        assignment = _assignment(prepared, on_gpu, held.number)
        device, labels = found[0] if found else devices.best(nodes, assignment.device)
        kept = kept_states(prepared, assignment.device)
        others = partial(node.without_devices, on_gpu, config.engine.cpus_per_actor)
        # Beside the actors' start, which need not wait for a sample of the documents.
        about = (prepared, device, labels, kept, len(others()))
        quoting = Thread(target=_keep_quote, args=about, name="quote", daemon=True)
        # What is left for a later start is not what the run was thought to take.
        if held.number == 1:
            quoting.start()
        with _heard(prepared) as heartbeats:
            progress = _progress(prepared, tally, heartbeats)
            drain = Drain(stopping, heartbeats, held.number)

            def is_over() -> bool:
                # Here, since a driver that has lost its run must not keep GPUs busy until the next receipt.
                held.check()
                return drain.is_over

            with exported(prepared.observer), progress, drain, _shared_nodes(prepared, others, held):
                for receipt in dataset.receipts(_todo(prepared, kept), assignment, nodes, is_over):
                    _received(prepared, receipt, tally)
            stopping.end()
        if drain.is_over:
            log.info("rest_not_begun", run_id=ledger.run_id, documents=tally.documents_total - tally.received)
        if quoting.is_alive():
            quoting.join(QUOTE_SECONDS)


@contextmanager
def _heard(prepared: Prepared) -> Iterator[Heartbeats]:
    """What the actors tell the driver. The ledger has it in the end, before the commit, also of those that were killed;
    of a start whose driver was lost, at the next start if the cluster has lived on."""
    mailbox = Mailbox(prepared.ledger.uri)
    prepared.stopping.reach(mailbox)
    heartbeats = Heartbeats(prepared.ledger, mailbox, prepared.config.run.heartbeat_seconds)
    heartbeats.write()
    yield heartbeats
    heartbeats.write()
    with suppress(Exception):  # whatever it is: what is left are a few kilobytes, and they go with the head
        mailbox.clear()


def _progress(prepared: Prepared, tally: Tally, heartbeats: Heartbeats) -> Progress:
    run, currency, run_id = prepared.config.run, prepared.config.price.currency, prepared.ledger.run_id
    fleet = Fleet(run_id, tally, currency, run.budget_usd)

    def on_look(found: Sequence[Heartbeat]) -> None:
        prepared.observer.tell(fleet.measured(found))

    on_cost = None if run.budget_usd is None else prepared.stopping.spent
    return Progress(tally, currency, heartbeats, run_id, on_cost, on_look)


def _received(prepared: Prepared, receipt: Row, tally: Tally) -> None:
    tally.add(receipt["status"], receipt["size_bytes"], receipt["tokens_read"])
    prepared.observer.tell(DocumentReceived(prepared.ledger.run_id, **receipt))
    errors = prepared.error_budget
    errors.add(receipt)
    if errors.is_spent and prepared.stopping.reason is None:
        log.error("too_many_failed", run_id=prepared.ledger.run_id, reason=str(errors))
        prepared.stopping.ask("failures")


def _shared_nodes(prepared: Prepared, others: Callable[[], Nodes], held: Lease) -> AbstractContextManager[object]:
    rate = prepared.rates.of_node()
    if rate is None:
        return nullcontext()
    return SharedNodes(prepared.ledger, others, rate, prepared.config.run.heartbeat_seconds, held.number)


def _keep_quote(prepared: Prepared, device: str, labels: Labels, kept: Mapping[str, Row], other_nodes: int) -> None:
    """Keep a quote of the run, to be compared with it in the end; there is none for a device that nobody measured."""
    try:
        quoted = quote_of(prepared, device, kept, labels=labels, other_nodes=other_nodes, may_time=False)
        if quoted is not None:
            prepared.ledger.keep_quote(quoted.as_row())
    except LonghaulError as error:
        log.debug("no_quote", run_id=prepared.ledger.run_id, reason=str(error))
        return
    except Exception:  # a run need not end because nobody can say what it takes
        log.warning("no_quote", run_id=prepared.ledger.run_id, exc_info=True)
        return
    if quoted is not None:
        log.info(
            "quoted",
            run_id=prepared.ledger.run_id,
            tokens=quoted.tokens,
            cost=quantities.money(quoted.cost, quoted.currency),
            device_time=quantities.duration(quoted.device_seconds),
        )


def _todo(prepared: Prepared, kept: Mapping[str, Row]) -> list[dataset.Todo]:
    """Each document with the state that it can resume from, of this run before it was stopped or of an earlier one,
    and the attempts that were made at it."""
    saved, begun = prepared.ledger.snapshots(), history.begun_in(prepared.ledger)
    uris = {document_id: str(row["state_uri"]) for document_id, row in kept.items()}
    todo = []
    for document in prepared.todo:
        key = document_key(*key_of(document))
        state_uri = saved.get(key) or uris.get(document.document_id)
        todo.append(dataset.Todo(document, state_uri, begun.get(key, ())))
    return todo


def _assignment(prepared: Prepared, on_gpu: bool, start: int) -> Assignment:
    config = prepared.config
    device = "cuda" if on_gpu else "cpu"
    return Assignment(
        config=config,
        output_uri=prepared.ledger.output_uri,
        run_id=prepared.ledger.run_id,
        start=start,
        settings_sha256=prepared.settings_sha256,
        model_revision=prepared.reads.revision,
        device=device,
        dtype=config.model.dtype_on(device),
        state_key=state_key_of(prepared, device),
        rates=prepared.rates,
        deadline_us=prepared.deadline_us,
    )


def _about(prepared: Prepared) -> dict[str, Any]:
    config = prepared.config.model_dump(mode="json")
    return {
        "run_id": prepared.ledger.run_id,
        "started_at": datetime.now(UTC).isoformat(),
        "settings_sha256": prepared.settings_sha256,
        "model_id": prepared.config.model_id,
        "model_revision": prepared.reads.revision,
        "config": config,
    }
