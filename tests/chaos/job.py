"""`jobs.summarize` on a cluster, watched by way of its ledger, and what must be true of all that it leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from pipeline.ledger.records import MeterReading, Underway
from pipeline.ledger.run_folder import Ledger
from pipeline.reports.warehouse import Warehouse
from pipeline.storage import objects
from tests.waiting import PATIENCE_SECONDS, wait_for
from tests.worker import assert_tokens_add_up

ROOT = Path(__file__).parents[2]
RUN_ID = "chaos"
HEARTBEAT_SECONDS = 0.2
FINISH_SECONDS = 1200
RESTART_SECONDS = 600


@dataclass(frozen=True)
class Undisturbed:
    """What a run says that nothing happens to; by the names of the documents."""

    texts: dict[str, str]
    tokens: dict[str, int]
    seconds: float

    @property
    def tokens_total(self) -> int:
        return sum(self.tokens.values())


@dataclass(frozen=True)
class Toll:
    """What a fault cost."""

    attempts: int
    lost: int
    actors: int
    tokens_twice: int
    wasted_seconds: Decimal
    lost_seconds: dict[str, Decimal]
    """Of wasted work of attempts that were lost, by actor."""

    def __str__(self) -> str:
        parts = [f"{self.attempts} attempts ({self.lost} lost) by {self.actors} actors"]
        parts += [f"{self.tokens_twice} tokens read twice", f"{self.wasted_seconds:.3f} device-seconds wasted"]
        return ", ".join(parts)


class Job:
    """One command, which can be started again. Leaving the context kills what runs."""

    def __init__(
        self,
        environment: Mapping[str, str],
        sources: Iterable[str],
        output: str,
        log: Path,
        *settings: str,
        run_id: str | None = RUN_ID,
    ) -> None:
        """`run_id` None: the run finds its own, and the ledger is not known."""
        given = [f"input.sources={json.dumps(list(sources))}", f"output.uri={output}", *settings]
        given += [] if run_id is None else [f"run.id={run_id}"]
        self.command = [sys.executable, "-m", "jobs.summarize", "configs/demo.yaml", *given]
        self.output, self.log = output, log
        self.ledger = Ledger(output, run_id or "unknown")
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, env=self._environment, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT
            )

    def kill(self) -> None:
        self._running.kill()
        self._running.wait()

    def freeze(self) -> None:
        """The driver stands still, as on a machine that is out of memory, or whose disk hangs."""
        self._running.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._running.send_signal(signal.SIGCONT)

    def interrupt(self) -> None:
        self._running.send_signal(signal.SIGINT)

    def finish(self, seconds: float = FINISH_SECONDS) -> int:
        """Its exit code."""
        try:
            return self._running.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the job hangs:\n{self.told()}") from None

    def is_over(self) -> bool:
        return self._running.poll() is not None

    def told(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

    def readings(self) -> dict[str, MeterReading]:
        """The last heartbeat of every actor, by its id."""
        return {
            heartbeat.reading.actor_id: heartbeat.reading
            for heartbeat in self.ledger.heartbeats()
            if heartbeat.reading.is_of_actor
        }

    def tokens_read(self) -> int:
        return sum(reading.tokens_read for reading in self.readings().values())

    def wait_for_tokens(self, tokens: int, seconds: float = PATIENCE_SECONDS) -> None:
        """Until so many have been read in all."""

        def read() -> bool:
            assert not self.is_over(), f"the job ended before the fault:\n{self.told()}"
            return self.tokens_read() >= tokens

        wait_for(read, f"{tokens} tokens are read", self.told, seconds)

    def node_with_something_to_lose(self) -> str:
        """Ray's id of the node of the actor that has most documents with work that no snapshot holds. One that came
        late may have only short documents, between two heartbeats."""
        at_stake: dict[str, list[Underway]] = {}

        def some() -> bool:
            for heartbeat in self.ledger.heartbeats():
                at_stake[heartbeat.reading.actor_id] = [each for each in heartbeat.underway if each.spent.at_stake]
            assert not self.is_over(), f"the job ended before the fault:\n{self.told()}"
            return any(at_stake.values())

        wait_for(some, "an actor is in the middle of a document", self.told)
        actor_id = max(at_stake, key=lambda each: len(at_stake[each]))
        claims = self.ledger.claims_without_an_end({})
        return next(claim.node_id for claim in claims if claim.actor_id == actor_id)

    def seconds_until_another_works(self, known: Iterable[str], since: float) -> float:
        """From `since`, on the monotonic clock, until an actor that is not known has read tokens."""
        before = set(known)

        def works() -> bool:
            new = [reading for id, reading in self.readings().items() if id not in before]
            return any(reading.tokens_read for reading in new) or self.is_over()

        wait_for(works, "another actor works", self.told, RESTART_SECONDS)
        assert not self.is_over(), f"no other actor was needed:\n{self.told()}"
        return time.monotonic() - since

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "start it first"
        return self._process


def undisturbed(job: Job, seconds: float) -> Undisturbed:
    rows = Warehouse(job.output).rows("select document_id, summary, tokens_total from summaries")
    texts = {name_of(row): row["summary"] for row in rows}
    return Undisturbed(texts, {name_of(row): row["tokens_total"] for row in rows}, seconds)


def assert_nothing_is_lost(job: Job, expected: Undisturbed, logs: Iterable[Path], failed: Iterable[str] = ()) -> Toll:
    """Every document has its one row, the text is that of an undisturbed run, money adds up, no secret is told."""
    tables = Warehouse(job.output)
    summaries = tables.rows("select * from summaries")
    failures = tables.rows("select * from failures") if failed else []
    assert Counter(map(name_of, failures)) == Counter(failed)
    assert Counter(map(name_of, summaries)) == Counter(expected.texts.keys() - set(failed))
    differing = [name_of(row) for row in summaries if row["summary"] != expected.texts[name_of(row)]]
    assert not differing
    for row in summaries:
        assert row["tokens_total"] == row["tokens_read"] == expected.tokens[name_of(row)]
        assert (row["status"], row["truncated"]) == ("ok", False)
    costs = tables.rows("select * from costs")
    (about,) = tables.rows("select * from jobs")
    assert_costs_add_up(job, about, costs, [*summaries, *failures])
    assert_no_secret(job, logs)
    assert_tokens_add_up(costs, summaries)
    assert about["tokens_read"] == sum(row["tokens_read"] or 0 for row in costs)
    return toll(costs)


def assert_costs_add_up(job: Job, about: dict[str, Any], costs: list[dict], answers: list[dict]) -> None:
    """To the last digit: over rows, over actors, over attempts and over documents."""
    of_devices = [row for row in costs if row["kind"] != "node"]
    assert sum((row["cost"] for row in costs), Decimal(0)) == about["cost"]
    assert sum((row["device_seconds"] for row in of_devices), Decimal(0)) == about["device_seconds"]
    assert sum((row["full_cost"] for row in answers), Decimal(0)) == about["cost"]
    assert len(of_devices) < len(costs), "the head costs something"
    assert all(row["device_seconds"] * row["price_per_second"] == row["cost"] for row in costs)
    of_documents = sum((row["cost"] for row in costs if row["kind"] == "document"), Decimal(0))
    assert sum((row["cost"] for row in answers), Decimal(0)) == of_documents > 0

    by_actor: dict[str, Decimal] = {}
    for row in costs:
        by_actor[row["actor_id"]] = by_actor.get(row["actor_id"], Decimal(0)) + row["device_seconds"]
    shown = metered(job.ledger)
    assert by_actor.keys() >= shown.keys()
    # Ray ends processes a moment after it was asked to: what one still tells of while tables are made is in no bill.
    about_now = about["finished_at"].timestamp() - 1
    late = {reading.actor_id for reading in job.readings().values() if reading.read_us / 1e6 > about_now}
    for actor_id, seconds in by_actor.items():
        shown_seconds = shown.get(actor_id, Decimal(0))
        assert seconds == shown_seconds or (actor_id in late and seconds < shown_seconds), actor_id

    attempts = [(row["document_id"], row["attempt"]) for row in costs if row["document_id"]]
    assert len(set(attempts)) == len(job.ledger.claims_without_an_end({}))
    of_attempts = Counter((row["document_id"], row["attempt"]) for row in costs if row["kind"] == "document")
    assert max(of_attempts.values()) == 1
    finished = Counter(row["document_id"] for row in costs if row["outcome"] == "finished")
    assert max(finished.values()) == 1
    unnamed = [row for row in costs if row["document_id"] and row["kind"] == "wasted" and row["outcome"] is None]
    assert not unnamed


def metered(ledger: Ledger) -> dict[str, Decimal]:
    """Device-seconds on each actor's meter when it last told of it: at a heartbeat or with a document."""
    readings = [heartbeat.reading for heartbeat in ledger.heartbeats()] + [
        MeterReading(**entry["reading"]) for entry in ledger.entries(["reading"]) if entry["reading"] is not None
    ]
    seconds: dict[str, Decimal] = {}
    for reading in readings:
        shown = Decimal(reading.total_us) / 1_000_000 * reading.devices
        seconds[reading.actor_id] = max(shown, seconds.get(reading.actor_id, Decimal(0)))
    return seconds


