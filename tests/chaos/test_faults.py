"""Faults in the middle of a run: whatever they are, every document has one row, texts are the same, money adds up.

`make chaos` runs all of them and prints what each cost; CI runs those that are not marked `chaos`.
"""

import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from itertools import count
from pathlib import Path
from pydoc_data.topics import topics

import psutil
import pytest

from jobs import exits
from pipeline.ledger import commits
from pipeline.ledger.run_folder import runs
from pipeline.reports.warehouse import Warehouse
from pipeline.storage import objects
from pipeline.storage import s3 as s3_files
from tests.chaos import poison
from tests.chaos.cluster import Cluster
from tests.chaos.fleet import ACTOR, CPUS_PER_ACTOR, Fleet
from tests.chaos.job import (
    FINISH_SECONDS,
    HEARTBEAT_SECONDS,
    RESTART_SECONDS,
    RUN_ID,
    Job,
    Toll,
    Undisturbed,
    assert_nothing_is_lost,
    undisturbed,
)
from tests.faulty_store import FaultyStore
from tests.waiting import PATIENCE_SECONDS

NUM_LONG, LONG_CHARS, NUM_SHORT = 8, 30_000, 20
INLINE_BYTES = 10_000
LOST_SECONDS = 1.0
SETTINGS = (
    "prompts=[{name: summary, instruction: Summarize., max_tokens: 12}]",
    "engine.actors=2",
    f"engine.cpus_per_actor={CPUS_PER_ACTOR}",
    # As many long documents for each actor as it takes at once, so that both are busy to the end.
    "engine.slots=3",
    "engine.documents_per_batch=1",
    "engine.step_tokens=32",
    f"input.inline_bytes={INLINE_BYTES}",
    f"snapshot.max_lost_device_seconds={LOST_SECONDS}",
    f"run.heartbeat_seconds={HEARTBEAT_SECONDS}",
    "price.node_hour=0.36",
)
STRUCK_AT = 0.3
"""The share of all tokens that have been read when a fault strikes."""
STORE_FAULTS = {"slow_down": 0.01, "internal_error": 0.01, "reset": 0.01, "cut": 0.01, "lost": 0.01}
KILLS = 50
FROZEN_SECONDS = 200
"""Longer than a driver on another machine is waited for."""

NewJob = Callable[..., Job]


@pytest.fixture(scope="module")
def store(s3) -> Iterator[FaultyStore]:
    """What stands between everybody and the S3 server; it fails when a test says so."""
    with FaultyStore(os.environ["AWS_ENDPOINT_URL_S3"], seed=5) as faulty, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", faulty.url)
        s3_files.Files.clear_instance_cache()
        yield faulty
        s3_files.Files.clear_instance_cache()


