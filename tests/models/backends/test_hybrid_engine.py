"""Documents through the engine and a model with attention: the same answers whatever runs beside them."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from models.backends import engines
from models.backends.hybrid import HybridBackend
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import Answer, Prompt, ReadState, Request, Sampling
from models.engine.sampling import loop_start
from models.hybrid.attention import WholeCache
from models.hybrid.language_model import HybridLM
from tests.arriving import Arriving
from tests.hybrid_model import CHUNK, END, VOCAB_SIZE, build

LENGTHS = [5, 130, 1, 64, 23, 301, 8]
MOST = 12
PROMPTS = tuple(Prompt((3, 1, 4 + index), Sampling(MOST)) for index in range(3))
PAGE = 16
FORMS = ("hybrid", "transformer")


def tokens_of(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, VOCAB_SIZE - 1, length)


def request(length: int, start: ReadState | None = None, at_once: int | None = None) -> Request:
    before = start.tokens_read if start else 0
    tokens = tokens_of(length)
    feed = ArrayFeed(tokens, start=before) if at_once is None else Arriving(tokens, at_once, before)
    return Request(length, feed, PROMPTS[: 1 + length % 3], start=start)


@torch.inference_mode()
def plainly(model: HybridLM, tokens: Sequence[int], prompt: Prompt) -> tuple[tuple[int, ...], str]:
    """The whole document and the prompt at once, then token by token."""
    cache, slots = WholeCache(model.kv_shape, 1), model.empty_state(1)
    first = torch.tensor([*tokens, *prompt.tokens])
    last = torch.tensor([len(first) - 1])
    logits = model.prefill_(first, [0, len(first)], slots, [0], cache.of_pass([0], [len(first)]), last)
    output: list[int] = []
    while True:
        output.append(int(logits[0].float().argmax()))
        if output[-1] == END:
            return tuple(output[:-1]), "stop"
        if (cut := loop_start(output)) is not None:
            return tuple(output[:cut]), "loop"
        if len(output) == MOST:
            return tuple(output), "length"
        logits = model.decode_(torch.tensor(output[-1:]), slots, [0], cache.of_pass([0], [1]))


def expected(model: HybridLM, before: Sequence[int] = ()) -> dict[object, list]:
    return {
        length: [plainly(model, [*before, *tokens_of(length)], prompt) for prompt in PROMPTS[: 1 + length % 3]]
        for length in LENGTHS
    }


def backend_of(model: HybridLM, num_pages: int = 120, preamble: Sequence[int] = ()) -> HybridBackend:
    return HybridBackend(model, 15, num_pages, len(preamble), page_tokens=PAGE)


def run(engine: Engine, requests: Sequence[Request], steps: int | None = None) -> tuple[dict[object, list], int]:
    """Answers, and how many tokens of documents were read, in at most so many steps."""
    for each in requests:
        engine.submit(each)
    found: dict[object, list] = {}
    read = 0
    while engine.busy and steps != 0:
        done = engine.step()
        assert not done.failed
        read += done.document_tokens
        found |= {each.id: [told(answer) for answer in each.answers] for each in done.finished}
        steps = None if steps is None else steps - 1
    return found, read


def told(answer: Answer) -> tuple[tuple[int, ...], str]:
    return answer.tokens, answer.finish_reason


@pytest.mark.parametrize(("slots", "step_tokens"), [(3, 32), (7, 64), (1, 16), (7, 4096)])
@pytest.mark.parametrize("form", FORMS)
def test_a_ragged_mix_is_answered_as_each_document_alone_and_every_page_comes_back(form, slots, step_tokens):
    model = build(form)
    backend = backend_of(model)
    answers = expected(model)
    assert len({answer for each in answers.values() for answer in each}) > 8
    found, read = run(Engine(backend, {END}, slots, step_tokens), [request(length) for length in LENGTHS])
    assert (found, read) == (answers, sum(LENGTHS))
    assert backend.num_free_pages == 120


@pytest.mark.parametrize("form", FORMS)
def test_every_document_continues_a_fork_of_the_preamble(form):
    model, preamble = build(form), tokens_of(37).tolist()
    backend = backend_of(model, preamble=preamble)
    found, read = run(Engine(backend, {END}, 3, 16, preamble), [request(length) for length in LENGTHS])
    assert (found, read) == (expected(model, preamble), sum(LENGTHS))
    assert backend.num_free_pages == 120 - -(-len(preamble) // PAGE)


@pytest.mark.parametrize("steps", [1, 2, 4, 9])
@pytest.mark.parametrize("form", FORMS)
def test_documents_resume_in_another_engine_as_if_nothing_had_happened(form, steps):
    model, preamble = build(form), tokens_of(37).tolist()
    first = Engine(backend_of(model, preamble=preamble), {END}, 7, 32, preamble)
    done, _ = run(first, [request(length) for length in LENGTHS], steps)
    left = {length: first.read_state(length) for length in first.in_slots}
    # A transformer without chunks reads each of these in one or two pieces.
    assert left and (form == "transformer" or any(0 < state.tokens_read < n for n, state in left.items()))
    assert all(state.state["keys"].shape[1] == 37 + state.tokens_read for state in left.values())
    rest = [request(length, left.get(length)) for length in LENGTHS if length not in done]
    found, read = run(Engine(backend_of(model, preamble=preamble), {END}, 2, 48, preamble), rest)
    assert done | found == expected(model, preamble)
    assert read == sum(LENGTHS) - sum(state.tokens_read for state in left.values()) - sum(done)
    # So does an engine that knows nothing of the preamble, which the state holds.
    length, state = max(left.items())
    again, _ = run(Engine(backend_of(model), {END}, 2, 48), [request(length, state)])
    assert again[length] == expected(model, preamble)[length]


@pytest.mark.parametrize("form", FORMS)
def test_streamed_documents_that_must_wait_on_the_host_are_answered_as_if_there_were_room(form):
    model, lengths = build(form), [301, 130, 64, 290, 23]
    backend, exports = backend_of(model, 28), 0
    original = backend.export

    def export(*arguments):
        nonlocal exports
        exports += 1
        return original(*arguments)

    backend.export = export  # type: ignore[method-assign]
    found, read = run(Engine(backend, {END}, 5, 32), [request(length, at_once=19) for length in lengths])
    answers = {
        length: [plainly(model, tokens_of(length), prompt) for prompt in PROMPTS[: 1 + length % 3]]
        for length in lengths
    }
    assert (found, read) == (answers, sum(lengths))
    assert exports and backend.num_free_pages == 28


def test_an_answer_that_will_not_do_is_asked_for_again_from_the_same_state():
    model = build("hybrid")
    backend = backend_of(model)
    refused: list[tuple[int, ...]] = []

    def check(tokens: tuple[int, ...]) -> str | None:
        refused.append(tokens)
        return "no" if len(refused) == 1 else None

    asked = Prompt(PROMPTS[0].tokens, Sampling(MOST), check)
    engine = Engine(backend, {END}, 3, 32)
    engine.submit(Request("again", ArrayFeed(tokens_of(130)), (asked,)))
    done: list = []
    while engine.busy:
        done += engine.step().finished
    (answer,) = done[0].answers
    assert answer.retries == 1 and refused[0] == plainly(model, tokens_of(130), asked)[0] != answer.tokens
    assert backend.num_free_pages == 120


@pytest.mark.parametrize("form", [*FORMS, "recurrent"])
def test_an_engine_around_a_model_takes_a_share_of_memory_or_what_it_is_given(form):
    model = build(form, max_context=4000)
    engine = engines.around(model, {END}, 2, 4 * CHUNK, tokens_of(9).tolist())
    engine.warm_up()
    found, _ = run(engine, [request(length) for length in LENGTHS])
    assert found == expected(model, tokens_of(9).tolist())
