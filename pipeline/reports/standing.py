"""How a run stands, for whoever can read its output: from its ledger while it goes on, then from its tables."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

from configs.errors import ConfigError
from pipeline.ledger import commits, lease
from pipeline.ledger.records import Heartbeat, Underway
from pipeline.ledger.run_folder import Ledger, runs
from pipeline.reports.warehouse import Warehouse

State = Literal["running", "silent", "succeeded", "partial", "stopped", "ended"]
"""`silent`: the driver neither lives nor ended in good order. `ended`: in good order, without a commit."""
SILENT_SECONDS, SILENT_HEARTBEATS = 60.0, 4
"""An actor whose last heartbeat is older, and that has missed so many, is not counted as at work."""
COMMITTED = ("succeeded", "partial", "stopped")
JOB = """
    SELECT documents_total AS documents, documents_succeeded AS succeeded, documents_failed AS failed, tokens_read, cost
    FROM jobs WHERE run_id = $run
"""


@dataclass(frozen=True)
class Standing:
    """A run at one moment."""

    run_id: str
    state: State
    started_at: datetime
    starts: int
    documents: int
    succeeded: int
    failed: int
    tokens_read: int
    tokens_per_second: float
    """Of the actors at work."""
    cost: Decimal
    """Of all starts so far; of a run that goes on, by the actors' meters."""
    currency: str
    actors: int
    """At work."""
    underway: tuple[Underway, ...]
    """What these are at, those with the most tokens read first."""

    @property
    def left(self) -> int:
        return max(0, self.documents - self.succeeded - self.failed)


def of(output_uri: str, run_id: str | None = None) -> Standing:
    """The run's standing, or the newest run's. Takes a few seconds where a driver may be at work.

    Raises ConfigError where there is no such run, and StorageError.
    """
    ledger = _find(output_uri, run_id)
    about = ledger.about()
    assert about is not None, "`_find` gives runs that have begun"
    # Looked at first: a run that ends meanwhile is committed when the marker is read.
    is_at_work = lease.is_at_work(ledger)
    beats = ledger.heartbeats()
    every_seconds = about["config"]["run"]["heartbeat_seconds"]
    at_work = [beat for beat in beats if is_at_work and _is_at_work(beat, every_seconds)]
    finished, failed = _documents(ledger)
    standing = Standing(
        run_id=ledger.run_id,
        state=_state(ledger, is_at_work),
        started_at=datetime.fromisoformat(about["started_at"]),
        starts=len(lease.starts(ledger)),
        documents=ledger.num_documents(),
        succeeded=len(finished),
        failed=len(failed),
        tokens_read=sum(beat.reading.tokens_read for beat in beats),
        tokens_per_second=sum(beat.reading.tokens_per_second for beat in at_work),
        cost=sum((beat.reading.rate.cost(beat.reading.total_us) for beat in beats), Decimal(0)),
        currency=about["config"]["price"]["currency"],
        actors=len(at_work),
        underway=tuple(
            sorted((each for beat in at_work for each in beat.underway), key=lambda each: -each.tokens_read)
        ),
    )
    if standing.state not in COMMITTED:
        return standing
    rows = Warehouse(output_uri).rows(JOB, run=ledger.run_id)
    return replace(standing, **rows[0]) if rows else standing


def _find(output_uri: str, run_id: str | None) -> Ledger:
    if run_id is not None and (ledger := Ledger(output_uri, run_id)).about() is not None:
        return ledger
    known = runs(output_uri)
    if run_id is None and known:
        return known[0]
    told = f"there is no run {run_id!r}" if known else "no run has begun"
    names = ", ".join(each.run_id for each in known[:5])
    raise ConfigError(f"{told} in {output_uri}" + (f"; the newest are {names}" if known else ""))


def _state(ledger: Ledger, is_at_work: bool) -> State:
    if is_at_work:
        return "running"
    if lease.newest_over(ledger) < 0:
        return "silent"
    marker = commits.newest(ledger)
    if marker is None or marker["number"] < ledger.last_begun():
        return "ended"
    status: State = marker["status"]
    return status


def _documents(ledger: Ledger) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Those that finished, and those that failed and did not finish."""
    by_outcome: dict[str, set[tuple[str, str]]] = {"finished": set(), "failed": set()}
    for entry in ledger.entries(["source_etag", "outcome"]):
        if entry["outcome"] in by_outcome:
            by_outcome[entry["outcome"]].add((entry["document_id"], entry["source_etag"]))
    return by_outcome["finished"], by_outcome["failed"] - by_outcome["finished"]


def _is_at_work(beat: Heartbeat, every_seconds: float) -> bool:
    age = datetime.now(UTC).timestamp() - beat.reading.read_us / 1e6
    return (
        beat.reading.is_of_actor
        and not beat.is_stopped
        and age < max(SILENT_SECONDS, SILENT_HEARTBEATS * every_seconds)
    )
