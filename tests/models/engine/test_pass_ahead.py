"""On a device that works by itself the host is a pass behind, and nothing but the time shows it."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from models.backends.hybrid import HybridBackend
from models.backends.recurrent import RecurrentBackend
from models.engine.backend import Backend
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import Finished, Prompt, ReadState, Request, Sampling
from tests import hybrid_model
from tests.delayed import Delayed
from tests.growing_backend import GrowingBackend
from tests.small_model import build

END, MOST = 60, 40
RESUMED = range(200, 212)
MODEL, HYBRID = build(torch.float64), hybrid_model.build("hybrid")
BACKENDS: dict[str, Callable[[], Backend]] = {
    "growing": lambda: GrowingBackend(capacity=20_000),
    "hybrid": lambda: HybridBackend(HYBRID, 40, 400, page_tokens=16),
    "recurrent": lambda: RecurrentBackend(MODEL, 40),
}


def request(number: int, start: ReadState | None = None) -> Request:
    """Of 1 to 130 tokens, some with sections, some sampled, some with a check that turns down answers."""
    random = np.random.default_rng(number)
    tokens = random.integers(0, END, random.integers(1, 130))
    ends = sorted({int(end) for end in random.integers(1, len(tokens) + 1, 2)}) if number % 3 == 0 else []

    def check(answer: tuple[int, ...]) -> str | None:
        return "odd" if sum(answer) % 2 else None

    prompts = [
        Prompt((3, 1, 4 + place), Sampling(int(random.integers(1, MOST)), float(place > 0) * 0.8, 0.9, number), check)
        for place in range(1 + number % 3)
    ]
    feed = ArrayFeed(tokens, ends, start=start.tokens_read if start else 0)
    return Request(number, feed, tuple(prompts), tuple(prompts[:1]) if ends else (), start)


Totals = tuple[int, int]


def run(engine: Engine, requests: list[Request]) -> tuple[dict[object, Finished], Totals]:
    """With the tokens of documents and of answers that passes had."""
    for each in requests:
        engine.submit(each)
    found: dict[object, Finished] = {}
    read = decoded = 0
    while engine.busy:
        done = engine.step()
        assert not done.failed
        read, decoded = read + done.document_tokens, decoded + done.answer_tokens
        found |= {each.id: each for each in done.finished}
    return found, (read, decoded)


@pytest.mark.parametrize("count", [1, 3, 12, 40])
@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_rows_are_those_of_a_device_that_is_waited_for(name, count):
    """A pack of 1 to 40 segments, from empty states and from used ones."""
    requests = range(100, 100 + count)
    slots = min(count, 20)
    expected = run(Engine(BACKENDS[name](), {END}, slots, 256), [request(number) for number in requests])
    backend = Delayed(BACKENDS[name]())
    assert run(Engine(backend, {END}, slots, 256), [request(number) for number in requests]) == expected
    assert len(expected[0]) == count
    # The device had the next pass before the host had seen the tokens of this one.
    assert backend.stream.most_under_way == 2


def test_every_document_has_left_its_last_pass_when_it_is_finished():
    engine, shares, left = Engine(Delayed(GrowingBackend()), {END}, 6, 64), [], set()
    for number in range(12):
        engine.submit(request(number))
    while engine.busy:
        done = engine.step()
        shares.append(done.shares)
        # That pass may still be under way, and none of these have a share of it.
        assert not {each.id for each in done.finished} & set(done.shares)
        assert not left & set(done.shares)
        left |= {each.id for each in done.finished}
    assert left == set(range(12))


@cache
def undisturbed(name: str) -> tuple[dict[object, Finished], Totals]:
    """What is said of RESUMED."""
    return run(Engine(BACKENDS[name](), {END}, 5, 64), [request(number) for number in RESUMED])


@pytest.mark.parametrize("steps", [1, 3, 8, 21])
@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_documents_resume_from_what_was_exported_while_a_pass_was_under_way(name, steps):
    expected, (read, _) = undisturbed(name)
    engine, done, read_before = Engine(Delayed(BACKENDS[name]()), {END}, 5, 64), {}, 0
    for number in RESUMED:
        engine.submit(request(number))
    for _ in range(steps):
        passed = engine.step()
        read_before += passed.document_tokens
        done |= {each.id: each for each in passed.finished}
    while engine.busy and ((passed := engine.step(read=False)).kind != "wait" or passed.finished):
        done |= {each.id: each for each in passed.finished}
    states = {number: engine.read_state(number) for number in engine.in_slots}
    assert all(state.tokens_read == engine.in_slots[number] for number, state in states.items())
    left = [request(number, states.get(number)) for number in RESUMED if number not in done]
    rest, (read_later, _) = run(Engine(Delayed(BACKENDS[name]()), {END}, 3, 96), left)
    assert (done | rest, read_before + read_later) == (expected, read)


@pytest.mark.parametrize("steps", [1, 4, 9, 16, 25])
def test_documents_are_withdrawn_and_concluded_while_a_pass_is_under_way(steps):
    backend = GrowingBackend()
    engine, done = Engine(Delayed(backend), {END}, 4, 64), {}
    for number in range(300, 306):
        engine.submit(request(number))
    for _ in range(steps):
        done |= {each.id: each for each in engine.step().finished}
    gone, *others = [number for number in range(300, 306) if number not in done]
    engine.withdraw(gone)
    for number in others:
        if number in engine.in_slots:
            engine.conclude(number)
    while engine.busy:
        done |= {each.id: each for each in engine.step().finished}
    assert set(done) == {*range(300, 306)} - {gone} and backend.num_open == 0
    whole, _ = run(Engine(GrowingBackend(), {END}, 4, 64), [request(number) for number in done])
    assert all(done[number] == whole[number] for number in done if not done[number].so_far)


def test_a_document_whose_answers_had_all_ended_when_it_was_saved_is_finished_at_once():
    """It waits for a pass under way that decodes in vain behind the end of its answer."""
    prompts = tuple(Prompt((3, 1, 4), Sampling(400, 3.0, seed=seed)) for seed in range(2))

    def asked(number: int, start: ReadState | None = None) -> Request:
        return replace(request(number, start), prompts=prompts, section_prompts=())

    expected, _ = run(Engine(GrowingBackend(), {END}, 6, 64), [asked(number) for number in range(4)])
    assert {answer.finish_reason for each in expected.values() for answer in each.answers} == {"stop"}
    engine, seen = Engine(Delayed(GrowingBackend()), {END}, 6, 64), 0
    for number in range(4):
        engine.submit(asked(number))
    while engine.busy:
        engine.step()
        for id in [each.request.id for each in engine._ended]:
            state = engine.read_state(id)
            assert len(state.answers) == 2
            (again,) = run(Engine(GrowingBackend(), {END}, 1, 64), [asked(id, state)])[0].values()
            assert again == expected[id]
            seen += 1
    assert seen


@pytest.mark.parametrize("breaks_at", [1, 2, 5, 11])
def test_of_a_device_that_breaks_only_states_are_given_out_that_no_pass_under_way_touched(breaks_at):
    engine = Engine(Delayed(GrowingBackend(), breaks_at=breaks_at), {END}, 4, 16)
    requests = {number: replace(request(number), section_prompts=()) for number in range(4)}
    for each in requests.values():
        engine.submit(each)
    with pytest.raises(RuntimeError, match="launch failure"):
        run(engine, [])
    touched = {each.request.id for pack in engine._under_way for each in pack.reading}
    states = {number: engine.read_state(number) for number in engine.in_slots}
    assert {number for number, state in states.items() if state is None} == touched
    # The pass that broke and the one that was asked for behind it.
    assert len(engine._under_way) == 2
