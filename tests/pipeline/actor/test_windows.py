"""What is longer than the context is read in windows: each as a document of its own, none of them twice."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from configs.errors import StateError, TooLargeError
from configs.settings import EngineSettings, InputSettings, PromptSettings, SectionSettings, SummarizeConfig
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import Finished, Prompt, ReadState, Request, Sampling
from models.engine.sampling import loop_start
from pipeline.actor import model_engine, startup
from pipeline.actor.assignment import Assignment
from pipeline.actor.reduction import Texts
from pipeline.actor.windows import Windows
from pipeline.documents import tokenize
from pipeline.ledger.commit import commit
from pipeline.prompts.joining import Part, joined
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.document import Document
from pipeline.schemas.tables import Row
from pipeline.states import question, snapshot, stored
from pipeline.states.library import KeptState
from tests.driven import Driven
from tests.growing_backend import VOCAB_SIZE, GrowingBackend
from tests.one_actor import (
    TEXT,
    assignment_in,
    begin,
    entries,
    ledger,
    resuming,
    streamed,
    submitted,
    tokenizer,
    with_settings,
)

END, MOST, CONTEXT = 60, 12, 160
PROMPTS = tuple(Prompt((3, 1, 4 + index), Sampling(MOST)) for index in range(2))
WINDOW = CONTEXT - 3 - MOST
LENGTHS = [40, WINDOW, WINDOW + 1, 700]
SETTINGS = tuple(PromptSettings(name=f"p{index}") for index in range(2))


def tokens_of(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(2, VOCAB_SIZE - 1, length).astype(np.int32)


class Trickle(ArrayFeed):
    """Tokens that come little by little, and an end that is known late."""

    def __init__(self, tokens: np.ndarray, start: int = 0, step: int = 7) -> None:
        super().__init__(tokens, start=start)
        self._shown, self._step, self._asked = 0, step, False

    @property
    def ready(self) -> int:
        self._shown = min(self._shown + self._step, len(self._tokens))
        return self._shown

    @property
    def ended(self) -> bool:
        done = self._shown >= len(self._tokens)
        known, self._asked = done and self._asked, done
        return known

    def take(self, count: int) -> np.ndarray:
        self._shown -= count
        return super().take(count)


def windows(reduces: bool, slots: int = 3, step_tokens: int = 32, context: int = CONTEXT) -> Windows:
    engine = Engine(GrowingBackend(context, 4 * context), {END}, slots, step_tokens)
    return Windows(engine, Texts(SETTINGS, tokenizer()), reduces)


def run(engine: Windows, *requests: Request) -> tuple[dict[object, Finished], dict[object, Exception], int]:
    for each in requests:
        engine.submit(each)
    found, failed, read = {}, {}, 0
    for _ in range(3000):
        if not engine.busy:
            return found, failed, read
        done = engine.step()
        read += done.document_tokens
        found |= {each.id: each for each in done.finished}
        failed |= {each.id: each.error for each in done.failed}
    raise AssertionError("it does not come to an end")


def plainly(tokens: np.ndarray, prompt: Prompt) -> tuple[int, ...]:
    """The whole document and the prompt at once, then token by token."""
    model = GrowingBackend().model
    logits, cache = model(torch.tensor([*tokens, *prompt.tokens]), model.empty())
    output: list[int] = []
    while True:
        output.append(int(logits.float().argmax()))
        if output[-1] == END:
            return tuple(output[:-1])
        if (cut := loop_start(output)) is not None:
            return tuple(output[:cut])
        if len(output) == MOST:
            return tuple(output)
        logits, cache = model(torch.tensor(output[-1:]), cache)


def parts_of(length: int) -> list[np.ndarray]:
    return [tokens_of(length)[start : start + WINDOW] for start in range(0, length, WINDOW)]


def request(length: int, feed: type = ArrayFeed, start: ReadState | None = None) -> Request:
    given = feed(tokens_of(length), start=start.tokens_read if start else 0)
    return Request(length, given, PROMPTS, start=start)


def texts(finished: Finished) -> list[list[tuple[int, ...]]]:
    return [[answer.tokens for answer in window.answers] for window in finished.windows]


@pytest.mark.parametrize("feed", [ArrayFeed, Trickle])
def test_each_window_is_answered_as_a_document_of_its_own(feed):
    found, failed, read = run(windows(reduces=False), *(request(length, feed) for length in LENGTHS))
    assert (failed, read) == ({}, sum(LENGTHS))
    for length in LENGTHS:
        finished, parts = found[length], parts_of(length)
        expected = [[plainly(part, prompt) for prompt in PROMPTS] for part in parts]
        assert finished.tokens_read == length and not finished.so_far
        if len(parts) == 1:
            assert finished.windows == () and [answer.tokens for answer in finished.answers] == expected[0]
        else:
            assert texts(finished) == expected and finished.answers == ()
            assert [window.end for window in finished.windows] == [*range(WINDOW, length, WINDOW), length]
    assert len({tuple(map(tuple, each)) for each in texts(found[700])}) > 1


def reduced(parts: list[Part], prompt: int, most: int, levels: list[int]) -> str:
    """As the model summarizes, level by level."""
    join, levels[0] = Texts(SETTINGS, tokenizer()), levels[0] + 1
    groups: list[list[Part]] = []
    for part in parts:
        if groups and len(join.tokens([*groups[-1], part])) <= most:
            groups[-1].append(part)
        else:
            groups.append([part])
    answered = [
        group[0]
        if len(group) == 1
        else Part(
            group[0].start,
            group[-1].end,
            tokenizer().decode(plainly(np.array(join.tokens(group)), PROMPTS[prompt])).strip(),
        )
        for group in groups
    ]
    return answered[0].text if len(answered) == 1 else reduced(answered, prompt, most, levels)


@pytest.mark.parametrize("length", [400, 1200, 6000])
def test_answers_are_asked_about_until_there_is_one(length):
    context = 300
    found, failed, read = run(windows(reduces=True, context=context), request(length))
    assert (failed, read) == ({}, length), "answers that are read again are no tokens of the document"
    decode, ends, levels = tokenizer().decode, [window.end for window in found[length].windows], [0]
    for prompt in range(2):
        answers = [window[prompt] for window in texts(found[length])]
        parts = [
            Part(start, end, decode(answer).strip())
            for start, end, answer in zip([0, *ends], ends, answers, strict=False)
        ]
        levels[0] = 0
        assert decode(found[length].answers[prompt].tokens).strip() == reduced(
            parts, prompt, context - 3 - MOST, levels
        )
        assert found[length].answers[prompt].tokens_decoded >= len(found[length].answers[prompt].tokens)
    assert levels[0] > 1 or length < 6000


def test_answers_of_which_no_two_fit_fail_with_what_to_do():
    engine = windows(reduces=True, context=60)
    _, failed, _ = run(engine, request(300))
    with pytest.raises(TooLargeError, match=r"no two of them fit into the 45 tokens.*long_documents=windows"):
        raise failed[300]


@pytest.mark.parametrize("reduces", [False, True])
def test_wherever_reading_breaks_off_it_goes_on_without_reading_a_window_twice(reduces):
    expected, _, _ = run(windows(reduces), request(700), request(40))
    broken_off, steps = 0, 0
    while True:
        first, read, done = windows(reduces), 0, {}
        first.submit(request(700))
        first.submit(request(40))
        for _ in range(steps):
            passed = first.step() if first.busy else None
            read += passed.document_tokens if passed else 0
            done |= {each.id: each for each in passed.finished} if passed else {}
        if 700 in done:
            break
        # As in a drain: answers under way are finished, then nothing is left that a state could not hold.
        while first.busy and (passed := first.step(read=False)).kind != "wait":
            assert passed.document_tokens == 0
            done |= {each.id: each for each in passed.finished}
        left = {id: state for id in first.in_slots if (state := first.read_state(id)) is not None}
        rest = [request(length, start=left.get(length)) for length in (700, 40) if length not in done]
        found, failed, again = run(windows(reduces, slots=1), *rest)
        assert not failed and read + again == 740
        assert texts((done | found)[700]) == texts(expected[700])
        answers = [(done | found)[id].answers for id in (700, 40)]
        assert [[answer.tokens for answer in each] for each in answers] == [
            [answer.tokens for answer in expected[id].answers] for id in (700, 40)
        ]
        broken_off, steps = broken_off + 1, steps + 3
    assert broken_off > 15


def test_what_was_read_so_far_is_asked_about_window_by_window():
    engine = windows(reduces=True)
    engine.submit(request(700))
    while engine.in_slots.get(700, 0) < 2 * WINDOW + 20:
        engine.step()
    read = engine.in_slots[700]
    engine.conclude(700)
    found = []
    while engine.busy:
        found += engine.step(read=False).finished
    (finished,) = found
    assert finished.so_far and finished.tokens_read == read and finished.answers == ()
    assert [window.end for window in finished.windows] == [WINDOW, 2 * WINDOW, read]


LONG = TEXT[:1500]
TOKENS = len(tokenize.tokens([LONG], tokenizer()))


@pytest.fixture
def assignment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Assignment:
    def engine_of(told: Assignment) -> tuple[Any, object]:
        engine = Engine(GrowingBackend(400, 4000), {END}, 2, 64)
        return model_engine.in_windows(engine, told.config, tokenizer()), tokenizer()

    monkeypatch.setattr(startup, "engine_of", engine_of)
    return with_settings(
        assignment_in(tmp_path),
        state_key="k",
        engine=EngineSettings(slots=2, step_tokens=64),
        prompts=(PromptSettings(max_tokens=6), PromptSettings(name="other", instruction="line", max_tokens=4)),
        max_lost_device_seconds=0.5,
        heartbeat_seconds=300,
    )


def read_until(told: Assignment, row: Row, is_done: Callable[[Driven], object]) -> Driven:
    driver = Driven(told)
    submitted(driver, row)
    driver.await_arrivals(1)

    def passed() -> object:
        driver.clock.now_us += 1_000_000
        assert driver._writer.flush(30)
        return is_done(driver)

    driver.work_until(passed)
    return driver


def finish(told: Assignment, row: Row) -> tuple[Row, int]:
    driver = read_until(
        told, row, lambda driver: entries(told).get("a.txt", {}).get("outcome") in ("finished", "failed")
    )
    return entries(told)["a.txt"], driver._actor.reading().tokens_read


def test_fail_is_what_happens_unless_something_else_is_asked_for(assignment, tmp_path):
    found, _ = finish(assignment, streamed(tmp_path / "a.txt", LONG.encode()))
    assert found["outcome"] == "failed" and found["failures"][0]["error_class"] == "TooLargeError"


@pytest.mark.parametrize("mode", ["windows", "map_reduce"])
def test_rows_say_what_was_done_and_a_drain_costs_no_token(assignment, tmp_path, mode):
    told, row = with_settings(assignment, long_documents=mode), streamed(tmp_path / "a.txt", LONG.encode())
    expected, _ = finish(with_settings(told, output_uri=str(tmp_path / "undisturbed")), row)
    by_prompt = {each["prompt_id"]: each for each in expected["summaries"]}
    assert set(by_prompt) == {"summary", "other"}
    for each in by_prompt.values():
        assert each["windows"] > 3 and not each["truncated"]
        assert each["tokens_read"] == each["tokens_total"] == TOKENS
        assert ("[Tokens 1 to " in each["summary"]) is (mode == "windows")

    drained = read_until(told, row, lambda driver: driver._actor.reading().tokens_read > TOKENS // 2)
    drained.preempt(30.0)
    drained._evacuate()
    ((_, uri),) = ledger(told).snapshots().items()
    saved = stored.load(uri).read_state
    assert saved.window_start == saved.section_ends[-1] > 0
    assert {window for window, _ in saved.answers if window >= 0} == set(range(len(saved.section_ends)))
    found, read = finish(told, *resuming(told, row))
    assert [each["summary"] for each in found["summaries"]] == [each["summary"] for each in expected["summaries"]]
    assert drained._actor.reading().tokens_read + read == TOKENS
    begin(told)
    job = commit(ledger(told), [Document("a.txt", row["source_uri"], "e", 1)])
    rows = Warehouse(told.output_uri).rows
    assert sum(each["full_cost"] for each in rows("SELECT full_cost FROM summaries")) == job["cost"]
    assert rows("SELECT sum(tokens_wasted)::int AS wasted FROM costs")[0]["wasted"] == 0
    assert {each["windows"] for each in rows("SELECT windows FROM summaries")} == {by_prompt["other"]["windows"]}


def test_a_state_of_a_window_goes_on_in_a_run_that_asks_the_same_and_is_no_states_to_ask(assignment, tmp_path):
    told = with_settings(assignment, long_documents="windows", prompts=assignment.config.prompts)
    row = streamed(tmp_path / "a.txt", LONG.encode())
    drained = read_until(told, row, lambda driver: driver._actor.reading().tokens_read > TOKENS // 2)
    drained.preempt(30.0)
    drained._evacuate()
    ((_, uri),) = ledger(told).snapshots().items()
    found = stored.load(uri)
    snapshot.refuse(found, "k", ["text", found.made_by], found.settings_sha256)
    with pytest.raises(StateError, match="windows that were asked other questions"):
        snapshot.refuse(found, "k", ["text", found.made_by], "others")


def test_a_document_that_has_grown_goes_on_in_its_last_window(assignment, tmp_path):
    """And is not asked about from a state that holds no more than that window."""
    told = with_settings(assignment, long_documents="windows", ttl_days=30.0, storage_gib_month=Decimal(0))
    text = TEXT * 2
    first, _ = finish(told, streamed(tmp_path / "a.txt", text.encode()))
    (kept,) = first["states"]
    saved = stored.load(kept["state_uri"]).read_state
    assert 0 < saved.window_start == saved.section_ends[-1] < saved.tokens_read == kept["tokens"]

    grown = streamed(tmp_path / "a.txt", (text + TEXT).encode()) | {"source_etag": "e2"}
    expected, whole = finish(with_settings(told, output_uri=str(tmp_path / "undisturbed")), grown)
    found, read = finish(with_settings(told, run_id="r2"), grown | {"state_uri": kept["state_uri"]})
    assert [each["summary"] for each in found["summaries"]] == [each["summary"] for each in expected["summaries"]]
    assert read == whole - kept["tokens"] and found["summaries"][0]["tokens_read"] == whole

    state = KeptState(kept["state_uri"], kept, None, "kept")
    with pytest.raises(StateError, match=r"holds its last window alone, from token [\d,]+ on: ask .* with a run"):
        question.ask(state, PromptSettings(), None)


def test_settings_that_do_not_go_together_are_refused():
    given = {"input": InputSettings(sources=("x",))}
    with pytest.raises(ValidationError, match=r"long_documents = 'map_reduce' and sections"):
        SummarizeConfig(**given, long_documents="map_reduce", sections=SectionSettings())
    schema = PromptSettings(json_schema={"type": "object"})
    with pytest.raises(ValidationError, match="long_documents=map_reduce gives one"):
        SummarizeConfig(**given, long_documents="windows", prompts=(schema,))
    assert SummarizeConfig(**given, long_documents="map_reduce", prompts=(schema,))
    assert "long_documents" not in SummarizeConfig(**given).model_dump()


def test_ranges_count_from_one():
    assert joined([Part(0, 1200, "a"), Part(1200, 1300, "b")]) == "[Tokens 1 to 1,200]\na\n\n[Tokens 1,201 to 1,300]\nb"
