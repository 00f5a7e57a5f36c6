"""States that outlive their runs are found, asked and removed, on a disk and in a bucket."""

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from configs.errors import ConfigError, ModelError, StateError
from configs.settings import EngineSettings, PromptSettings
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.actor.assignment import Assignment
from pipeline.ledger.commit import commit
from pipeline.ledger.run_folder import Ledger
from pipeline.schemas.document import Document
from pipeline.states import expiry, question
from pipeline.states import library as catalogs
from pipeline.states.library import StateLibrary, newest_of_each
from pipeline.states.question import Making, Reader
from pipeline.states.snapshot import EXTRACTION_VERSION, state_key
from pipeline.storage import header, objects
from pipeline.storage.header import LENGTH_BYTES
from tests.kept_states import NOW, Keeper
from tests.one_actor import assignment_in, entries, ledger, run, streamed, tokenizer, with_settings
from tests.small_model import build
from tests.waiting import PATIENCE_SECONDS

NAMES = ("a.txt", "b.txt")
QUESTION = PromptSettings(instruction="line all a", max_tokens=24)


@pytest.fixture(params=["disk", "bucket"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An output to which runs have written."""
    return str(tmp_path / "out") if request.param == "disk" else f"{request.getfixturevalue('bucket')}/out"


@pytest.fixture
def keeper(output: str) -> Keeper:
    return Keeper(output)


def test_each_document_has_a_newest_state_and_rows_of_what_is_gone_stay(keeper):
    gone = keeper.row("b.txt", "b1", days_left=-1)
    keeper.keep(
        keeper.row("a.txt", "a1", days_old=3),
        keeper.row("a.txt", "a2", days_old=2),
        keeper.row("a.txt", "a3", days_old=1, days_left=-0.1),
        gone,
    )
    objects.delete(gone["state_uri"])
    stray = keeper.object("x/stray.safetensors")
    found = StateLibrary(keeper.output)
    assert {state.row["state_uri"][-14:-12]: state.status for state in found.states} == {
        "a1": "kept",
        "a2": "kept",
        "a3": "expired",
        "b1": "removed",
    }
    assert [state.place for state in newest_of_each(found.states)] == [keeper.place("a.txt", "a2")]
    assert [entry.uri for entry in found.unnamed] == [stray]


def test_an_object_belongs_to_its_newest_row(keeper):
    """The same content read again by the same model, for other questions."""
    keeper.keep(keeper.row("a.txt", "a1", days_old=40, days_left=-10), run_id="old")
    again = keeper.row("a.txt", "a1", days_old=1)
    keeper.keep(again | {"parent_uri": again["state_uri"]}, run_id="new")
    found = StateLibrary(keeper.output)
    (state,) = found.states
    assert (state.status, state.row["run_id"]) == ("kept", "new")
    assert found.lineage(state) == []
    assert expiry.removable(found) == []


def test_an_output_that_was_moved_still_knows_its_states(tmp_path):
    keeper = Keeper(str(tmp_path / "here"))
    keeper.keep(keeper.row("a.txt", "a1"))
    shutil.move(tmp_path / "here", tmp_path / "there")
    (state,) = StateLibrary(str(tmp_path / "there")).states
    assert state.status == "kept" and state.uri.startswith(str(tmp_path / "there"))


def test_the_lineage_goes_back_to_what_the_table_does_not_know(keeper):
    rows = [keeper.row("a.txt", f"a{number}", days_old=9 - number) for number in range(3)]
    for child, parent in zip(rows[1:], rows, strict=False):
        child["parent_uri"] = parent["state_uri"]
    rows[0]["parent_uri"] = "/elsewhere/_runs/r/snapshots/x.safetensors"
    keeper.keep(*rows)
    found = StateLibrary(keeper.output)
    uris = [row["state_uri"] for row in rows]
    assert found.lineage(found.states[0]) == [uris[1], uris[0], rows[0]["parent_uri"]]


@pytest.fixture
def many(tmp_path: Path) -> StateLibrary:
    keeper = Keeper(str(tmp_path / "many"))
    rows = [keeper.row(f"logs/{name}.txt", f"{name}{number}") for name in ("ab", "abc", "x") for number in (1, 2)]
    for days_old, row in enumerate(rows):
        row["created_at"] -= timedelta(days=days_old)
    keeper.keep(*rows)
    objects.delete(rows[0]["state_uri"])
    return StateLibrary(keeper.output)


def test_a_state_is_found_by_document_or_uri_or_a_part_that_names_one(many):
    def content(text: str) -> str:
        return many.find(text).place.removesuffix(".safetensors").rpartition("-")[2]

    # Of a document the newest that is there.
    assert content("logs/ab.txt") == "ab2"
    assert content("logs/x") == "x1"
    assert content("abc.") == "abc1"
    # Of a state that is gone its history is still known.
    assert content("-ab1") == "ab1"
    for state in many.states:
        assert many.find(state.uri) is many.find(f"s3://another/place/_states/{state.place}") is state


def test_more_than_one_is_refused_with_the_candidates(many):
    with pytest.raises(ConfigError, match="2 states are meant") as refusal:
        many.find("logs/ab")
    assert "logs/ab.txt" in str(refusal.value) and "logs/abc.txt" in str(refusal.value)
    with pytest.raises(ConfigError, match="no document and no state of that name"):
        many.find("nothing")
    for text in ("nothing", ""):
        with pytest.raises(ConfigError, match="no state of such a document"):
            many.like(text)
    assert {state.document_id for state in many.like("ab")} == {"logs/ab.txt", "logs/abc.txt"}


def test_only_the_whole_id_of_a_document_names_its_states(many):
    assert {state.document_id for state in many.of_document("logs/ab.txt")} == {"logs/ab.txt"}
    with pytest.raises(ConfigError, match="no state of such a document") as refusal:
        many.of_document("logs/ab")
    assert "logs/ab.txt\n  logs/abc.txt" in str(refusal.value) and "logs/x.txt" not in str(refusal.value)
    with pytest.raises(ConfigError, match="no state of such a document"):
        many.of_document("")


def test_what_has_expired_goes_and_what_no_row_names_a_day_later(keeper):
    keeper.keep(keeper.row("a.txt", "a1", days_left=-1), keeper.row("a.txt", "a2"), keeper.row("b.txt", "b1"))
    keeper.object("x/k-0000000001-s1.safetensors", 32)
    found = StateLibrary(keeper.output)
    assert [(each.document_id, each.size_bytes) for each in expiry.removable(found)] == [("a.txt", 10)]
    assert keeper.ends() == ["a1", "a2", "b1", "s1"]
    found.now += timedelta(days=1, minutes=1)
    removable = expiry.removable(found)
    assert {(each.document_id, each.size_bytes) for each in removable} == {("a.txt", 10), (None, 32)}
    expiry.remove(removable)
    assert keeper.ends() == ["a2", "b1"]
    # Twice is fine, and the rows tell of what went.
    expiry.remove(removable)
    again = StateLibrary(keeper.output)
    assert [state.status for state in again.states] == ["removed", "kept", "kept"]
    assert expiry.removable(again) == []


@pytest.mark.parametrize(("status", "is_removed"), [("partial", True), ("stopped", False)])
def test_snapshots_of_a_complete_run_go_a_day_later_with_their_segments(keeper, status, is_removed):
    """Of documents that failed; those of a run that was stopped are resumed from."""
    keeper.keep(keeper.row("a.txt", "a1"), run_id="kept")
    book = Ledger(keeper.output, "failed")
    book.begin({"started_at": "2026-03-01T00:00:00+00:00"})
    marker = json.dumps({"status": status, "number": 1}).encode()
    objects.publish(objects.join(keeper.output, "_commits", "failed", "0001.json"), marker)
    places = [book.snapshot_uri("d"), objects.join(book.uri, "snapshots", "d", "0000-0009-ab.safetensors")]
    for place in places:
        objects.publish(place, b"state")
    found = StateLibrary(keeper.output)
    assert expiry.removable(found) == []
    found.now += timedelta(days=1, minutes=1)
    removable = [each for each in expiry.removable(found) if each.document_id is None]
    assert sorted(each.uri for each in removable) == (sorted(places) if is_removed else [])
    assert expiry.removable(found, "a.txt") == []
    expiry.remove(removable)
    assert not is_removed or not objects.list_files(objects.join(book.uri, "snapshots"), ".safetensors")


def test_states_of_a_document_go_whatever_their_time(keeper):
    keeper.keep(keeper.row("a.txt", "a1", days_left=-1), keeper.row("a.txt", "a2"), keeper.row("a.txt.gz", "z1"))
    keeper.object("x/k-0000000001-s1.safetensors")
    found = StateLibrary(keeper.output)
    found.now += timedelta(days=2)
    expiry.remove(expiry.removable(found, "a.txt", whatever_their_time=True))
    assert keeper.ends() == ["s1", "z1"]
    for other in ("b.txt", "a", "txt"):
        with pytest.raises(ConfigError, match="no state of such a document"):
            expiry.removable(found, other, whatever_their_time=True)


def test_age_is_that_of_the_object(tmp_path):
    keeper = Keeper(str(tmp_path))
    keeper.keep(keeper.row("a.txt", "a1"))
    young, old = (keeper.object(f"x/k-0000000001-{name}.safetensors") for name in ("s1", "s2"))
    yesterday = (NOW - timedelta(hours=25)).timestamp()
    os.utime(old, (yesterday, yesterday))
    assert [each.uri for each in expiry.removable(StateLibrary(str(tmp_path)))] == [old] != [young]


# What follows is kept by a real engine.


def text(name: str) -> str:
    """12,000 letters of one document."""
    return "".join(random.Random(name).choices("aelin 0123456789\n", k=12_000))


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> tuple[Assignment, str]:
    """Two documents that have been read, kept and are gone; and what a whole reading answers to QUESTION."""
    folder = tmp_path_factory.mktemp("states")
    made = keeping(assignment_in(folder))
    rows = [streamed(folder / name, text(name).encode()) for name in NAMES]
    whole = with_settings(made, prompts=(QUESTION,), ttl_days=None, run_id="whole", output_uri=str(folder / "whole"))
    for assignment in (made, whole):
        for receipt in run(assignment, *rows)[1]:
            assert receipt.result(PATIENCE_SECONDS)["status"] == "ok"
    for name in NAMES:
        (folder / name).unlink()
    return made, whole.output_uri


def keeping(assignment: Assignment, dtype: str = "float32") -> Assignment:
    made_with = (
        assignment.model_revision,
        tokenizer().fingerprint,
        dtype,
        EXTRACTION_VERSION,
        assignment.config.preamble,
    )
    key = state_key(*made_with)
    engine = EngineSettings(slots=4, step_tokens=512)
    return with_settings(assignment, ttl_days=1.0, dtype=dtype, state_key=key, engine=engine)


def finish(assignment: Assignment, *document_ids: str) -> StateLibrary:
    model = {"uri": assignment.config.model.uri, "tokenizer": None}
    config: dict[str, Any] = {"price": {"currency": "USD"}, "model": model, "input": {"sources": ["x"]}}
    if assignment.config.preamble is not None:
        config["preamble"] = assignment.config.preamble
    about = {"run_id": "r", "started_at": NOW.isoformat(), "settings_sha256": "s", "model_revision": "m"}
    ledger(assignment).begin(about | {"config": config})
    commit(ledger(assignment), [Document(each, each, "e", 1) for each in document_ids])
    return StateLibrary(assignment.output_uri)


@pytest.fixture
def kept(read: tuple[Assignment, str], tmp_path: Path) -> StateLibrary:
    """A copy of its own, committed."""
    assignment, _ = read
    own = with_settings(assignment, output_uri=str(tmp_path / "own"))
    shutil.copytree(assignment.output_uri, own.output_uri)
    return finish(own, *NAMES)


def reader(found: StateLibrary, name: str = "a.txt", model: str | None = None, tokens: str | None = None) -> Reader:
    making = Making.of(found, found.find(name))
    return Reader.of(found.find(name), replace(making, tokenizer_uri=tokens or making.tokenizer_uri), model)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_answers_as_a_reading_of_the_whole_document(kept, read, name):
    state = kept.find(name)
    reply = question.ask(state, QUESTION, reader(kept, name))
    whole = replace(read[0], output_uri=read[1], run_id="whole")
    (expected,) = entries(whole)[name]["summaries"]
    assert reply.answer == expected["summary"]
    assert reply.tokens == expected["summary_tokens"] > 0
    assert (reply.finish_reason, reply.error) == (expected["finish_reason"], expected["answer_error"])
    tail = state.row["tokens_total"] - state.row["tokens"]
    asked = len(tokenizer().encode("\n\n### Instruction\nline all a\n\n### Response\n"))
    assert 0 < tail < 9000 and state.row["tokens"] > 0
    assert reply.tokens_read == tail + (1 + reply.retries) * asked


def test_an_answer_must_fit_its_schema(kept):
    prompt = QUESTION.model_copy(update={"json_schema": {"type": "array"}})
    reply = question.ask(kept.find("a.txt"), prompt, reader(kept))
    assert reply.retries == 1 and reply.finish_reason != "stop" and reply.error is not None


def test_a_state_in_bfloat16_is_asked_in_bfloat16(tmp_path):
    made = keeping(assignment_in(tmp_path), "bfloat16")
    run(made, streamed(tmp_path / "a.txt", text("a.txt").encode()))[1][0].result(PATIENCE_SECONDS)
    found = finish(made, "a.txt")
    fitting = reader(found)
    assert fitting.dtype == "bfloat16"
    assert question.ask(found.find("a.txt"), QUESTION, fitting).tokens > 0


def test_states_in_a_bucket_are_asked_and_removed(read, bucket):
    assignment, _ = read
    own = with_settings(assignment, output_uri=f"{bucket}/own")
    for file in objects.list_files(assignment.output_uri):
        part = os.path.relpath(file, assignment.output_uri)
        objects.publish(objects.join(own.output_uri, part), objects.read_bytes(file))
    found = finish(own, *NAMES)
    local = question.ask(found.find("a.txt"), QUESTION, reader(found))
    assert local.tokens > 0 and found.find("a.txt").uri.startswith(bucket)
    expiry.remove(expiry.removable(found, "a.txt", whatever_their_time=True))
    left = StateLibrary(own.output_uri)
    assert [left.find(name).status for name in NAMES] == ["removed", "kept"]


def test_other_weights_are_refused_and_a_copy_elsewhere_will_do(kept, read, tmp_path):
    shutil.copytree(read[0].config.model.uri, tmp_path / "copy")
    assert reader(kept, model=str(tmp_path / "copy")).directory == tmp_path / "copy"
    model = build(chunk_size=64)
    model.lm_head.weight.data[0] += 1
    checkpoint.save(model, tmp_path / "copy")
    with pytest.raises(StateError, match="made by other weights"):
        reader(kept, model=str(tmp_path / "copy"))
    kept.find("a.txt").row["model_id"] = "/no/such/place"
    with pytest.raises(ModelError, match="--model leads to a copy"):
        reader(kept)


def test_another_tokenizer_is_refused(kept, tmp_path):
    (tmp_path / "other").mkdir()
    Tokenizer.train(["line all a"], 300).save(tmp_path / "other")
    with pytest.raises(StateError, match="another tokenizer"):
        reader(kept, tokens=str(tmp_path / "other"))


def test_a_state_of_an_earlier_way_of_reading_is_refused(kept, read):
    row = kept.find("a.txt").row
    row["state_key"] = state_key(row["model_revision"], tokenizer().fingerprint, "bfloat16", EXTRACTION_VERSION - 1)
    with pytest.raises(StateError, match=f"of version {EXTRACTION_VERSION - 1} of how documents are read"):
        reader(kept)


def damage(uri: str) -> None:
    data = bytearray(objects.read_bytes(uri))
    data[-5] ^= 1
    objects.publish(uri, bytes(data))


@pytest.mark.parametrize(("spoil", "reason"), [(objects.delete, "was removed"), (damage, "damaged")])
def test_a_state_that_is_gone_or_damaged_is_refused(kept, spoil: Callable[[str], None], reason):
    before = kept.find("a.txt")
    spoil(before.uri)
    found = StateLibrary(kept.output_uri)
    with pytest.raises(StateError, match=reason):
        question.ask(found.find("a.txt"), QUESTION, reader(found))
    if spoil is objects.delete:
        with pytest.raises(StateError, match="not exist any more"):
            question.ask(before, QUESTION, reader(kept))


def test_only_the_head_of_an_object_is_read_for_what_it_says_of_itself(kept, output):
    data = objects.read_bytes(kept.find("a.txt").uri)
    head = data[: LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")]
    uri = objects.join(output, "head")
    objects.publish(uri, head)
    about = header.about(uri)
    assert about["document_id"] == "a.txt" and about["tokens"] == kept.find("a.txt").row["tokens"]
    for wrong in (head[:40], b"", b"\xff" * 100, bytes(7) + b"[]"):
        objects.publish(uri, wrong)
        with pytest.raises(StateError):
            header.about(uri)
    objects.delete(uri)
    with pytest.raises(StateError, match="not exist any more"):
        header.about(uri)


def test_what_a_run_has_still_to_commit_stays(read, tmp_path):
    assignment, _ = read
    own = with_settings(assignment, output_uri=str(tmp_path / "own"))
    shutil.copytree(assignment.output_uri, own.output_uri)
    Ledger(own.output_uri, "r").begin({"run_id": "r", "started_at": "", "config": {"model": {}}})
    underway = StateLibrary(own.output_uri)
    underway.now += timedelta(days=9)
    assert len(underway.unnamed) == 2 and not underway.states
    assert expiry.removable(underway, whatever_their_time=True) == []
    # Nor does an expired one that the run has kept anew, whatever its time.
    keeper = Keeper(own.output_uri)
    for entry in underway.unnamed:
        old = keeper.row("a.txt", "", days_old=9, days_left=-5) | {"state_uri": entry.uri}
        keeper.keep(old, run_id=f"old-{catalogs.place_of(entry.uri)[:4]}", objects=False)
    again = StateLibrary(own.output_uri)
    assert {state.status for state in again.states} == {"expired"}
    assert expiry.removable(again, "a.txt", whatever_their_time=True) == []


def test_the_tokenizer_is_that_of_the_run_though_its_table_is_gone(kept):
    state = kept.find("a.txt")
    ledger_of_run = Ledger(kept.output_uri, state.row["run_id"])
    about = ledger_of_run.about()
    about["config"]["model"]["tokenizer"] = "elsewhere"
    objects.publish(objects.join(ledger_of_run.uri, "run.json"), json.dumps(about).encode())
    assert Making.of(kept, state) == Making()
    for file in objects.list_files(objects.join(kept.output_uri, "jobs")):
        objects.delete(file)
    assert Making.of(StateLibrary(kept.output_uri), state) == Making("elsewhere")
    objects.delete(objects.join(ledger_of_run.uri, "run.json"))
    assert Making.of(StateLibrary(kept.output_uri), state) == Making()


def test_a_preamble_is_known_from_the_run_and_is_in_the_state(tmp_path):
    made = keeping(with_settings(assignment_in(tmp_path), preamble="all in a line", prompts=(QUESTION,)))
    run(made, streamed(tmp_path / "a.txt", text("a.txt").encode()))[1][0].result(PATIENCE_SECONDS)
    found = finish(made, "a.txt")
    reply = question.ask(found.find("a.txt"), QUESTION, reader(found))
    (expected,) = entries(made)["a.txt"]["summaries"]
    assert (reply.answer, reply.tokens) == (expected["summary"], expected["summary_tokens"])
    with pytest.raises(StateError, match="in a way that is not known here"):
        Reader.of(found.find("a.txt"), Making())
