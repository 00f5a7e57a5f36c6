"""Lineage in OpenLineage: what a run reads and writes, and how each start of it ended.

START and then COMPLETE, ABORT (it was stopped, and the same command resumes it) or FAIL, under one id, which follows
from the run and the number of its start. The server, its key and how it is asked are openlineage-python's own settings.
"""

import os
import queue
import re
from datetime import datetime
from threading import Thread
from uuid import NAMESPACE_URL, uuid5

import structlog
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, RunEvent, RunState
from openlineage.client.event_v2 import Run as LineageRun
from openlineage.client.facet_v2 import (
    JobFacet,
    RunFacet,
    error_message_run,
    job_type_job,
    parent_run,
    tags_run,
)

from configs.credentials import masked
from configs.errors import ConfigError
from pipeline.telemetry.events import Event, Run, RunCommitted, RunFailed, RunStarted

log = structlog.get_logger()

CLOSE_SECONDS = 10.0
"""To send what is left in."""
NAMESPACE, PARENT = "OPENLINEAGE_NAMESPACE", "OPENLINEAGE_PARENT_ID"
PRODUCER = "longhaul:jobs.summarize"
TABLES = ("summaries", "failures", "costs", "jobs")
SCHEMES = {"s3a": "s3", "gcs": "gs", "abfs": "abfss", "az": "abfss"}
"""As OpenLineage's naming of datasets has them."""


class Lineage:
    """A sink of a driver's. Events are sent one after the other, in a thread."""

    def __init__(self, variable: str) -> None:
        """`variable` is what asked for it. Raises ConfigError where openlineage-python cannot make sense of its
        settings."""
        self._parent = _parent()
        try:
            self._client = OpenLineageClient()
            is_configured = self._client.config.transport
        except Exception as error:  # whatever it is that settings which nobody checked lead to
            raise ConfigError(f"{variable}: openlineage-python cannot use this: {masked(str(error))}") from error
        if not is_configured:
            raise ConfigError(f"{variable} is set, and openlineage-python finds no transport in its settings")
        self._has_begun = False
        self._events: queue.SimpleQueue[RunEvent | None] = queue.SimpleQueue()
        self._sending = Thread(target=self._send, name="lineage", daemon=True)

    def take(self, event: Event) -> None:
        """Events of the run as a whole."""
        match event:
            case RunStarted():
                self._begin(event.run, event.at)
            case RunCommitted():
                # Nothing may have been left to start.
                self._begin(event.run, event.started_at)
                state = RunState.COMPLETE if event.stopped_by is None else RunState.ABORT
                self._tell(state, event.run, event.ended_at, {"tags": _tags(event)})
            case RunFailed():
                self._begin(event.run, event.started_at)
                # A second Ctrl-C, which saves nothing.
                state = RunState.ABORT if event.error_class == "KeyboardInterrupt" else RunState.FAIL
                self._tell(state, event.run, event.ended_at, {"errorMessage": _reason(event)})

    def close(self) -> None:
        """Send what is left. A server that does not answer is waited for no longer than CLOSE_SECONDS."""
        self._events.put(None)
        if self._sending.is_alive():
            self._sending.join(CLOSE_SECONDS)

    def _begin(self, run: Run, at: datetime) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._sending.start()
            self._tell(RunState.START, run, at, {})

    def _tell(self, state: RunState, run: Run, at: datetime, facets: dict[str, RunFacet]) -> None:
        facets = facets | ({"parent": self._parent} if self._parent else {})
        self._events.put(
            RunEvent(
                eventTime=at.isoformat(),
                eventType=state,
                producer=PRODUCER,
                run=LineageRun(str(uuid5(NAMESPACE_URL, f"{run.output_uri}#{run.run_id}#{run.start}")), facets),
                job=_job(run),
                inputs=[InputDataset(*dataset(source)) for source in run.sources],
                outputs=[OutputDataset(*dataset(f"{run.output_uri.rstrip('/')}/{table}")) for table in TABLES],
            )
        )

    def _send(self) -> None:
        has_failed = False
        while (event := self._events.get()) is not None:
            try:
                self._client.emit(event)
            except Exception as error:  # whatever it is, the run goes on
                if not has_failed:
                    log.warning("lineage_not_delivered", problem=type(error).__name__)
                has_failed = True


def dataset(uri: str) -> tuple[str, str]:
    """Namespace and name of what lies at a URI, or matches a glob, as OpenLineage's specification names datasets."""
    scheme, found, rest = uri.rpartition("://")
    if not found or scheme == "file":
        return "file", _without_pattern(os.path.abspath(os.path.expanduser(rest)))  # noqa: PTH100, PTH111, a URI
    authority, _, path = rest.partition("/")
    scheme = SCHEMES.get(scheme.lower(), scheme.lower())
    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if scheme == "abfss" and "@" not in authority and account:
        authority = f"{authority}@{account}.dfs.core.windows.net"
    return f"{scheme}://{authority}", _without_pattern(path).strip("/") or "/"


def _without_pattern(path: str) -> str:
    parts = re.split("(?=/)", path)
    plain = next((index for index, part in enumerate(parts) if re.search(r"[*?\[]", part)), len(parts))
    return "".join(parts[:plain])


def _job(run: Run) -> Job:
    """Nights into the same output are one job."""
    facets: dict[str, JobFacet] = {
        "jobType": job_type_job.JobTypeJobFacet(
            processingType="BATCH", integration="LONGHAUL", jobType="JOB", producer=PRODUCER
        )
    }
    namespace, name = dataset(run.output_uri)
    where = f"{namespace.partition('://')[2]}/{name}".strip("/")
    return Job(os.environ.get(NAMESPACE) or "longhaul", f"summarize/{where}", facets)


def _parent() -> parent_run.ParentRunFacet | None:
    """Of what started this, if that said so. Raises ConfigError."""
    given = os.environ.get(PARENT)
    if not given:
        return None
    try:
        namespace, name, run_id = given.rsplit("/", 2)
        parent = parent_run.Run(run_id)
    except ValueError as error:
        raise ConfigError(f"{PARENT} = {given!r}: it should be NAMESPACE/JOB/RUN, where RUN is a UUID") from error
    return parent_run.ParentRunFacet(parent, parent_run.Job(namespace, name), producer=PRODUCER)


def _reason(event: RunFailed) -> error_message_run.ErrorMessageRunFacet:
    told = ": ".join(filter(None, (event.error_class, event.error_message)))
    return error_message_run.ErrorMessageRunFacet(masked(told), programmingLanguage="python", producer=PRODUCER)


def _tags(event: RunCommitted) -> tags_run.TagsRunFacet:
    """What it came to, of all starts of the run."""
    told = {
        "run_id": event.run.run_id,
        "status": event.status,
        "stopped_by": event.stopped_by,
        "documents_succeeded": event.succeeded,
        "documents_failed": event.failed,
        "documents_left": event.left,
        "tokens_read": event.tokens_read,
        "cost": f"{event.cost:f}",
        "currency": event.currency,
    }
    tags = [
        tags_run.TagsRunFacetFields(key, str(value), "LONGHAUL") for key, value in told.items() if value is not None
    ]
    return tags_run.TagsRunFacet(tags, producer=PRODUCER)
