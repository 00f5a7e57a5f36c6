"""What kills processes is kept apart and given up; what was merely near is not blamed for it, nor are spot nodes that
go without notice."""

from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path

import pytest

from configs.settings import EngineSettings
from pipeline.actor.job import Job
from pipeline.actor.quarantine import Quarantine
from pipeline.ledger.device_failures import DeviceFailures
from pipeline.ledger.records import Claim, document_key
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.attempt import Begun
from tests.driven import Driven
from tests.one_actor import (
    PATIENCE_SECONDS,
    TEXT,
    assignment_in,
    begun,
    claims,
    entries,
    row,
    run,
    streamed,
    submitted,
    with_settings,
)


def test_what_waits_in_quarantine_for_its_turn_is_no_attempt(tmp_path):
    assignment = with_settings(assignment_in(tmp_path), engine=EngineSettings(slots=4, step_tokens=64))
    names = ("a.txt", "b.txt", "c.txt")
    for name in names:
        for attempt in (1, 2):
            begun(assignment, Claim(name, "e", attempt, f"dead{attempt}", 1, 0))
    rows = [streamed(tmp_path / name, (TEXT * 8).encode()) for name in names]
    driver, futures = run(assignment, *rows)
    while not driver._jobs:
        assert not any(future.done() for future in futures)
    assert sorted(len(claims(assignment, name)) for name in names) == [2, 2, 3]
    assert [future.result(PATIENCE_SECONDS)["status"] for future in futures] == ["ok"] * 3


def verdict(tmp_path: Path, nodes: Sequence[str], failed: Sequence[str] = ()) -> str:
    """Of a document after attempts on these nodes, of which `here` lives on; `failed` are actors whose device failed,
    with the document in the engine, or with another where the name ends in a star."""
    book = Ledger(str(tmp_path), "r")
    attempts = [Begun(number, f"actor{number}", node, 0, False) for number, node in enumerate(nodes, start=1)]
    for actor in failed:
        document = "other" if actor.endswith("*") else "one"
        failures = DeviceFailures(book)
        failures.record(actor.removesuffix("*"), 1, MemoryError("no room"), [document_key(document, "e")])
    quarantine = Quarantine(book, 4, {"here"}.__contains__)
    job = Job(row(Path("one")), datetime.now(UTC), Future())
    judged = quarantine.judged(job, attempts)
    if judged.row["error_class"] is None:
        return "quarantined" if judged.quarantined else "free"
    assert not judged.quarantined and judged.row["error_class"] == "ProcessKilledError"
    return str(judged.row["error_message"])


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (["here"], "free"),
        (["here"] * 2, "quarantined"),
        (["here"] * 3, "quarantined"),
        (["gone"] * 7, "free"),
        (["gone"] * 8, "quarantined"),
        (["gone"] * 15, "quarantined"),
        (["gone", "here", "gone", "gone"], "free"),
        (["here"] + ["gone"] * 4, "quarantined"),
    ],
)
def test_a_node_that_goes_away_counts_for_little(tmp_path, nodes, expected):
    assert verdict(tmp_path, nodes) == expected


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (
            ["here"] * 4,
            "4 processes died at this document with 0 of its tokens read, the last 2 while they read nothing",
        ),
        (["gone"] * 16, "0 processes and 16 nodes died at this document"),
        (["here"] * 3 + ["gone"] * 4, "3 processes and 4 nodes died at this document"),
    ],
)
def test_what_takes_process_after_process_or_node_after_node_along_is_given_up(tmp_path, nodes, expected):
    assert verdict(tmp_path, nodes).startswith(expected)


def test_a_device_that_fails_counts_against_what_was_in_its_engine(tmp_path):
    assert verdict(tmp_path / "a", ["here"] * 3, ["actor1*", "actor2*", "actor3*"]) == "free"
    # Whatever has become of the node: it was the device.
    assert verdict(tmp_path / "b", ["gone"] * 3, ["actor1", "actor2", "actor3*"]) == "quarantined"
    message = verdict(tmp_path / "c", ["here"] * 4, ["actor1", "actor4"])
    assert message.endswith("while they read nothing else: the device failed with MemoryError: no room.")


def test_spot_nodes_that_go_without_notice_leave_documents_free_and_claims_name_their_node(tmp_path):
    assignment = assignment_in(tmp_path)
    names = ("a.txt", "b.txt", "c.txt")
    for name in names:
        for attempt in (1, 2, 3, 4):
            claim = Claim(name, "e", attempt, f"dead{attempt}", 1, 0, node_id=f"spot{attempt}")
            begun(assignment, claim)
    driver = Driven(assignment, node_id="spot5", is_alive={"spot5"}.__contains__)
    futures = submitted(driver, *(streamed(tmp_path / name, TEXT.encode()) for name in names))
    driver.await_arrivals(3)
    driver._work()
    assert set(driver._jobs) == set(names)
    driver.work_to_the_end()
    assert {future.result(PATIENCE_SECONDS)["status"] for future in futures} == {"ok"}
    last = [claims(assignment, name)[-1] for name in names]
    assert {(claim.attempt, claim.node_id, claim.quarantined) for claim in last} == {(5, "spot5", False)}


def test_what_is_read_again_from_its_start_stays_in_quarantine(tmp_path):
    assignment = with_settings(assignment_in(tmp_path), engine=EngineSettings(slots=4, step_tokens=64), state_key="k")
    path = tmp_path / "a.txt"
    first = Driven(assignment)
    first.submit([streamed(path, (TEXT * 8).encode())])
    first.await_arrivals(1)
    first.work_until(lambda: first._actor.reading().tokens_read > 4500)
    first.clock.now_us += 1000
    first._work()
    first._snapshots.take_all(first._jobs)
    first._writer.flush()
    tokens = first._engine.in_slots["a.txt"]
    for attempt in (2, 3):
        begun(assignment, Claim("a.txt", "e", attempt, f"dead{attempt}", 1, tokens))
    # It ends before the place that its state is of, which shows only when it is read.
    driver = Driven(assignment)
    rows = [
        streamed(path, (TEXT * 8)[: tokens - 100].encode()),
        *(streamed(tmp_path / name, TEXT.encode()) for name in ("b.txt", "c.txt")),
    ]
    futures = submitted(driver, rows[0])
    driver.await_arrivals(1)
    driver._work()
    assert claims(assignment, "a.txt")[-1].tokens_before == tokens
    futures += submitted(driver, *rows[1:])
    driver.await_arrivals(2)
    together: list[set[str]] = []
    while not together or "a.txt" in driver._jobs:
        together.append(set(driver._jobs))
        driver._work()
    assert together == [{"a.txt"}] * len(together)
    driver.work_to_the_end()
    assert {future.result(PATIENCE_SECONDS)["status"] for future in futures} == {"ok"}
    assert entries(assignment)["a.txt"]["tokens_resumed"] == 0
