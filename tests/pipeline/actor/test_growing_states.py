"""Of a model whose state grows with every token, each snapshot stores what is new, and resuming reads nothing twice."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from configs.errors import StateError, TooLargeError
from configs.settings import (
    EngineSettings,
    InputSettings,
    ModelSettings,
    PromptSettings,
    SnapshotSettings,
    SummarizeConfig,
)
from models.engine.engine import Engine
from models.weights import checkpoint
from pipeline.actor import startup
from pipeline.actor.assignment import Assignment
from pipeline.documents import tokenize
from pipeline.planning.model import footprint
from pipeline.schemas.tables import Row
from pipeline.states import question, stored
from pipeline.states.library import KeptState
from pipeline.states.segments import Segment
from pipeline.storage import header, objects
from tests import published_families
from tests.driven import Driven
from tests.growing_backend import WIDTH, GrowingBackend
from tests.one_actor import (
    TEXT,
    assignment_in,
    entries,
    ledger,
    resuming,
    streamed,
    submitted,
    tokenizer,
    with_settings,
)

BOOK = TEXT * 12
TOKENS = len(tokenize.tokens([BOOK], tokenizer()))
TOKEN_BYTES = 2 * WIDTH * 8
PREAMBLE = (3, 4, 5, 6, 7)
STEP = 512
PASS_US = 1_000_000


@pytest.fixture
def assignment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Assignment:
    def engine_of(told: Assignment) -> tuple[Engine, object]:
        return Engine(GrowingBackend(100_000, 1_000_000), {60}, 2, STEP, PREAMBLE), tokenizer()

    monkeypatch.setattr(startup, "engine_of", engine_of)
    return with_settings(
        assignment_in(tmp_path),
        state_key="k",
        engine=EngineSettings(slots=2, step_tokens=STEP),
        prompts=(PromptSettings(max_tokens=6),),
        max_lost_device_seconds=2.5,
        heartbeat_seconds=300,
    )


class Reading:
    """One actor at one long document, of which every third pass is followed by a snapshot."""

    def __init__(self, assignment: Assignment, row: Row) -> None:
        self.told = assignment
        self.driver = Driven(assignment)
        submitted(self.driver, row)
        self.driver.await_arrivals(1)

    def work_until(self, is_done: Callable[[], object]) -> "Reading":
        def passed() -> object:
            self.driver.clock.now_us += PASS_US
            # What was to be written is there before the next pass.
            assert self.driver._writer.flush(30)
            return is_done()

        self.driver.work_until(passed)
        return self

    def finish(self) -> Row:
        self.work_until(lambda: not self.driver._engine.busy and self.read)
        assert self.driver._writer.flush(30)
        return entries(self.told)["book.txt"]

    @property
    def read(self) -> int:
        return self.driver._actor.reading().tokens_read

    @property
    def snapshot_uri(self) -> str:
        ((_, uri),) = ledger(self.told).snapshots().items()
        return uri

    @property
    def segments(self) -> tuple[Segment, ...]:
        saved = ledger(self.told).snapshots()
        return tuple(Segment(**each) for uri in saved.values() for each in header.about(uri).get("segments", ()))


@pytest.fixture
def row(tmp_path: Path) -> Row:
    return streamed(tmp_path / "book.txt", BOOK.encode())


def test_the_tenth_snapshot_writes_what_is_new_since_the_ninth(assignment, row):
    reading = Reading(assignment, row)
    reading.work_until(lambda: len(reading.segments) >= 9)
    before, folder = reading.segments, reading.snapshot_uri.removesuffix(".safetensors")
    files = set(objects.list_files(folder))
    reading.work_until(lambda: len(reading.segments) >= 10)
    (new,) = set(objects.list_files(folder)) - files
    tenth = reading.segments[-1]
    assert reading.segments[:-1] == before and tenth.uri(reading.snapshot_uri) == new
    tokens = tenth.stop - tenth.start
    assert tenth.start == before[-1].stop >= 10_000 and tokens <= 3 * STEP
    assert tokens * TOKEN_BYTES < tenth.size_bytes < tokens * TOKEN_BYTES + 500
    assert objects.stat(new).size_bytes == tenth.size_bytes
    # The snapshot's own object does not grow with what was read.
    assert objects.stat(reading.snapshot_uri).size_bytes < 10_000
    found = stored.load(reading.snapshot_uri)
    assert found.read_state.state["keys"].shape == (1, found.read_state.tokens_read + len(PREAMBLE), WIDTH)


def test_another_actor_goes_on_from_the_segments_and_adds_to_them(assignment, row, tmp_path):
    """The text of an undisturbed reading, no token twice, and nothing left behind."""
    expected = Reading(with_settings(assignment, output_uri=str(tmp_path / "undisturbed")), row).finish()
    first = Reading(assignment, row)
    first.work_until(lambda: len(first.segments) >= 4)
    first.driver.preempt(30.0)
    first.driver._evacuate()
    left = first.segments
    assert left[-1].stop == first.read + len(PREAMBLE)
    (again,) = resuming(assignment, row)
    second = Reading(assignment, again)
    second.work_until(lambda: len(second.segments) > len(left))
    assert second.segments[: len(left)] == left
    found = second.finish()
    assert [each["summary"] for each in found["summaries"]] == [each["summary"] for each in expected["summaries"]]
    assert first.read + second.read == TOKENS == found["tokens_resumed"] + found["tokens_read"]
    assert not objects.list_files(objects.join(ledger(assignment).uri, "snapshots"))


def damaged(uri: str) -> None:
    data = bytearray(objects.read_bytes(uri))
    data[-1] ^= 1
    objects.publish(uri, bytes(data))


@pytest.mark.parametrize("harm", [damaged, objects.delete], ids=["damaged", "missing"])
def test_where_a_segment_is_harmed_the_document_is_read_again(assignment, row, tmp_path, harm):
    expected = Reading(with_settings(assignment, output_uri=str(tmp_path / "undisturbed")), row).finish()
    first = Reading(assignment, row)
    first.work_until(lambda: len(first.segments) >= 3)
    first.driver.preempt(30.0)
    first.driver._evacuate()
    harm(first.segments[1].uri(first.snapshot_uri))
    with pytest.raises(StateError, match="segment of the stored state"):
        stored.load(first.snapshot_uri)
    second = Reading(assignment, *resuming(assignment, row))
    second.work_until(lambda: len(second.segments) == 2)
    # What was harmed is stored anew.
    stored.load(second.snapshot_uri)
    found = second.finish()
    assert (found["tokens_resumed"], found["tokens_read"]) == (0, TOKENS)
    assert [each["summary"] for each in found["summaries"]] == [each["summary"] for each in expected["summaries"]]


def test_what_could_not_be_stored_is_in_the_next_snapshot(assignment, row, monkeypatch):
    reading = Reading(assignment, row)
    reading.work_until(lambda: len(reading.segments) >= 2)
    publish, failures = objects.publish, []

    def failing(uri: str, data: bytes) -> None:
        if "/snapshots/" in uri and not failures:
            failures.append(uri)
            raise OSError("the disk is full")
        publish(uri, data)

    monkeypatch.setattr(objects, "publish", failing)
    reading.work_until(lambda: len(reading.segments) >= 3)
    stored.load(reading.snapshot_uri)
    start, stop = map(int, failures[0].rpartition("/")[2].split("-")[:2])
    third = reading.segments[2]
    assert third.start == start == reading.segments[1].stop and third.stop > stop


def test_a_kept_state_holds_all_that_its_document_has_grown_to(assignment, row, tmp_path):
    """One object, which goes by itself; what was appended is all that the next run reads."""
    keeping = with_settings(assignment, ttl_days=30.0, storage_gib_month=Decimal(0))
    first = Reading(keeping, row).finish()
    (kept,) = first["states"]
    whole = stored.load(kept["state_uri"])
    assert not whole.segments and whole.read_state.state["keys"].shape[1] == kept["tokens"] + len(PREAMBLE)
    assert kept["size_bytes"] > kept["tokens"] * TOKEN_BYTES
    grown = streamed(tmp_path / "book.txt", (BOOK + TEXT).encode()) | {"source_etag": "e2"}
    expected = Reading(with_settings(assignment, output_uri=str(tmp_path / "undisturbed")), grown).finish()
    night = with_settings(keeping, run_id="r2")
    second = Reading(night, grown | {"state_uri": kept["state_uri"]})
    found = second.finish()
    assert second.read == expected["tokens_read"] - kept["tokens"] == found["tokens_read"]
    assert [each["summary"] for each in found["summaries"]] == [each["summary"] for each in expected["summaries"]]


@pytest.mark.parametrize("family", ["granite_h", "nemotron_h"])
def test_a_hybrids_tenth_snapshot_has_its_state_once_and_the_keys_and_values_that_are_new(family, tmp_path):
    """As its checkpoint is published; drained then, another actor goes on to the text of an undisturbed reading."""
    directory = tmp_path / "model"
    text, step = TEXT * 6, STEP // 2
    row = streamed(tmp_path / "book.txt", text.encode())
    told, directory = of_family(family, tmp_path)
    expected = Reading(with_settings(told, output_uri=str(tmp_path / "undisturbed")), row).finish()
    first = Reading(told, row)
    first.work_until(lambda: len(first.segments) >= 10)
    planned = footprint(checkpoint.architecture(directory))
    tenth = first.segments[-1]
    tokens, kept = tenth.stop - tenth.start, planned.cache_bytes(1, 4)
    state = objects.stat(first.snapshot_uri).size_bytes
    assert tokens <= 3 * step and tenth.stop > 5000
    assert tokens * kept < tenth.size_bytes < tokens * kept + 500
    assert planned.state_bytes < state < planned.state_bytes + 10_000
    whole = planned.state_bytes + tenth.stop * kept
    bytes_written = state + tenth.size_bytes
    print(f"\n{family}: the tenth snapshot writes {bytes_written:,} of {whole:,} bytes after {tenth.stop:,} tokens")
    assert bytes_written < 0.3 * whole
    first.driver.preempt(30.0)
    first.driver._evacuate()
    second = Reading(told, *resuming(told, row))
    found = second.finish()
    assert [each["summary"] for each in found["summaries"]] == [each["summary"] for each in expected["summaries"]]
    assert first.read + second.read == len(tokenize.tokens([text], tokenizer()))
    assert found["tokens_resumed"] == first.read


def test_snapshots_in_int8_take_a_part_of_the_bytes_and_no_token_twice(tmp_path):
    text = TEXT * 2
    row = streamed(tmp_path / "book.txt", text.encode())
    told, directory = of_family("nemotron_h", tmp_path, snapshot=SnapshotSettings(dtype="int8"))
    first = Reading(told, row)
    first.work_until(lambda: len(first.segments) >= 2)
    planned, segment = footprint(checkpoint.architecture(directory)), first.segments[0]
    assert segment.size_bytes < 0.4 * planned.cache_bytes(segment.stop, 4)
    assert objects.stat(first.snapshot_uri).size_bytes < 0.6 * planned.state_bytes
    first.driver.preempt(30.0)
    first.driver._evacuate()
    second = Reading(told, *resuming(told, row))
    assert second.finish()["outcome"] == "finished"
    assert first.read + second.read == len(tokenize.tokens([text], tokenizer()))


def test_a_kept_state_with_keys_and_values_answers_as_a_run_with_that_prompt(tmp_path):
    """Also where memory is too small, which is said."""
    row = streamed(tmp_path / "book.txt", (TEXT * 2).encode())
    told, directory = of_family("granite_h", tmp_path)
    told = with_settings(told, ttl_days=30.0, storage_gib_month=Decimal(0))
    (kept,) = Reading(told, row).finish()["states"]
    asked = PromptSettings(instruction="line 7", max_tokens=9)
    other = with_settings(told, prompts=(asked,), output_uri=str(tmp_path / "other"))
    (expected,) = Reading(other, row).finish()["summaries"]
    state = KeptState(kept["state_uri"], kept, None, "kept")
    reader = question.Reader(directory, tokenizer(), "float32", "cpu")
    reply = question.ask(state, asked, reader)
    assert reply.answer == expected["summary"] and reply.tokens_read < 5000
    small = published_families.made("granite_h", max_position_embeddings=1000)
    small.save_pretrained(tmp_path / "small")
    with pytest.raises(TooLargeError, match="there is room for"):
        question.ask(state, asked, replace(reader, directory=tmp_path / "small"))


def of_family(family: str, tmp_path: Path, **settings: Any) -> tuple[Assignment, Path]:
    """A run with a tiny checkpoint as transformers writes it, and where that is."""
    directory = tmp_path / "model"
    model = published_families.made(family, max_position_embeddings=65_536)
    model.save_pretrained(directory)
    tokenizer().save(directory)
    told = with_settings(
        replace(assignment_in(tmp_path / "base"), config=settings_of(directory, **settings)),
        model_revision=checkpoint.fingerprint(directory),
        output_uri=str(tmp_path / "output"),
        max_lost_device_seconds=2.5,
        heartbeat_seconds=300,
    )
    return told, directory


def settings_of(directory: Path, **settings: Any) -> SummarizeConfig:
    return SummarizeConfig(
        input=InputSettings(sources=("unused",)),
        model=ModelSettings(uri=str(directory)),
        prompts=(PromptSettings(max_tokens=6),),
        engine=EngineSettings(slots=2, step_tokens=STEP // 2, kv_cache_gib=0.1),
        **settings,
    )