@pytest.fixture(scope="module")
def fleet(store, tmp_path_factory) -> Iterator[Fleet]:
    site = tmp_path_factory.mktemp("site")
    poison.install(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
        patch.syspath_prepend(site)
        # Threads that wait for one another by spinning are slow where there are fewer cores than the cluster believes.
        patch.setenv("OMP_THREAD_LIMIT", "1")
        with Cluster() as cluster:
            yield Fleet(cluster)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """Long documents, which are streamed, and short ones, which travel."""
    folder = tmp_path_factory.mktemp("library")
    shuffled = random.Random(1)
    texts = sorted(topics.values())
    for index in range(NUM_LONG):
        shuffled.shuffle(texts)
        (folder / f"long {index}.txt").write_text("\n\n".join(texts)[:LONG_CHARS], encoding="utf-8")
    short = [text for text in texts if 500 < len(text) < 2500][:NUM_SHORT]
    for index, text in enumerate(short):
        (folder / f"short {index}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def bucket(s3, library) -> str:
    """With the library in it, below in/."""
    uri = s3.new_bucket()
    for file in library.iterdir():
        objects.publish(f"{uri}/in/{file.name}", file.read_bytes())
    return uri


@pytest.fixture(scope="module")
def new_job(fleet, small_model, library, tmp_path_factory) -> NewJob:
    """A job over the library, or over other sources, with two nodes for actors ready."""
    numbers = count()

    def make(
        *settings: str, sources: list[str] | None = None, output: str | None = None, run_id: str | None = RUN_ID
    ) -> Job:
        fleet.muster()
        folder = tmp_path_factory.mktemp(f"job{next(numbers)}")
        output = output or str(folder / "output")
        given = (f"model.uri={small_model}", *SETTINGS, *settings)
        log = folder / "log"
        return Job(fleet.cluster.environment, sources or [str(library)], output, log, *given, run_id=run_id)

    return make


@pytest.fixture(scope="module")
def expected(new_job) -> Undisturbed:
    started = time.monotonic()
    with new_job() as job:
        assert job.finish() == exits.SUCCESS, job.told()
    calm = undisturbed(job, time.monotonic() - started)
    assert len(set(calm.texts.values())) > len(calm.texts) / 2
    say("nothing", calm.seconds, f"{len(calm.texts)} documents, {calm.tokens_total} tokens")
    return calm


@pytest.fixture
def until_struck(expected) -> int:
    return round(STRUCK_AT * expected.tokens_total)


def say(fault: str, seconds: float, words: object, recovery: float | None = None) -> None:
    again = "" if recovery is None else f", another actor worked after {recovery:.1f} s"
    print(f"\n{fault}: {seconds:.0f} s, {words}{again}")


class Timed:
    """A job that is struck by something, from its start to its account."""

    def __init__(self, fault: str, job: Job, expected: Undisturbed, fleet: Fleet) -> None:
        self.fault, self.job, self.expected, self.fleet = fault, job, expected, fleet
        self.started = time.monotonic()
        self.recovery: float | None = None

    def ends_well(
        self, code: int = exits.SUCCESS, failed: tuple[str, ...] = (), seconds: float = FINISH_SECONDS
    ) -> Toll:
        assert self.job.finish(seconds) == code, self.job.told()
        toll = assert_nothing_is_lost(self.job, self.expected, self.fleet.logs(), failed)
        say(self.fault, time.monotonic() - self.started, toll, self.recovery)
        return toll


def assert_read_once(toll: Toll) -> None:
    assert (toll.tokens_twice, toll.lost) == (0, 0)


def test_kill_9_of_an_actor_costs_no_more_than_what_was_at_stake(new_job, fleet, expected, until_struck):
    with new_job() as job:
        timed = Timed("kill -9 of an actor", job, expected, fleet)
        job.wait_for_tokens(until_struck)
        known = job.readings()
        fleet.home(job.node_with_something_to_lose()).workers(ACTOR)[0].kill()
        timed.recovery = job.seconds_until_another_works(known, time.monotonic())
        toll = timed.ends_well()
    assert toll.lost > 0
    # Of what was lost a snapshot may have held everything, just then.
    assert len(toll.lost_seconds) <= 1
    assert sum(toll.lost_seconds.values()) <= at_most_lost()


def at_most_lost() -> Decimal:
    """Device-seconds at stake when a snapshot is due, and those until the next heartbeat tells of it."""
    return Decimal(LOST_SECONDS + CPUS_PER_ACTOR * (HEARTBEAT_SECONDS + 2))


@pytest.mark.chaos
def test_a_node_vanishes(new_job, fleet, expected, until_struck, bucket):
    """With documents from S3 and rows to it."""
    with new_job(sources=[f"{bucket}/in/"], output=f"{bucket}/out") as job:
        timed = Timed("SIGKILL of a node", job, expected, fleet)
        job.wait_for_tokens(until_struck)
        known = job.readings()
        fleet.home(job.node_with_something_to_lose()).kill()
        struck = time.monotonic()
        time.sleep(2)
        fleet.add()
        timed.recovery = job.seconds_until_another_works(known, struck)
        toll = timed.ends_well()
    assert toll.lost > 0


@pytest.mark.chaos
def test_a_node_that_drains_loses_no_token(new_job, fleet, expected, until_struck):
    with new_job() as job:
        timed = Timed("drain of a node", job, expected, fleet)
        job.wait_for_tokens(until_struck)
        known = job.readings()
        home = fleet.homes()[0]
        actors = home.workers(ACTOR)
        drained = time.monotonic()
        home.drain(30)
        spare = fleet.add()
        _, alive = psutil.wait_procs(actors, timeout=PATIENCE_SECONDS)
        assert not alive
        left = time.monotonic() - drained
        assert spare.node_id
        timed.recovery = job.seconds_until_another_works(known, time.monotonic())
        toll = timed.ends_well()
    assert_read_once(toll)
    print(f"  the drained actor had left after {left:.1f} s")


@pytest.mark.chaos
def test_sigterm_to_a_node_loses_no_token(new_job, fleet, expected, until_struck):
    with new_job() as job:
        timed = Timed("SIGTERM to a node", job, expected, fleet)
        job.wait_for_tokens(until_struck)
        known = job.readings()
        home = fleet.homes()[0]
        struck = time.monotonic()
        home.terminate()
        fleet.add()
        timed.recovery = job.seconds_until_another_works(known, struck)
        home.process.wait(PATIENCE_SECONDS)
        toll = timed.ends_well()
    assert_read_once(toll)


@pytest.mark.chaos
def test_kill_9_of_the_driver_and_the_same_command_again(new_job, fleet, expected, until_struck):
    with new_job() as job:
        timed = Timed("kill -9 of the driver", job, expected, fleet)
        job.wait_for_tokens(until_struck)
        job.kill()
        known = job.readings()
        struck = time.monotonic()
        job.start()
        timed.recovery = job.seconds_until_another_works(known, struck)
        toll = timed.ends_well()
    assert toll.attempts > len(expected.texts)


@pytest.mark.chaos
def test_a_store_that_fails_now_and_then(new_job, fleet, expected, store, bucket):
    with new_job(sources=[f"{bucket}/in/"], output=f"{bucket}/out") as job:
        timed = Timed("5 % of requests fail", job, expected, fleet)
        store.rates = STORE_FAULTS
        try:
            code = job.finish()
        finally:
            store.rates = {}
        assert code == exits.SUCCESS, job.told()
        toll = timed.ends_well()
    assert store.injected.keys() == STORE_FAULTS.keys()
    print(f"  {sum(store.injected.values())} faults: {dict(store.injected)}")
    assert_read_once(toll)


@pytest.mark.chaos
def test_a_document_that_kills_actors_fails_alone(new_job, fleet, expected, library):
    sources = [str(library / "short *.txt"), f"gs://{library}/long 0.txt", str(library / "long 1.txt")]
    chosen = {name for name in expected.texts if name.startswith("short") or name in ("long 0.txt", "long 1.txt")}
    few = Undisturbed(
        *({name: of[name] for name in chosen} for of in (expected.texts, expected.tokens)), expected.seconds
    )
    with new_job("engine.max_attempts=2", sources=sources) as job:
        timed = Timed("a document that kills actors", job, few, fleet)
        timed.ends_well(exits.PARTIAL, failed=("long 0.txt",))
    (failure,) = Warehouse(job.output).rows("select * from failures")
    assert failure["error_class"] == "ProcessKilledError"
    assert failure["tokens_read"] == 0


@pytest.mark.chaos
def test_an_interrupted_run_goes_on_where_it_stopped(new_job, fleet, expected, until_struck):
    with new_job() as job:
        timed = Timed("Ctrl-C and the same command again", job, expected, fleet)
        job.wait_for_tokens(until_struck)
        job.interrupt()
        assert job.finish() == exits.INTERRUPTED, job.told()
        assert Warehouse(job.output).rows("select status, documents_left > 0 as some from jobs") == [
            {"status": "stopped", "some": True}
        ]
        known = job.readings()
        struck = time.monotonic()
        job.start()
        timed.recovery = job.seconds_until_another_works(known, struck)
        toll = timed.ends_well()
    assert_read_once(toll)
    assert toll.attempts > len(expected.texts)


@pytest.mark.chaos
def test_of_two_starts_of_one_command_at_the_same_instant_one_works(new_job, fleet, expected, store, bucket):
    """Both have found no run, and the store hears of both at once."""
    output = f"{bucket}/out"
    gate = store.hold("PUT", "/_commands/")
    with new_job(output=output, run_id=None) as one, new_job(output=output, run_id=None) as other:
        gate.wait_for(2, RESTART_SECONDS)
        gate.opened.set()
        codes = {job: job.finish() for job in (one, other)}
        winner, loser = sorted(codes, key=lambda job: codes[job])
        assert (codes[winner], codes[loser]) == (exits.SUCCESS, exits.REFUSED), one.told() + other.told()
    (run,) = runs(output)
    assert f"the same command was started a moment before, as run.id = {run.run_id!r}" in loser.told()
    winner.ledger = run
    toll = assert_nothing_is_lost(winner, expected, fleet.logs())
    say("two starts of one command at the same instant", 0, toll)
    assert_read_once(toll)


@pytest.mark.chaos
@pytest.mark.parametrize("path", ["/summaries/", "/_commits/"], ids=["between files", "before the marker"])
def test_a_driver_frozen_in_its_commit_and_woken_in_its_successors(new_job, fleet, expected, store, bucket, path):
    """Longer than the lease lasts. Before the marker it has already asked whether the run is still its own."""
    output = f"{bucket}/out"
    reached = store.hold("PUT", path, "0001")
    committing = store.hold("PUT", "/costs/", "part-0002-")
    with new_job(output=output) as old:
        reached.wait_for(1, FINISH_SECONDS)
        old.freeze()
        frozen = time.monotonic()
        if path == "/summaries/":
            reached.opened.set()
        with new_job(output=output) as new:
            timed = Timed(f"a driver frozen for {FROZEN_SECONDS} s at {path}", new, expected, fleet)
            committing.wait_for(1, FINISH_SECONDS)
            time.sleep(max(0.0, frozen + FROZEN_SECONDS - time.monotonic()))
            old.thaw()
            if path == "/summaries/":
                assert old.finish() == exits.CRASH, old.told()
            committing.opened.set()
            timed.ends_well()
        # Its marker comes when that of its successor is there.
        reached.opened.set()
        assert old.finish() == exits.CRASH, old.told()
    # It has learned of its successor, or what it was at when it was frozen has taken too long.
    reasons = "another driver took this one for dead|a later start of the run has|.*the store does not answer"
    assert re.search(f"stopped: ({reasons})", old.told()), old.told()
    assert_only_commit(new, 2)
    assert_nothing_is_lost(new, expected, fleet.logs())


@pytest.mark.chaos
def test_a_driver_frozen_in_mid_run_leaves_when_it_wakes(new_job, fleet, expected, until_struck):
    """Its actors too, whose nodes are free then."""
    with new_job() as old:
        old.wait_for_tokens(until_struck)
        actors = [actor for home in fleet.homes() for actor in home.workers(ACTOR)]
        old.freeze()
        frozen = time.monotonic()
        known = old.readings()
        with new_job(output=old.output) as new:
            fleet.add()
            fleet.add()
            timed = Timed(f"a driver frozen for {FROZEN_SECONDS} s in mid-run", new, expected, fleet)
            timed.recovery = new.seconds_until_another_works(known, frozen)
            time.sleep(max(0.0, frozen + FROZEN_SECONDS - time.monotonic()))
            old.thaw()
            assert old.finish() == exits.CRASH, old.told()
            assert "stopped: another driver took this one for dead" in old.told()
            _, alive = psutil.wait_procs(actors, timeout=PATIENCE_SECONDS)
            assert not alive
            timed.ends_well()
    assert_only_commit(new, 2)


def assert_only_commit(job: Job, number: int) -> None:
    """Nothing of another one lies about, for plain readers either."""
    marker = commits.newest(job.ledger)
    assert marker is not None and marker["number"] == number
    for table in ("costs", "jobs", "summaries"):
        files = objects.list_files(f"{job.output}/{table}")
        assert files and all(f"/part-{number:04d}-" in file for file in files)


@pytest.mark.chaos
def test_fifty_random_kills(new_job, fleet, expected):
    """Processes of actors and whole nodes, which are replaced; the next one when some tokens have been read."""
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"\nCHAOS_SEED={seed}")
    chance = random.Random(seed)
    kills = {"actors": 0, "nodes": 0}
    # Kills come faster than snapshots: no document is to blame.
    with new_job("engine.max_attempts=100") as job:
        timed = Timed(f"{KILLS} random kills", job, expected, fleet)
        while sum(kills.values()) < KILLS:
            job.wait_for_tokens(job.tokens_read() + chance.randrange(100, 2000), seconds=180)
            # Also one that Ray took for dead on a busy machine.
            fleet.replace()
            if not (homes := fleet.homes()):
                continue
            home = chance.choice(homes)
            if chance.random() < 0.2:
                home.kill()
                kills["nodes"] += 1
            else:
                with suppress(IndexError, psutil.NoSuchProcess):
                    chance.choice(home.workers(ACTOR)).send_signal(signal.SIGKILL)
                    kills["actors"] += 1
        fleet.replace()
        toll = timed.ends_well()
    print(f"  killed: {kills['actors']} actors' processes, {kills['nodes']} nodes")
    assert toll.lost > KILLS / 5
