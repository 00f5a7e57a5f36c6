"""The engine knows nothing of states: over a model that remembers every token it schedules as over a recurrent one."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from configs.errors import StateError, TooLargeError
from models.engine.backend import GROWING
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import Finished, Prompt, ReadState, Request, Sampling
from models.engine.sampling import loop_start
from tests.arriving import Arriving
from tests.growing_backend import VOCAB_SIZE, GrowingBackend

END = 60
LENGTHS = [5, 130, 1, 64, 23, 301, 8]
MOST = 12
PROMPTS = tuple(Prompt((3, 1, 4 + index), Sampling(MOST)) for index in range(3))


def tokens_of(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, VOCAB_SIZE - 1, length)


def request(length: int, start: ReadState | None = None) -> Request:
    feed = ArrayFeed(tokens_of(length), start=start.tokens_read if start else 0)
    return Request(length, feed, PROMPTS[: 1 + length % 3], start=start)


def plainly(tokens: np.ndarray, prompt: Prompt) -> tuple[tuple[int, ...], str]:
    """The whole document and the prompt at once, then token by token."""
    model = GrowingBackend().model
    logits, cache = model(torch.tensor([*tokens, *prompt.tokens]), GrowingBackend().model.empty())
    output: list[int] = []
    while True:
        output.append(int(logits.float().argmax()))
        if output[-1] == END:
            return tuple(output[:-1]), "stop"
        if (cut := loop_start(output)) is not None:
            return tuple(output[:cut]), "loop"
        if len(output) == MOST:
            return tuple(output), "length"
        logits, cache = model(torch.tensor(output[-1:]), cache)


EXPECTED = {length: [plainly(tokens_of(length), prompt) for prompt in PROMPTS[: 1 + length % 3]] for length in LENGTHS}


def run(engine: Engine, requests: Sequence[Request]) -> tuple[dict[object, list], dict[object, Exception], int]:
    """Answers, failures and how many tokens of documents were read."""
    for each in requests:
        engine.submit(each)
    found: dict[object, Finished] = {}
    failed, read = {}, 0
    while engine.busy:
        done = engine.step()
        read += done.document_tokens
        found |= {each.id: each for each in done.finished}
        failed |= {each.id: each.error for each in done.failed}
    return {id: [(a.tokens, a.finish_reason) for a in each.answers] for id, each in found.items()}, failed, read


def test_the_answers_differ_by_document_and_prompt():
    everything = [answer for answers in EXPECTED.values() for answer in answers]
    assert len(set(everything)) > len(everything) // 2


@pytest.mark.parametrize(("slots", "step_tokens"), [(3, 32), (7, 64), (1, 16), (16, 4096), (4, 4)])
def test_a_ragged_mix_is_answered_as_each_document_alone_and_each_prompt_from_a_fork(slots, step_tokens):
    backend = GrowingBackend()
    found, failed, read = run(Engine(backend, {END}, slots, step_tokens), [request(length) for length in LENGTHS])
    assert (found, failed, read) == (EXPECTED, {}, sum(LENGTHS))
    assert backend.num_open == 0


@pytest.mark.parametrize("steps", [1, 4, 9])
def test_documents_resume_in_another_engine_from_what_the_first_exported(steps):
    first, done = Engine(GrowingBackend(), {END}, 7, 32), {}
    for length in LENGTHS:
        first.submit(request(length))
    for _ in range(steps):
        done |= {each.id: [(a.tokens, a.finish_reason) for a in each.answers] for each in first.step().finished}
    left = {length: first.read_state(length) for length in first.in_slots}
    assert any(0 < state.tokens_read < length for length, state in left.items())
    assert all(state.state["keys"].shape[1] == state.tokens_read for state in left.values())
    rest = [request(length, left.get(length)) for length in LENGTHS if length not in done]
    found, failed, read = run(Engine(GrowingBackend(), {END}, 2, 48), rest)
    assert (done | found, failed) == (EXPECTED, {})
    assert read == sum(LENGTHS) - sum(state.tokens_read for state in left.values()) - sum(done)


def test_a_state_that_grows_is_exported_from_where_the_last_export_ended():
    """The preamble counts: what grows is of the sequence, not of the document."""
    engine, pieces, since = Engine(GrowingBackend(), {END}, 1, 32, tokens_of(17).tolist()), [], 0
    engine.submit(request(301))
    while engine.busy and (read := engine.in_slots.get(301, 0)) < 301:
        engine.step()
        if read % 3:
            pieces.append(engine.read_state(301, since))
            since += pieces[-1].state["keys"].shape[1]
    whole, last = engine.read_state(301), pieces[-1]
    assert since == last.tokens_read + 17 and whole.since == 0
    assert [piece.since for piece in pieces] == [0, *np.cumsum([piece.state["keys"].shape[1] for piece in pieces])[:-1]]
    for name in GROWING:
        joined = np.concatenate([piece.state[name] for piece in pieces], axis=1)
        assert np.array_equal(joined, whole.state[name][:, :since])


def test_every_document_continues_a_fork_of_the_preamble():
    preamble = tokens_of(17)
    found, _, read = run(Engine(GrowingBackend(), {END}, 3, 16, preamble.tolist()), [request(n) for n in LENGTHS])
    assert read == sum(LENGTHS)
    for length in LENGTHS:
        tokens = np.concatenate([preamble, tokens_of(length)])
        assert found[length] == [plainly(tokens, prompt) for prompt in PROMPTS[: 1 + length % 3]]


@pytest.mark.parametrize("capacity", [316, 400, 700])
def test_documents_wait_where_memory_is_short_and_memory_is_never_overdrawn(capacity):
    backend = GrowingBackend(capacity=capacity)
    found, failed, read = run(Engine(backend, {END}, 7, 64), [request(length) for length in LENGTHS])
    assert (found, failed, read) == (EXPECTED, {}, sum(LENGTHS))
    assert backend.most_granted <= capacity and backend.num_open == 0


def test_what_memory_or_context_cannot_hold_fails_alone_with_a_sentence():
    lengths = [5, 301, 64, 130]
    small, short = GrowingBackend(capacity=300), GrowingBackend(max_context=200)
    for backend, words in ((small, "more memory than there is"), (short, "room for 185 tokens")):
        found, failed, _ = run(Engine(backend, {END}, 3, 64), [request(length) for length in lengths])
        assert found == {length: EXPECTED[length] for length in (5, 64, 130)}
        assert list(failed) == [301] and isinstance(failed[301], TooLargeError) and words in str(failed[301])
        assert backend.num_open == 0


def test_a_document_that_turns_out_longer_than_the_context_fails_where_that_shows():
    backend, long = GrowingBackend(max_context=200), Arriving(tokens_of(301), 9)
    arriving = [replace(request(length), feed=Arriving(tokens_of(length), 9)) for length in (130, 64)]
    found, failed, read = run(Engine(backend, {END}, 2, 16), [replace(request(301), feed=long), *arriving])
    assert found == {length: EXPECTED[length] for length in (130, 64)}
    assert list(failed) == [301] and isinstance(failed[301], TooLargeError)
    assert 130 + 64 < read < 130 + 64 + 200 and backend.num_open == 0


def test_a_state_of_another_kind_of_model_is_refused():
    other = ReadState({"ssm": np.zeros((2, 1, 3))}, 100)
    found, failed, _ = run(Engine(GrowingBackend(), {END}, 2, 64), [request(130, other), request(64), request(5)])
    assert isinstance(failed[130], StateError)
    assert found == {length: EXPECTED[length] for length in (64, 5)}
