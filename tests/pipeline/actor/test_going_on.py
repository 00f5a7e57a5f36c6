"""A document is gone on with where it stands: after a stop, on another actor, in another run, when it has grown."""

import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from configs.settings import EngineSettings, InputSettings, PromptSettings, SectionSettings
from pipeline.actor.assignment import Assignment
from pipeline.actor.engine_driver import EngineDriver
from pipeline.documents import tokenize
from pipeline.formats import html
from pipeline.formats.trail import Piece
from pipeline.ledger.commit import commit
from pipeline.ledger.records import Claim, document_key
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.document import Document
from pipeline.schemas.tables import Row
from pipeline.states import kept as states
from pipeline.storage import objects
from tests.one_actor import (
    TEXT,
    assignment_in,
    begin,
    begun,
    claims,
    entries,
    ledger,
    resuming,
    row,
    run,
    streamed,
    submitted,
    tokenizer,
    with_settings,
)
from tests.waiting import PATIENCE_SECONDS, wait_for
from tests.worker import assert_tokens_add_up

BOOK = TEXT * 12
"""Some 36,000 tokens in nine parts."""


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    made = assignment_in(tmp_path)
    return with_settings(
        made,
        state_key="k",
        engine=EngineSettings(slots=4, step_tokens=512),
        prompts=(PromptSettings(max_tokens=6), PromptSettings(name="other", instruction="line", max_tokens=4)),
        heartbeat_seconds=0.2,
    )


def inline(path: Path, text: str, **values: Any) -> Row:
    passages = tokenize.passages([Piece(text, 0)])
    parts = list(tokenize.parts(passages, tokenizer()))
    tokens = tokenize.tokens([text], tokenizer())
    cuts = [asdict(part.start) for part in parts[1:] if part.start]
    return row(path, title="T", tokens=tokens, is_streamed=False, cuts=cuts) | values


def results(futures: list["Future[Row]"]) -> list[Row]:
    return [future.result(PATIENCE_SECONDS) for future in futures]


def texts_of(assignment: Assignment) -> dict[str, list[str]]:
    return {name: [row["summary"] for row in entry["summaries"]] for name, entry in entries(assignment).items()}


def undisturbed(assignment: Assignment, tmp_path: Path, *rows: Row) -> dict[str, list[str]]:
    other = with_settings(assignment, output_uri=str(tmp_path / "undisturbed"), deadline_us=None)
    assert {receipt["status"] for receipt in results(run(other, *rows)[1])} == {"ok"}
    return texts_of(other)


def has_read(driver: EngineDriver, tokens: int) -> Callable[[], bool]:
    return lambda: driver._actor.reading().tokens_read >= tokens


