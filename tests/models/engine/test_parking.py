"""Documents whose lengths are not known share a memory that is too small for all of them."""

from dataclasses import replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from configs.errors import TooLargeError
from models.engine.backend import Handle, SavedState
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import Finished, Prompt, ReadState, Request, Sampling
from tests.arriving import Arriving
from tests.growing_backend import VOCAB_SIZE, GrowingBackend

END, STEP = 60, 16
PROMPTS = (Prompt((3, 1, 4), Sampling(9)), Prompt((2, 7), Sampling(5)))
LONGEST = max(len(prompt.tokens) + prompt.sampling.max_tokens for prompt in PROMPTS)


def tokens_of(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, VOCAB_SIZE - 1, length)


class Counting(GrowingBackend):
    """How often sequences were exported; a document may have all memory but the preamble's."""

    def __init__(self, capacity: int, preamble_tokens: int = 0) -> None:
        super().__init__(max_context=capacity - preamble_tokens, capacity=capacity)
        self.exports = 0

    def export(self, handle: Handle, since: int = 0) -> SavedState:
        self.exports += 1
        return super().export(handle, since)


def request(length: int, at_once: int = 9, start: ReadState | None = None, **options: object) -> Request:
    feed = Arriving(tokens_of(length), at_once, start.tokens_read if start else 0)
    return Request(length, feed, PROMPTS, start=start, **options)  # type: ignore[arg-type]


def run(engine: Engine, requests: list[Request]) -> tuple[dict[object, Finished], dict[object, Exception], int]:
    for each in requests:
        engine.submit(each)
    found, failed, read, steps = {}, {}, 0, 0
    while engine.busy:
        done = engine.step()
        read, steps = read + done.document_tokens, steps + 1
        found |= {each.id: each for each in done.finished}
        failed |= {each.id: each.error for each in done.failed}
        assert steps < 5000, "every document comes to its end"
    return found, failed, read


def alone(lengths: list[int]) -> dict[object, Finished]:
    """As much memory as they want."""
    return run(Engine(Counting(10_000), {END}, 16, STEP), [request(length) for length in lengths])[0]


def test_streamed_documents_are_read_side_by_side_and_parked_where_memory_is_short():
    lengths = [150, 130, 140, 30]
    backend = Counting(200)
    engine = Engine(backend, {END}, 4, STEP)
    for length in lengths[:3]:
        engine.submit(request(length))
    engine.step()
    # Not one after the other, though each might come to all that there is.
    assert len(engine.in_slots) == 3 and not backend.exports
    found, failed, read = run(engine, [request(30)])
    assert (found, failed) == (alone(lengths), {})
    assert read == sum(lengths) - STEP and backend.exports >= 2
    assert backend.most_granted <= backend.capacity and backend.num_open == 0


def test_what_is_expected_is_waited_for_instead():
    backend = Counting(200)
    lengths = [150, 130, 140]
    found, failed, read = run(Engine(backend, {END}, 4, STEP), [request(n, expected_tokens=n) for n in lengths])
    assert (found, failed, read) == (alone(lengths), {}, sum(lengths))
    assert not backend.exports


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 170), st.integers(1, 90), st.integers(0, 200)), min_size=1, max_size=7),
    st.integers(195, 500),
    st.integers(1, 7),
    st.booleans(),
)
@example([(170, 5, 0), (169, 90, 0), (168, 1, 10), (3, 1, 200)], 195, 4, True)
def test_whatever_arrives_answers_are_those_of_an_undisturbed_run(documents, capacity, slots, has_preamble):
    preamble = [5, 6, 7, 8] if has_preamble else []
    documents = list({length: each for each in documents for length in each[:1]}.values())
    backend, plenty = Counting(capacity, len(preamble)), Counting(100_000)
    results = []
    for each, num_slots in ((backend, slots), (plenty, 16)):
        requests = [request(length, at_once, expected_tokens=e) for length, at_once, e in documents]
        results.append(run(Engine(each, {END}, num_slots, STEP, preamble), requests))
    assert results[0] == results[1] and not results[0][1]
    assert results[0][2] == sum(length for length, *_ in documents)
    assert backend.most_granted <= capacity
    assert backend.num_open == has_preamble


def parked(lengths: list[int]) -> tuple[Engine, list[int]]:
    """An engine in which some of these documents are parked, and which."""
    backend = Counting(200)
    engine = Engine(backend, {END}, 4, STEP)
    for length in lengths:
        engine.submit(request(length))
    while not backend.exports:
        engine.step()
    return engine, [document.request.id for document in engine._documents if document.parked is not None]


def test_a_parked_document_has_a_state_to_resume_from_elsewhere():
    lengths = [150, 130, 140]
    engine, waiting = parked(lengths)
    state = engine.read_state(waiting[0])
    assert 0 < state.tokens_read == state.state["keys"].shape[1] < waiting[0]
    part = engine.read_state(waiting[0], since=10)
    assert np.array_equal(part.state["keys"], state.state["keys"][:, 10:]) and part.since == 10
    found, _, read = run(Engine(Counting(300), {END}, 2, STEP), [request(waiting[0], start=state)])
    assert found == alone(waiting[:1]) and read == waiting[0] - state.tokens_read


def test_a_parked_document_can_be_withdrawn_or_asked_about_so_far():
    lengths = [150, 130, 140]
    engine, (first, *_) = parked(lengths)
    engine.withdraw(first)
    found, _, _ = run(engine, [])
    assert set(found) == set(lengths) - {first}
    engine, (first, *_) = parked(lengths)
    read = engine.in_slots[first]
    engine.conclude(first)
    found, _, _ = run(engine, [])
    assert found[first].so_far and found[first].tokens_read == read and set(found) == set(lengths)


def test_only_the_document_that_is_too_long_for_all_of_the_memory_fails():
    backend = Counting(200)
    long = replace(request(150), feed=Arriving(tokens_of(400), 9), id="long")
    found, failed, _ = run(Engine(backend, {END}, 4, STEP), [request(130), long, request(140)])
    assert found == alone([130, 140]) and list(failed) == ["long"]
    assert isinstance(failed["long"], TooLargeError) and f"room for {200 - LONGEST} tokens" in str(failed["long"])
    assert backend.num_open == 0


def test_sections_are_asked_about_though_memory_is_short():
    def sectioned(length: int) -> Request:
        feed = Arriving(tokens_of(length), 20, section_ends=(length // 3, length // 2))
        return Request(length, feed, PROMPTS[:1], section_prompts=PROMPTS[1:])

    lengths = [150, 130, 140]
    results = [run(Engine(Counting(c), {END}, 3, STEP), [sectioned(n) for n in lengths]) for c in (180, 5000)]
    assert results[0] == results[1]
    assert all(len(each.sections) == 3 for each in results[0][0].values())


def test_room_that_a_document_waits_for_is_not_given_to_those_behind_it():
    engine = Engine(Counting(110), {END}, 4, 32)
    engine.submit(request(5, 5))
    engine.submit(request(85, 32))
    steps = 0
    while not engine._parking._waits:
        engine.step()
        steps += 1
        assert steps < 50, "the answers about the short one leave too little for the long one"
    engine.submit(replace(request(1), feed=ArrayFeed(tokens_of(1))))
    engine.step()
    assert set(engine.in_slots) <= {5, 85} and engine.num_waiting == 1
    found, failed, _ = run(engine, [])
    assert {1, 85} <= set(found) and not failed
