"""The engine gives each document what it would get alone, whatever shares its passes."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from configs.errors import CorruptError, LonghaulError, UnexpectedError
from models.backends import engines
from models.engine.budget import share_budget
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, Request, Sampling
from models.engine.sampling import loop_start
from models.engine.turns import BURST, PATIENCE
from tests.small_model import VOCAB_SIZE, build

END = 60
MODEL = build(torch.float64)


Answers = list[tuple[tuple[int, ...], str]]


def tokens_of(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, 60, length)


def request(name: str, length: int, prompts: int = 1, **sampling) -> Request:
    asked = tuple(Prompt((3, 1, 4 + index), Sampling(**{"max_tokens": 12} | sampling)) for index in range(prompts))
    return Request(name, ArrayFeed(tokens_of(length)), asked)


def run(engine: Engine, requests: list[Request]) -> dict[str, Answers]:
    for each in requests:
        engine.submit(each)
    results = {}
    while engine.busy:
        for finished in engine.step().finished:
            assert finished.id not in results
            results[finished.id] = [(answer.tokens, answer.finish_reason) for answer in finished.answers]
    return results


@cache
def alone(length: int, prompts: int = 1) -> Answers:
    """Of `request(..., length, prompts)`, the plain way."""
    return read_and_ask(tokens_of(length), request("one", length, prompts).prompts)


def read_and_ask(tokens: np.ndarray, prompts: tuple[Prompt, ...]) -> Answers:
    """The plain way: the whole document in one prefill, then the prompt, then token by token."""
    model = MODEL
    _, after = model.prefill(torch.from_numpy(tokens), [0, len(tokens)], model.empty_state(1))
    answers = []
    for prompt in prompts:
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
    engine = engines.around(MODEL, {END}, slots, step_tokens)
    results = run(engine, requests)
    assert results == {f"doc{length}": alone(length, 1 + length % 3) for length in LENGTHS}


def test_passes_account_for_every_token_once():
    requests = [request(f"doc{length}", length, prompts=2) for length in LENGTHS]
    engine = engines.around(MODEL, {END}, 3, 32)
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
        length = int(each.id.removeprefix("doc"))
        assert shares[each.id] == length + 2 * 3 + decoded
        assert answered[each.id].tokens_read == length


def test_a_freed_slot_is_refilled_before_the_next_pass():
    engine = engines.around(MODEL, {END}, 2, 64)
    for index in range(5):
        engine.submit(request(f"doc{index}", 40, max_tokens=2))
    while engine.busy:
        done = engine.step()
        if engine.num_waiting:
            assert len(engine._documents) + len(done.finished) == 2


def test_short_and_long_documents_share_a_pass():
    engine = engines.around(MODEL, {END}, 4, 64)
    for length in (1000, 20, 7):
        engine.submit(request(f"doc{length}", length))
    assert engine.step().shares == {"doc1000": 32, "doc20": 20, "doc7": 7}


def test_sampling_depends_on_the_seed_and_not_on_the_company():
    def sampled() -> Request:
        return request("one", 50, temperature=1.0, top_p=0.9, seed=5)

    others = [request(f"doc{length}", length, temperature=1.0, seed=length) for length in LENGTHS]
    by_itself = run(engines.around(MODEL, {END}, 2, 64), [sampled()])["one"]
    in_company = run(engines.around(MODEL, {END}, 4, 32), [*others, sampled()])["one"]
    other_seed = run(engines.around(MODEL, {END}, 2, 64), [request("one", 50, temperature=1.0, seed=6)])["one"]
    assert by_itself == in_company
    assert by_itself != other_seed


def test_warm_up_leaves_the_slots_untouched():
    engine = engines.around(MODEL, {END}, 3, 100)
    engine.warm_up()
    assert run(engine, [request("one", 50)])["one"] == alone(50)


class Trickle(ArrayFeed):
    """A document that arrives a few tokens at a time, between passes, and may break off."""

    def __init__(self, tokens: np.ndarray, breaks_at: int | None = None) -> None:
        super().__init__(tokens)
        self._left, self._arrived, self._breaks_at = len(tokens), 0, breaks_at
        self.is_closed = False

    @property
    def ready(self) -> int:
        if self._breaks_at is not None and self._arrived >= self._breaks_at:
            raise CorruptError("The data is damaged.")
        self._arrived = min(self._arrived + 7, self._left)
        return self._arrived

    @property
    def ended(self) -> bool:
        return self._arrived == self._left

    def take(self, count: int) -> np.ndarray:
        assert count <= self._arrived
        self._arrived -= count
        self._left -= count
        return super().take(count)

    def close(self) -> None:
        self.is_closed = True


def test_documents_that_are_still_arriving_answer_as_if_they_were_all_there():
    engine, asked, results, kinds = engines.around(MODEL, {END}, 3, 32), request("any", 1).prompts, {}, set()
    feeds = {length: Trickle(tokens_of(length)) for length in (5, 64, 130, 23)}
    for length, feed in feeds.items():
        engine.submit(Request(length, feed, asked))
    while engine.busy:
        done = engine.step()
        kinds.add(done.kind)
        for finished in done.finished:
            assert finished.tokens_read == finished.id
            results[finished.id] = [(answer.tokens, answer.finish_reason) for answer in finished.answers]
    assert results == {length: alone(length) for length in feeds}
    assert kinds == {"prefill", "decode", "wait"}
    assert all(feed.is_closed for feed in feeds.values())


def test_a_document_that_breaks_off_leaves_its_slot_and_its_neighbors_go_on():
    engine, asked, failed, results = engines.around(MODEL, {END}, 2, 32), request("any", 1).prompts, [], {}
    broken = Trickle(tokens_of(99), breaks_at=12)
    engine.submit(Request("broken", broken, asked))
    for length in (64, 130, 8):
        engine.submit(request(f"doc{length}", length))
    while engine.busy:
        done = engine.step()
        failed += done.failed
        results |= {each.id: [(a.tokens, a.finish_reason) for a in each.answers] for each in done.finished}
    assert [(each.id, type(each.error)) for each in failed] == [("broken", CorruptError)]
    assert failed[0].tokens_read % 8 == 0 and broken.is_closed
    assert results == {f"doc{length}": alone(length) for length in (64, 130, 8)}


class Faulty(ArrayFeed):
    """A document whose feed has a bug that shows at its 24th token."""

    @property
    def ready(self) -> int:
        if self._taken >= 24:
            raise KeyError("charset")
        return min(24 - self._taken, super().ready)

    @property
    def ended(self) -> bool:
        return False


def outcomes(engine: Engine) -> tuple[dict[object, Answers], dict[object, LonghaulError]]:
    results, failed = {}, {}
    while engine.busy:
        done = engine.step()
        failed |= {each.id: each.error for each in done.failed}
        results |= {each.id: [(a.tokens, a.finish_reason) for a in each.answers] for each in done.finished}
    return results, failed


def test_whatever_a_feed_raises_fails_its_document_alone():
    engine = engines.around(MODEL, {END}, 4, 32)
    engine.submit(Request("faulty", Faulty(tokens_of(99)), request("any", 1).prompts))
    for length in (64, 130, 8):
        engine.submit(request(f"doc{length}", length))
    results, failed = outcomes(engine)
    assert results == {f"doc{length}": alone(length) for length in (64, 130, 8)}
    assert list(failed) == ["faulty"] and isinstance(failed["faulty"], UnexpectedError)
    assert str(failed["faulty"]).startswith("KeyError: 'charset' (at models/engine/engine.py:")


def test_whatever_a_check_raises_fails_its_document_alone_with_all_its_answers():
    def check(tokens):
        raise ZeroDivisionError("so many words")

    engine = engines.around(MODEL, {END}, 4, 32)
    first, *others = request("any", 1, prompts=3).prompts
    engine.submit(Request("faulty", ArrayFeed(tokens_of(23)), (replace(first, check=check), *others)))
    for length in (64, 130, 8):
        engine.submit(request(f"doc{length}", length))
    results, failed = outcomes(engine)
    assert results == {f"doc{length}": alone(length) for length in (64, 130, 8)}
    assert isinstance(failed["faulty"], UnexpectedError) and "ZeroDivisionError" in str(failed["faulty"])
    assert not engine.num_answering and len(engine._backend._free) == 2 * 4


def judged(verdicts: dict[int, str | None]) -> tuple[Engine, list]:
    """Three documents, one of them with a check that gives its n-th try the n-th verdict; and what the check saw."""
    engine, seen = engines.around(MODEL, {END}, 2, 32), []

    def check(tokens):
        seen.append(tokens)
        return verdicts[len(seen)]

    for length in (64, 130):
        engine.submit(request(f"doc{length}", length))
    prompt = replace(request("any", 1).prompts[0], check=check)
    engine.submit(Request("judged", ArrayFeed(tokens_of(50)), (prompt, request("any", 1).prompts[0])))
    return engine, seen


def answers_of(engine: Engine) -> dict:
    found = {}
    while engine.busy:
        found |= {each.id: each.answers for each in engine.step().finished}
    assert [(a.tokens, a.finish_reason) for a in found["doc130"]] == alone(130)
    return found


def test_an_answer_that_will_not_do_is_asked_for_once_more_with_other_sampling():
    engine, seen = judged({1: "copied", 2: None})
    answer, other = answers_of(engine)["judged"]
    assert (answer.retries, answer.finish_reason in ("stop", "length"), other.retries) == (1, True, 0)
    assert seen[0] == alone(50)[0][0] == other.tokens
    assert answer.tokens == seen[1] != seen[0]
    assert answer.tokens_decoded >= len(seen[0]) + len(seen[1])


def test_of_two_answers_that_will_not_do_the_first_is_kept_with_its_reason():
    engine, seen = judged({1: "copied", 2: "empty"})
    answer = answers_of(engine)["judged"][0]
    assert (answer.tokens, answer.finish_reason, answer.retries) == (seen[0], "copied", 1)


def test_decoding_waits_for_company_while_there_is_something_to_read():
    engine = engines.around(MODEL, {END}, 8, 64)
    for index in range(24):
        engine.submit(request(f"doc{index}", 40 + index, max_tokens=6))
    rows = []
    while engine.busy:
        was_reading = engine.num_reading or engine.num_waiting
        done = engine.step()
        if done.kind == "decode" and was_reading:
            rows.append(sum(done.shares.values()))
    assert rows and min(rows) >= 4


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


def test_no_document_gets_less_than_pays_for_moving_its_state():
    assert share_budget([1000] * 128, 16_384, 64, least=512) == [512] * 32 + [0] * 96
    assert share_budget([1000, 30, 700] + [600] * 8, 2100, 64, least=512) == [512, 30, 512, 512, 512, 0, 0, 0, 0, 0, 0]
    assert share_budget([1000] * 3, 4096, 64, least=512) == [1000] * 3


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


def test_in_fp32_the_answer_is_the_same_alone_and_in_any_company():
    model = build(torch.float32)

    def ask(lengths: list[int], slots: int, step_tokens: int) -> dict[str, Answers]:
        return run(
            engines.around(model, {END}, slots, step_tokens), [request(f"doc{length}", length) for length in lengths]
        )

    alone_in_fp32 = {name: answers for length in LENGTHS for name, answers in ask([length], 1, 4096).items()}
    assert ask(LENGTHS, 7, 64) == ask(LENGTHS[::-1], 3, 32) == alone_in_fp32


@pytest.mark.parametrize(("slots", "step_tokens"), [(3, 32), (1, 16), (8, 512)])
def test_sections_are_asked_about_from_the_state_at_their_ends(slots, step_tokens):
    """Each section's answer is that of the document cut off there, and the whole is read once."""
    engine, about = engines.around(MODEL, {END}, slots, step_tokens), request("any", 1, prompts=2).prompts
    # The last section ends with the document, whether or not its feed says so.
    ends = {130: (3, 64, 100, 130), 301: (17,), 64: (), 23: (22, 23)}
    for length, cuts in ends.items():
        engine.submit(Request(length, ArrayFeed(tokens_of(length), cuts), about[:1], about))
    read, found = 0, {}
    while engine.busy:
        done = engine.step()
        read += done.document_tokens
        found |= {finished.id: finished for finished in done.finished}
    assert read == sum(ends)
    for length, cuts in ends.items():
        assert [(a.tokens, a.finish_reason) for a in found[length].answers] == alone(length)
        assert [section.end for section in found[length].sections] == sorted({*cuts, length})
        for section in found[length].sections:
            expected = read_and_ask(tokens_of(length)[: section.end], about)
            assert [(a.tokens, a.finish_reason) for a in section.answers] == expected