def assert_no_secret(job: Job, logs: Iterable[Path]) -> None:
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    assert secret not in job.log.read_bytes()
    telling = [file for file in objects.list_files(job.output) if secret in objects.read_bytes(file)]
    for file in logs:
        with suppress(FileNotFoundError):
            if secret in file.read_bytes():
                telling.append(str(file))
    assert not telling


def toll(costs: list[dict]) -> Toll:
    lost: dict[str, Decimal] = {}
    for row in costs:
        if row["kind"] == "wasted" and row["outcome"] == "lost":
            lost[row["actor_id"]] = lost.get(row["actor_id"], Decimal(0)) + row["device_seconds"]
    return Toll(
        attempts=len({(row["document_id"], row["attempt"]) for row in costs if row["document_id"]}),
        lost=sum(row["kind"] == "document" and row["outcome"] == "lost" for row in costs),
        actors=len({row["actor_id"] for row in costs if row["kind"] != "node"}),
        tokens_twice=sum(row["tokens_wasted"] or 0 for row in costs),
        wasted_seconds=sum((row["device_seconds"] for row in costs if row["kind"] == "wasted"), Decimal(0)),
        lost_seconds=lost,
    )


def name_of(row: Mapping[str, Any]) -> str:
    return str(row["document_id"]).rsplit("/", 1)[-1]
