"""The engine gives each document what it would get alone, whatever shares its passes."""

from functools import cache

import numpy as np
import pytest
import torch

from models.engine import Engine, Prompt, Request, share_budget
from models.sampling import Sampling, loop_start
from tests.small_model import VOCAB_SIZE, build

END = 60
MODEL = build(torch.float64)


Answers = list[tuple[tuple[int, ...], str]]


def request(name: str, length: int, prompts: int = 1, **sampling) -> Request:
    tokens = np.random.default_rng(length).integers(0, 60, length)
    asked = tuple(Prompt((3, 1, 4 + index), Sampling(**{"max_tokens": 12} | sampling)) for index in range(prompts))
    return Request(name, tokens, asked)


def run(engine: Engine, requests: list[Request]) -> dict[str, Answers]:
    for each in requests:
        engine.submit(each)
    results = {}
    while engine.busy:
        for finished in engine.step().finished:
            assert finished.id not in results
            results[finished.id] = [(answer.tokens, answer.finish_reason) for answer in finished.answers]
    return results


def alone(one: Request) -> Answers:
    """Of `request(one.id, len(one.tokens), len(one.prompts))`; worked out once."""
    return alone_by_shape(len(one.tokens), len(one.prompts))


@cache
def alone_by_shape(length: int, prompts: int) -> Answers:
    one = request(f"doc{length}", length, prompts)
    return read_and_ask(one)


def read_and_ask(one: Request) -> Answers:
    """The plain way: the whole document in one prefill, then the prompt, then token by token."""
    model = MODEL
    _, after = model.prefill(torch.from_numpy(one.tokens), [0, len(one.tokens)], model.empty_state(1))
    answers = []
    for prompt in one.prompts:
        logits, state = model.prefill(torch.tensor(prompt.tokens), [0, len(prompt.tokens)], after)
        output: list[int] = []
        while True:
            output.append(int(logits[0, :VOCAB_SIZE].argmax()))
            if output[-1] == END:
                answers.append((tuple(output[:-1]), "stop"))
                break
            if loop_start(output) is not None:
                answers.append((tuple(output[: loop_start(output)]), "loop"))
                break
            if len(output) == prompt.sampling.max_tokens:
                answers.append((tuple(output), "length"))
                break
            logits, state = model.decode(torch.tensor(output[-1:]), state)
    return answers


LENGTHS = [5, 130, 1, 64, 23, 301, 8]


@torch.no_grad()
@pytest.mark.parametrize(("slots", "step_tokens"), [(3, 32), (7, 64), (1, 16), (16, 4096), (4, 8)])
def test_a_ragged_mix_answers_as_each_document_alone(slots, step_tokens):
    requests = [request(f"doc{length}", length, prompts=1 + length % 3) for length in LENGTHS]
    engine = Engine(MODEL, END, slots, step_tokens)
    results = run(engine, requests)
    assert results == {one.id: alone(one) for one in requests}


def test_passes_account_for_every_token_once():
    requests = [request(f"doc{length}", length, prompts=2) for length in LENGTHS]
    engine = Engine(MODEL, END, 3, 32)
    for each in requests:
        engine.submit(each)
    shares: dict[str, int] = {}
    read, answered = 0, {}
    while engine.busy:
        done = engine.step()
        assert sum(done.shares.values()) <= 32 or done.kind == "decode"
        read += done.document_tokens
        for name, tokens in done.shares.items():
            shares[name] = shares.get(name, 0) + tokens
        answered |= {finished.id: finished for finished in done.finished}
    assert read == sum(LENGTHS)
    for each in requests:
        decoded = sum(answer.tokens_decoded - 1 for answer in answered[each.id].answers)
        assert shares[each.id] == len(each.tokens) + 2 * 3 + decoded
        assert answered[each.id].tokens_read == len(each.tokens)


def test_a_freed_slot_is_refilled_before_the_next_pass():
    engine = Engine(MODEL, END, 2, 64)
    for index in range(5):
        engine.submit(request(f"doc{index}", 40, max_tokens=2))
    while engine.busy:
        done = engine.step()
        if engine.num_waiting:
            assert len(engine._sequences) + len(done.finished) == 2


def test_short_and_long_documents_share_a_pass():
    engine = Engine(MODEL, END, 4, 64)
    for length in (1000, 20, 7):
        engine.submit(request(f"doc{length}", length))
    assert engine.step().shares == {"doc1000": 32, "doc20": 20, "doc7": 7}


def test_sampling_depends_on_the_seed_and_not_on_the_company():
    sampled = request("one", 50, temperature=1.0, top_p=0.9, seed=5)
    others = [request(f"doc{length}", length, temperature=1.0, seed=length) for length in LENGTHS]
    by_itself = run(Engine(MODEL, END, 2, 64), [sampled])["one"]
    in_company = run(Engine(MODEL, END, 4, 32), [*others, sampled])["one"]
    other_seed = run(Engine(MODEL, END, 2, 64), [request("one", 50, temperature=1.0, seed=6)])["one"]
    assert by_itself == in_company
    assert by_itself != other_seed


def test_warm_up_leaves_the_slots_untouched():
    one = request("one", 50)
    engine = Engine(MODEL, END, 3, 100)
    engine.warm_up()
    assert run(engine, [one])["one"] == alone(one)


@pytest.mark.parametrize("pending", [[5], [1000, 20, 7], [64] * 20, [1, 1, 1], [1000, 1000], [8, 9, 10, 500]])
@pytest.mark.parametrize("budget", [8, 16, 100, 512])
def test_budget_is_spent_in_whole_chunks_or_to_the_end_of_a_document(pending, budget):
    shares = share_budget(pending, budget, 8)
    assert 0 < sum(shares) <= budget
    assert all(share == need or share % 8 == 0 for share, need in zip(shares, pending, strict=True))
    # Nothing is left over that a whole chunk would have fitted into.
    assert sum(shares) == sum(pending) or budget - sum(shares) < 8 + max(pending)
    if sum(pending) > budget:
        assert budget - sum(shares) < 8 or all(need - share <= 8 for need, share in zip(pending, shares, strict=True))


@pytest.mark.parametrize(
    ("tokens", "cut"),
    [
        ([1, 2, 3] * 20, 3),
        ([9, 8, *([5] * 40)], 3),
        ([5] * 31, None),
        (list(range(50)), None),
        ([7, *list(range(20)) * 4], 21),
        ([1, 2, 3] * 10, None),
    ],
)
def test_a_loop_is_cut_after_its_first_turn(tokens, cut):
    assert loop_start(tokens) == cut
