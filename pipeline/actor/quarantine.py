"""Which documents get the engine to themselves, and which are given up, by how earlier attempts at them ended.

A process that dies takes every document in it along, and nobody can tell which of them killed it. Three things count
against all of them: a process that died on a node that lives on, for that is memory or a crash in native code; an actor
whose device failed, against those in its engine; and a node that went away, but little, for spot nodes go without
notice, and only a document that takes node after node along is to blame for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from configs.errors import ProcessKilledError
from pipeline.actor.job import Job
from pipeline.ledger.device_failures import DeviceFailure, DeviceFailures
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.attempt import Begun

LAST_ATTEMPTS = 2
"""Made in quarantine, before a document is given up."""
NODES_PER_PROCESS = 4
"""Nodes that go away count as much as one process that dies."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Deaths:
    """Of attempts since the document last got further or an attempt came to an orderly end."""

    processes: int = 0
    nodes: int = 0
    failure: DeviceFailure | None = None
    """The last one, if the device failed."""

    @property
    def count(self) -> int:
        return self.processes + self.nodes // NODES_PER_PROCESS

    def __str__(self) -> str:
        nodes = f" and {self.nodes} nodes" if self.nodes else ""
        return f"{self.processes} processes{nodes}"


class Quarantine:
    """Judges the documents of one run."""

    def __init__(self, ledger: Ledger, max_attempts: int, is_alive: Callable[[str], bool]) -> None:
        """`is_alive` says whether a node, by Ray's id, is still there."""
        self._most, self._is_alive = max_attempts, is_alive
        self._failures = DeviceFailures(ledger)

    def judged(self, job: Job, attempts: Sequence[Begun]) -> Job:
        """Quarantined, or failed, where processes keep dying at the document at the same place. `attempts` are those
        before this one, in their order."""
        deaths = self._deaths(job, attempts)
        if deaths.count < self._most:
            return replace(job, quarantined=deaths.count >= max(1, self._most - LAST_ATTEMPTS))
        log.warning("document_kills_processes", document_id=job.document_id, deaths=deaths.count)
        return replace(job.failing(self._error(job, deaths)), quarantined=False)

    def _error(self, job: Job, deaths: Deaths) -> ProcessKilledError:
        reason = "it takes too much memory, or native code crashes on it"
        if deaths.failure is not None:
            reason = f"the device failed with {deaths.failure.reason}"
        return ProcessKilledError(
            f"{deaths} died at this document with {job.tokens_resumed:,} of its tokens read, the last "
            f"{min(LAST_ATTEMPTS, self._most - 1)} while they read nothing else: {reason}."
        )

    def _deaths(self, job: Job, attempts: Sequence[Begun]) -> Deaths:
        deaths = Deaths()
        for attempt in reversed(attempts):
            if attempt.tokens_before < job.tokens_resumed or attempt.has_ended:
                break
            failure = self._failures.of(attempt.actor_id)
            if failure is None and not self._is_alive(attempt.node_id):
                deaths = replace(deaths, nodes=deaths.nodes + 1)
            elif failure is None or job.key in failure.documents:
                deaths = replace(deaths, processes=deaths.processes + 1, failure=deaths.failure or failure)
        return deaths
