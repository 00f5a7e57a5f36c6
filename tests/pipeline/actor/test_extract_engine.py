"""Extracts are made by an actor without a model, which resumes inside documents as one with a model does."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest

from configs.settings import EngineSettings, PromptSettings, SectionSettings
from models.weights.tokenizer import Tokenizer
from pipeline.actor.assignment import Assignment
from pipeline.documents import tokenize
from pipeline.documents.sections import SectionFinder
from pipeline.formats.trail import Piece
from pipeline.schemas.tables import Row
from tests.one_actor import assignment as assigned
from tests.one_actor import entries, ledger, resuming, row, run, streamed, with_settings
from tests.waiting import PATIENCE_SECONDS, wait_for

TOKENIZER = Tokenizer.shipped()
# With a character of several bytes at every step's end, sooner or later.
BOOK = "\n\n".join(f"## Of {name}\n\n{text.replace('e ', 'é ')}" for name, text in sorted(topics.items()))[:240_000]
SECTIONS = SectionSettings(prompts=(PromptSettings(name="section", kind="extract", max_words=40),), most_tokens=4096)
SLOW, SOME_TOKENS = EngineSettings(slots=4, step_tokens=8), 3_000
"""So slow that a stop is noticed long before the end, and so many tokens that there is something to say."""
ROWS = ("prompt_id", "summary", "sentences", "section_index", "section_title", "section_start", "section_end")


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    return assigned(
        str(tmp_path / "output"),
        state_key="k",
        prompts=(
            PromptSettings(name="key_points", kind="extract", max_words=60),
            PromptSettings(name="long", kind="extract", max_words=300),
        ),
        sections=SECTIONS,
        engine=EngineSettings(slots=4),
        heartbeat_seconds=0.2,
    )


def inline(path: Path, text: str) -> Row:
    """As a reader hands it over."""
    finder = SectionFinder(SECTIONS)
    parts = list(tokenize.parts(tokenize.passages([Piece(text, 0)]), TOKENIZER, finder))
    tokens = tokenize.tokens([text], TOKENIZER)
    cuts = [asdict(part.start) for part in parts[1:] if part.start]
    found = [asdict(section) for section in finder.sections]
    return row(path, title="T", tokens=tokens, is_streamed=False, cuts=cuts, sections=found)


def documents(tmp_path: Path) -> list[Row]:
    return [
        streamed(tmp_path / "a.txt", BOOK.encode()),
        streamed(tmp_path / "b.txt", BOOK[90_000:].encode()),
        inline(tmp_path / "c.txt", BOOK[:120_000]),
        inline(tmp_path / "short.txt", "Nothing was decided at the meeting in March. It will be held again in May."),
    ]


def results(futures: "list[Future[Row]]") -> list[Row]:
    return [future.result(PATIENCE_SECONDS) for future in futures]


def made(assignment: Assignment) -> dict[str, list[Mapping[str, Any]]]:
    """What the tables will say of each document's extracts."""
    return {
        name: [{column: each[column] for column in ROWS} for each in entry["summaries"]]
        for name, entry in entries(assignment).items()
    }


def test_what_is_half_read_when_a_run_stops_is_finished_by_the_next_start(assignment, tmp_path):
    rows = documents(tmp_path)
    other = with_settings(assignment, output_uri=str(tmp_path / "undisturbed"))
    undisturbed, futures = run(other, *rows)
    assert {receipt["status"] for receipt in results(futures)} == {"ok"}
    total = undisturbed._actor.reading().tokens_read

    driver, futures = run(with_settings(assignment, engine=SLOW), *rows)
    wait_for(lambda: driver._actor.reading().tokens_read >= SOME_TOKENS)
    ledger(assignment).stop("budget")
    statuses = {receipt["document_id"]: receipt["status"] for receipt in results(futures)}
    assert statuses["short.txt"] == "ok" and list(statuses.values()).count("stopped") >= 2
    assert len(ledger(assignment).snapshots()) >= 2
    read = driver._actor.reading().tokens_read

    again, futures = run(with_settings(assignment, start=1), *resuming(assignment, *rows))
    assert {receipt["status"] for receipt in results(futures)} == {"ok"}
    assert made(assignment) == made(other)
    assert read + again._actor.reading().tokens_read == total
    assert entries(assignment)["a.txt"]["tokens_resumed"] > 0


def test_sentences_are_the_bytes_of_the_text_between_their_places(assignment, tmp_path):
    _, futures = run(assignment, *documents(tmp_path))
    results(futures)
    text, found = BOOK.encode(), entries(assignment)["a.txt"]["summaries"]
    assert {each["kind"] for each in found} == {"extract"} and {each["model_id"] for each in found} == {"key-sentences"}
    sections = [each for each in found if each["prompt_id"] == "section"]
    assert [each["section_index"] for each in sections] == list(range(len(sections))) and len(sections) > 20
    for each in found:
        places = [(sentence["start"], sentence["end"]) for sentence in each["sentences"]]
        assert places == sorted(places)
        for sentence in each["sentences"]:
            between = text[sentence["start"] : sentence["end"]].decode()
            assert " ".join(between.split()) == sentence["text"]
    # A section's sentences are its own: they stand behind all of the one before.
    ends = [[sentence["end"] for sentence in each["sentences"]] for each in sections if each["sentences"]]
    starts = [[sentence["start"] for sentence in each["sentences"]] for each in sections if each["sentences"]]
    assert all(max(end) <= min(start) for end, start in zip(ends, starts[1:], strict=False))


def test_of_a_document_that_has_grown_only_what_is_new_is_read(assignment, tmp_path):
    keeping = with_settings(assignment, ttl_days=30.0, storage_gib_month=Decimal(0), sections=None)
    first = BOOK[:150_000]
    _, futures = run(keeping, streamed(tmp_path / "a.txt", first.encode()))
    results(futures)
    (state,) = entries(keeping)["a.txt"]["states"]

    whole = with_settings(keeping, output_uri=str(tmp_path / "whole"), ttl_days=None)
    _, futures = run(whole, streamed(tmp_path / "a.txt", BOOK.encode()))
    results(futures)
    grown = streamed(tmp_path / "a.txt", BOOK.encode()) | {"source_etag": "f", "state_uri": state["state_uri"]}
    night = with_settings(keeping, run_id="second")
    _, futures = run(night, grown)
    results(futures)
    entry = entries(night)["a.txt"]
    assert entry["tokens_resumed"] == state["tokens"] > 25_000
    assert made(night) == made(whole)


def test_a_stop_can_give_an_extract_of_what_was_read_so_far(assignment, tmp_path):
    asked = with_settings(assignment, summary_so_far=True, sections=None, engine=SLOW)
    driver, futures = run(asked, streamed(tmp_path / "a.txt", BOOK.encode()))
    wait_for(lambda: driver._actor.reading().tokens_read >= SOME_TOKENS)
    ledger(asked).stop("budget")
    results(futures)
    rows = entries(asked)["a.txt"]["summaries"]
    assert [(each["status"], each["truncated"], bool(each["sentences"])) for each in rows] == [
        ("partial", True, True)
    ] * 2


def test_a_text_without_a_sentence_has_an_empty_extract_that_says_so(assignment, tmp_path):
    _, futures = run(with_settings(assignment, sections=None), inline(tmp_path / "a.txt", "42"))
    assert results(futures)[0]["status"] == "ok"
    rows = entries(assignment)["a.txt"]["summaries"]
    assert {(each["summary"], each["finish_reason"]) for each in rows} <= {("", "empty"), ("- 42", "stop")}