def test_a_few_answers_do_not_wait_for_the_end_of_a_long_document():
    engine, left = engines.around(MODEL, {END}, 8, 32), {}
    for length in (4000, 40, 25):
        engine.submit(request(f"doc{length}", length))
    while engine.busy:
        left |= {each.id: engine.num_reading for each in engine.step().finished}
    assert left == {"doc40": 1, "doc25": 1, "doc4000": 0}


def test_a_long_answer_does_not_stop_the_reading():
    never = VOCAB_SIZE
    engine, kinds = engines.around(MODEL, {never}, 8, 8), ""
    long = Prompt((3, 1, 4), Sampling(2 * BURST, temperature=5.0, seed=1))
    engine.submit(Request("asked", ArrayFeed(tokens_of(5)), (long,)))
    for length in (600, 350):
        engine.submit(request(f"doc{length}", length, max_tokens=1))
    while "asked" in engine.in_slots or not kinds:
        kinds += engine.step().kind[0]
    assert engine.num_reading == 2
    assert re.fullmatch(rf"p{{1,4}}p{{{PATIENCE}}}d{{{BURST}}}p{{{PATIENCE}}}d{{{BURST - 1}}}", kinds), kinds


def test_an_answer_ends_at_any_of_the_tokens_that_end_one():
    ((tokens, _),) = alone(50)
    ends = {END, tokens[3], tokens[9]}
    ((cut, reason),) = run(engines.around(MODEL, ends, 2, 64), [request("one", 50)])["one"]
    assert (cut, reason) == (tokens[: min(tokens.index(end) for end in ends - {END})], "stop")