def test_what_is_half_read_when_a_run_stops_is_finished_by_the_next_start(assignment, tmp_path):
    """Two streamed, one inline, one that has not begun, and one that is through: no token is read twice."""
    rows = [
        streamed(tmp_path / "a.txt", BOOK.encode()),
        streamed(tmp_path / "b.txt", BOOK[: len(BOOK) // 2].encode()),
        inline(tmp_path / "c.txt", BOOK),
        inline(tmp_path / "short.txt", TEXT[:300]),
    ]
    expected = undisturbed(assignment, tmp_path, *rows)
    driver, futures = run(assignment, *rows)
    wait_for(has_read(driver, 12_000))
    ledger(assignment).stop("budget")
    first = {receipt["document_id"]: receipt for receipt in results(futures)}
    assert {name: receipt["status"] for name, receipt in first.items()} == dict.fromkeys(
        ("a.txt", "b.txt", "c.txt"), "stopped"
    ) | {"short.txt": "ok"}
    assert results(submitted(driver, rows[0] | {"document_id": "later"}))[0]["status"] == "stopped"
    read = driver._actor.reading().tokens_read
    assert sum(receipt["tokens_read"] for receipt in first.values()) == read
    assert len(ledger(assignment).snapshots()) == 3
    # For the run's driver, which need not wait any longer.
    wait_for(lambda: all(heartbeat.is_stopped for heartbeat in ledger(assignment).heartbeats()))

    again, futures = run(next_start(assignment), *resuming(assignment, *rows))
    assert {receipt["status"] for receipt in results(futures)} == {"ok"}
    assert texts_of(assignment) == expected
    total = sum(len(tokenize.tokens([text], tokenizer())) for text in (BOOK, BOOK[: len(BOOK) // 2], BOOK, TEXT[:300]))
    assert read + again._actor.reading().tokens_read == total
    assert not ledger(assignment).snapshots()
    found = entries(assignment)["a.txt"]
    assert (found["attempt"], found["tokens_resumed"]) == (2, first["a.txt"]["tokens_read"])
    assert found["tokens_read"] + found["tokens_resumed"] == found["summaries"][0]["tokens_read"]
    stopped = [entry for entry in ledger(assignment).entries() if entry["outcome"] == "stopped"]
    assert len(stopped) == 3 and all(entry["spent"]["saved"] == entry["spent"]["microseconds"] for entry in stopped)

    documents = [Document(each["document_id"], each["source_uri"], "e", 1) for each in rows]
    begin(assignment)
    # Both meters go on; what is committed lies between what they told before and what they show after.
    told = [heartbeat.reading for heartbeat in ledger(assignment).heartbeats()]
    job = commit(ledger(assignment), documents)
    shown = [one._actor.reading() for one in (driver, again)]
    before, after = (sum(one.rate.cost(one.total_us) for one in readings) for readings in (told, shown))
    assert len(told) == 2 and before <= job["cost"] <= after
    assert job["tokens_read"] == total


def next_start(assignment: Assignment) -> Assignment:
    """Of the run; a stop is asked of one start alone."""
    return with_settings(assignment, start=assignment.start + 1)


def test_an_actor_whose_node_goes_away_saves_everything_and_leaves(assignment, tmp_path):
    left = threading.Event()
    rows = [streamed(tmp_path / "a.txt", BOOK.encode()), inline(tmp_path / "b.txt", BOOK)]
    expected = undisturbed(assignment, tmp_path, *rows)
    driver = EngineDriver(assignment, left.set)
    driver.start()
    futures = submitted(driver, *rows)
    wait_for(has_read(driver, 8_000))
    driver.preempt(30.0)
    # A document that comes now is left to another actor, and is no attempt of this one.
    (late,) = driver.submit([inline(tmp_path / "late.txt", TEXT)])
    assert left.wait(PATIENCE_SECONDS)
    assert not any(future.done() for future in [*futures, late])
    assert not claims(assignment, "late.txt")
    (heartbeat,) = ledger(assignment).heartbeats()
    assert not heartbeat.underway and heartbeat.reading.drain_us > 0

    other, futures = run(assignment, *rows)
    assert {receipt["status"] for receipt in results(futures)} == {"ok"}
    assert texts_of(assignment) == expected
    assert heartbeat.reading.tokens_read + other._actor.reading().tokens_read == 2 * len(rows[1]["tokens"])


def test_a_lost_actor_costs_no_more_than_what_was_at_stake(assignment, tmp_path):
    """Its last snapshot is used, and the attempt is charged with what was lost."""
    # Saved often: the small state takes next to nothing.
    saving = with_settings(assignment, max_lost_device_seconds=0.2, engine=EngineSettings(slots=4, step_tokens=128))
    rows = [streamed(tmp_path / "a.txt", 2 * BOOK.encode()), inline(tmp_path / "b.txt", 2 * BOOK)]
    expected = undisturbed(assignment, tmp_path, *rows)
    driver, _ = run(saving, *rows)
    keys = {document_key(each["document_id"], "e") for each in rows}
    wait_for(lambda: has_read(driver, 25_000)() and set(ledger(assignment).snapshots()) == keys)
    at_stake = sum(spent.at_stake for spent in driver._actor.meter.documents().values())
    assert at_stake < 2 * 0.2e6
    # As if it were dead: it goes on nowhere that matters.
    silence(driver, assignment)

    other, futures = run(assignment, *rows)
    assert {receipt["status"] for receipt in results(futures)} == {"ok"}
    assert texts_of(assignment) == expected
    resumed = {entry["document_id"]: entry["tokens_resumed"] for entry in ledger(assignment).entries()}
    assert all(tokens > 4_000 for tokens in resumed.values())
    assert other._actor.reading().tokens_read == 2 * len(rows[1]["tokens"]) - sum(resumed.values())

    begin(assignment)
    commit(ledger(assignment), [Document(each["document_id"], each["source_uri"], "e", 1) for each in rows])
    tables = Warehouse(assignment.output_uri)
    costs = tables.rows("select * from costs where document_id is not null")
    assert_tokens_add_up(costs, tables.rows("select * from summaries"))
    lost = {row["document_id"]: row for row in costs if row["outcome"] == "lost" and row["kind"] == "document"}
    # Known by its snapshot, whatever the last heartbeat told.
    assert {name: each["tokens_read"] - each["tokens_wasted"] for name, each in lost.items()} == resumed


def silence(driver: EngineDriver, assignment: Assignment) -> None:
    """An actor's engine stops in mid-pass and says nothing more, as when its process is killed."""

    driver._writer.flush()
    silent = threading.Event()

    def work() -> None:
        silent.set()
        time.sleep(1)

    driver._work = work
    assert silent.wait(PATIENCE_SECONDS)
    driver._writer.flush()


def test_a_stale_actor_that_wakes_up_loses(assignment, tmp_path):
    rows = [inline(tmp_path / "a.txt", BOOK)]
    stale, late = run(assignment, *rows)
    wait_for(has_read(stale, 2000))
    held = threading.Event()
    step = stale._engine.step
    stale._engine.step = lambda read=True: (held.wait(PATIENCE_SECONDS), step(read))[1]
    _, futures = run(assignment, *rows)
    assert results(futures)[0]["status"] == "ok"
    held.set()
    assert results(late)[0]["status"] == "ok"
    begin(assignment)
    commit(ledger(assignment), [Document("a.txt", "a.txt", "e", 1)])
    costs = Warehouse(assignment.output_uri).rows("select attempt, kind, outcome from costs where attempt is not null")
    assert {tuple(row.values()) for row in costs} == {(2, "document", "finished"), (1, "wasted", "fenced")}
    # Whoever asks again hears of the result, and nothing is read.
    third, futures = run(assignment, *rows)
    assert results(futures)[0] == {
        "document_id": "a.txt",
        "status": "ok",
        "error_class": None,
        "error_message": None,
        "size_bytes": 1,
        "tokens_read": len(rows[0]["tokens"]),
    }
    assert third._actor.reading().tokens_read == 0


def test_a_document_at_which_processes_keep_dying_is_read_alone_and_then_given_up(assignment, tmp_path):
    def died(name: str, times: int, tokens_before: int = 0) -> None:
        before = len(claims(assignment, name))
        for attempt in range(before + 1, before + times + 1):
            begun(assignment, Claim(name, "e", attempt, f"dead{attempt}", 1, tokens_before))

    for name, times in {"poison.txt": 4, "suspect.txt": 3, "once.txt": 1}.items():
        died(name, times)
    rows = [inline(tmp_path / name, TEXT) for name in ("poison.txt", "suspect.txt", "once.txt", "first.txt")]
    driver, futures = run(assignment, *rows)
    poison, *others = results(futures)
    assert {receipt["status"] for receipt in others} == {"ok"}
    assert (poison["status"], poison["error_class"]) == ("failed", "ProcessKilledError")
    assert "4 processes died at this document with 0 of its tokens read" in poison["error_message"]
    quarantined = {name: claims(assignment, name)[-1].quarantined for name in ("suspect.txt", "once.txt")}
    assert quarantined == {"suspect.txt": True, "once.txt": False}
    assert driver._actor.reading().documents == 3

    # It was given up in good order: the next start tries again, and with more memory it may succeed.
    _, futures = run(assignment, rows[0])
    assert results(futures)[0]["status"] == "ok"


def test_deaths_of_a_document_that_gets_further_are_not_held_against_it(assignment, tmp_path):
    document = inline(tmp_path / "long.txt", BOOK)
    driver, futures = run(assignment, document)
    wait_for(has_read(driver, 6_000))
    ledger(assignment).stop("deadline")
    (receipt,) = results(futures)
    tokens = receipt["tokens_read"]
    for attempt, before in enumerate((0, 10, 2000, 3000, tokens), start=2):
        begun(assignment, Claim("long.txt", "e", attempt, f"dead{attempt}", 1, before))
    _, futures = run(next_start(assignment), *resuming(assignment, document))
    assert results(futures)[0]["status"] == "ok"
    assert not claims(assignment, "long.txt")[-1].quarantined


@pytest.mark.parametrize("wrong", ["damaged", "other weights"])
def test_a_state_that_does_not_fit_is_refused_and_the_document_read_from_its_start(assignment, tmp_path, wrong):
    rows = [streamed(tmp_path / "a.txt", BOOK.encode())]
    expected = undisturbed(assignment, tmp_path, *rows)
    driver, futures = run(assignment, *rows)
    wait_for(has_read(driver, 6_000))
    ledger(assignment).stop("deadline")
    results(futures)
    ((_, uri),) = ledger(assignment).snapshots().items()
    if wrong == "damaged":
        data = bytearray(objects.read_bytes(uri))
        data[-5] ^= 1
        objects.publish(uri, bytes(data))
    other, futures = run(
        with_settings(next_start(assignment), state_key="k" if wrong == "damaged" else "other"),
        *resuming(assignment, *rows),
    )
    (receipt,) = results(futures)
    assert texts_of(assignment) == expected
    assert other._actor.reading().tokens_read == receipt["tokens_read"]


def test_a_document_that_is_half_read_at_the_deadline_has_a_summary_so_far(assignment, tmp_path):
    rows = [streamed(tmp_path / "a.txt", BOOK.encode()), inline(tmp_path / "b.txt", BOOK)]
    expected = undisturbed(assignment, tmp_path, *rows)
    soon = with_settings(assignment, summary_so_far=True)
    driver, futures = run(soon, *rows)
    wait_for(has_read(driver, 6_000))
    ledger(assignment).stop("deadline")
    receipts = results(futures)
    assert {receipt["status"] for receipt in receipts} == {"stopped"}
    for receipt in receipts:
        so_far = entries(assignment)[receipt["document_id"]]["summaries"]
        assert [(row["truncated"], row["status"]) for row in so_far] == [(True, "partial")] * 2
        assert {row["tokens_read"] for row in so_far} == {receipt["tokens_read"]}
        assert all(row["summary"] is not None for row in so_far)
    # The next start goes on from where the document stands, not from behind its answers.
    again, futures = run(next_start(soon), *resuming(assignment, *rows))
    results(futures)
    assert texts_of(assignment) == expected
    assert not any(row["truncated"] for entry in entries(assignment).values() for row in entry["summaries"])
    total = 2 * len(rows[1]["tokens"])
    assert driver._actor.reading().tokens_read + again._actor.reading().tokens_read == total


@pytest.fixture
def keeping(assignment) -> Assignment:
    sections = SectionSettings(
        prompts=(PromptSettings(name="section", max_tokens=3),), headings=False, most_tokens=9000, least_tokens=1
    )
    return with_settings(assignment, ttl_days=1.0, sections=sections)


def test_of_a_document_that_has_grown_only_what_is_new_is_read(keeping, tmp_path):
    """As a stream, from the state that another run kept; with the sections of the old part."""
    path = tmp_path / "log.txt"
    old = streamed(path, BOOK.encode())
    results(run(keeping, old)[1])
    kept = kept_by(keeping)["log.txt"]
    tokens_old = len(tokenize.tokens([BOOK], tokenizer()))
    assert kept["tokens_total"] == tokens_old and tokens_old - 8192 < kept["tokens"] < tokens_old

    path.write_text(BOOK + TEXT)
    grown = row(path, source_etag="e2", is_streamed=True, state_uri=kept["state_uri"])
    tomorrow = with_settings(keeping, run_id="tomorrow")
    driver, futures = run(tomorrow, grown)
    (receipt,) = results(futures)
    assert driver._actor.reading().tokens_read == receipt["tokens_read"] - kept["tokens"]
    anew = with_settings(keeping, run_id="anew")
    results(run(anew, row(path, title="T", source_etag="e2", is_streamed=True))[1])
    for one, two in zip(entries(tomorrow)["log.txt"]["summaries"], entries(anew)["log.txt"]["summaries"], strict=True):
        for name in ("summary", "section_index", "section_start", "section_end", "tokens_total", "title", "prompt_id"):
            assert one[name] == two[name] or name == "title"
    again = kept_by(tomorrow)["log.txt"]
    assert again["parent_uri"] == kept["state_uri"] and again["tokens"] > kept["tokens"]


def kept_by(assignment: Assignment) -> dict[str, Row]:
    return {name: entry["states"][0] for name, entry in entries(assignment).items() if entry["states"]}


@pytest.mark.parametrize(("text", "is_history"), [(BOOK + TEXT, True), ("x" + BOOK[1:] + TEXT, False)])
def test_a_document_whose_tokens_travel_goes_on_from_its_state_where_that_is_of_its_text(
    assignment, tmp_path, text, is_history
):
    """As HTML does, which is parsed by readers also where there is a state."""
    night = with_settings(assignment, ttl_days=1.0)
    path = tmp_path / "page.html"
    results(run(night, inline(path, BOOK))[1])
    kept = kept_by(night)["page.html"]
    tomorrow = with_settings(night, run_id="tomorrow")
    driver, futures = run(tomorrow, inline(path, text, source_etag="e2", state_uri=kept["state_uri"]))
    (receipt,) = results(futures)
    assert receipt["tokens_read"] == len(tokenize.tokens([text], tokenizer()))
    resumed = kept["tokens"] if is_history else 0
    assert driver._actor.reading().tokens_read == receipt["tokens_read"] - resumed


@pytest.mark.parametrize("text", ["x" + BOOK[1:] + TEXT, BOOK[: len(BOOK) // 2]], ids=["changed", "shorter"])
def test_a_document_whose_history_has_changed_is_read_again_from_its_start(keeping, tmp_path, text):
    path = tmp_path / "log.txt"
    results(run(keeping, streamed(path, BOOK.encode()))[1])
    kept = kept_by(keeping)["log.txt"]
    path.write_text(text)
    tomorrow = with_settings(keeping, run_id="tomorrow")
    driver, futures = run(tomorrow, row(path, source_etag="e2", is_streamed=True, state_uri=kept["state_uri"]))
    (receipt,) = results(futures)
    count = len(tokenize.tokens([text], tokenizer()))
    assert receipt["tokens_read"] == driver._actor.reading().tokens_read == count
    assert entries(tomorrow)["log.txt"]["tokens_resumed"] == 0


def test_a_state_of_another_field_is_not_gone_on_from(keeping, tmp_path):
    """Though neither the document nor anything else has changed."""
    content = json.dumps({"text": BOOK, "body": TEXT + BOOK}).encode()
    document = streamed(tmp_path / "a.json", content) | {"made_by": None}
    results(run(keeping, document)[1])
    kept = kept_by(keeping)["a.json"]
    assert kept["made_by"] == "json field text"
    for number, (field, read, resumed) in enumerate((("body", TEXT + BOOK, 0), ("text", BOOK, kept["tokens"]))):
        again = with_settings(
            keeping, run_id=f"again-{number}", input=InputSettings(sources=("unused",), text_field=field)
        )
        driver, futures = run(again, document | {"state_uri": kept["state_uri"]})
        results(futures)
        count = len(tokenize.tokens([read], tokenizer()))
        assert driver._actor.reading().tokens_read == count - resumed
        assert entries(again)["a.json"]["summaries"][0]["tokens_total"] == count


def test_a_new_version_of_a_parser_leaves_states_of_plain_text_alone(keeping, tmp_path, monkeypatch):
    documents = [
        streamed(tmp_path / "a.txt", BOOK.encode()),
        streamed(tmp_path / "a.html", f"<pre>{BOOK}</pre>".encode()),
    ]
    results(run(keeping, *documents)[1])
    kept = kept_by(keeping)
    monkeypatch.setattr(html, "made_by", lambda settings: "html lxml 9.9.9")
    again = with_settings(keeping, run_id="again")
    results(run(again, *(each | {"state_uri": kept[each["document_id"]]["state_uri"]} for each in documents))[1])
    resumed = {name: entry["tokens_resumed"] for name, entry in entries(again).items()}
    assert resumed == {"a.txt": kept["a.txt"]["tokens"], "a.html": 0}


def test_a_state_that_has_gone_is_no_reason_to_fail(keeping, tmp_path):
    gone = streamed(tmp_path / "a.txt", BOOK.encode()) | {"title": None, "state_uri": str(tmp_path / "gone")}
    driver, futures = run(keeping, gone)
    (receipt,) = results(futures)
    assert receipt["tokens_read"] == driver._actor.reading().tokens_read
    assert entries(keeping)["a.txt"]["summaries"][0]["title"] == "line 0"


def test_the_newest_state_of_each_document_is_found_until_it_expires(keeping, tmp_path):
    for number, run_id in enumerate(("one", "two")):
        night = with_settings(keeping, run_id=run_id, ttl_days=1.0 if number else 1e-9)
        text = BOOK + number * TEXT
        rows = [streamed(tmp_path / name, text.encode()) | {"source_etag": run_id} for name in ("a.txt", "b.txt")]
        rows[1]["source_etag"] += "b"
        results(run(night, rows[0], *rows[1 : 2 - number])[1])
        begin(night)
        documents = [Document(each["document_id"], each["source_uri"], each["source_etag"], 1) for each in rows]
        commit(ledger(night), documents[: 2 - number])
    newest = states.newest(keeping.output_uri, "k", ["text"])
    # That of `b` has expired.
    assert list(newest) == ["a.txt"] and objects.exists(newest["a.txt"]["state_uri"])
    assert states.newest(keeping.output_uri, "other", ["text"]) == {}
    assert states.newest(keeping.output_uri, "k", ["pdf pypdf 5"]) == {}
    rows = Warehouse(keeping.output_uri).rows("select document_id, run_id from states order by all")
    assert rows == [
        {"document_id": "a.txt", "run_id": "one"},
        {"document_id": "a.txt", "run_id": "two"},
        {"document_id": "b.txt", "run_id": "one"},
    ]
