"""A document that is partially read resumes elsewhere from its state: the same answers, and no token read twice."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.backends import engines
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import WHOLE, Finished, Prompt, ReadState, Request, Sampling
from tests.small_model import build

END = 60
MODEL = build(torch.float32)
PROMPTS = tuple(Prompt((3, 1, 4 + index), Sampling(max_tokens=12)) for index in range(2))
LENGTHS = [700, 130, 1, 64, 301]
ENDS = {700: (90, 333, 690), 130: (3, 64), 301: (17, 300)}


def tokens_of(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, 60, length)


def request(length: int, start: ReadState | None = None, last_cut: int | None = None) -> Request:
    begin = start.tokens_read if start else 0
    feed = ArrayFeed(tokens_of(length), ENDS.get(length, ()), last_cut, start=begin)
    sections = PROMPTS[:1] if length in ENDS else ()
    return Request(length, feed, PROMPTS, sections, start, keep_state=last_cut is not None)


def finish(engine: Engine, requests: list[Request]) -> tuple[dict[int, Finished], int]:
    """What became of them, and how many tokens of documents were read."""
    for each in requests:
        engine.submit(each)
    found, read = {}, 0
    while engine.busy:
        done = engine.step()
        read += done.document_tokens
        found |= {each.id: each for each in done.finished}
    return found, read


UNDISTURBED, _ = finish(engines.around(MODEL, {END}, 5, 64), [request(length) for length in LENGTHS])


@pytest.mark.parametrize("steps", [1, 2, 5, 9, 14, 25])
def test_a_pack_that_is_broken_off_goes_on_in_another_engine(steps):
    first, read, done, passes = engines.around(MODEL, {END}, 5, 64), 0, {}, 0
    for length in LENGTHS:
        first.submit(request(length))
    while passes < steps and first.busy:
        passed = first.step()
        passes += 1
        read += passed.document_tokens
        done |= {each.id: each for each in passed.finished}
    # Answers under way are finished, then nothing is left that a state could not hold.
    while first.busy and (passed := first.step(read=False)).kind != "wait":
        assert passed.document_tokens == 0
        done |= {each.id: each for each in passed.finished}
    left = {length: first.read_state(length) for length in first.in_slots}
    assert all(first.in_slots[length] == read_state.tokens_read for length, read_state in left.items())

    other = engines.around(MODEL, {END}, 2, 96)
    other.warm_up()
    rest = [request(length, left.get(length)) for length in LENGTHS if length not in done]
    found, read_later = finish(other, rest)
    assert done | found == UNDISTURBED
    assert read + read_later == sum(LENGTHS)


def test_the_state_is_used():
    """Of a document whose beginning is other text, the answers are those of the state's text."""
    engine = engines.around(MODEL, {END}, 3, 64)
    for length in (700, 130, 301):
        engine.submit(request(length))
    for _ in range(6):
        engine.step()
    while engine.step(read=False).kind != "wait":
        pass
    read_state = engine.read_state(700)
    assert 0 < read_state.tokens_read < 700
    other = tokens_of(700)
    other[: read_state.tokens_read] = 7
    feed = ArrayFeed(other, ENDS[700], start=read_state.tokens_read)
    found, read = finish(engines.around(MODEL, {END}, 1, 64), [replace(request(700, read_state), feed=feed)])
    assert found[700] == UNDISTURBED[700]
    assert read == 700 - read_state.tokens_read


def test_whoever_is_being_asked_about_a_section_has_no_snapshot_before_the_answer():
    engine = engines.around(MODEL, {END}, 3, 64)
    for length in (700, 130, 301):
        engine.submit(request(length))
    seen = set()
    while engine.busy:
        engine.step()
        if 700 not in engine.in_slots:
            break
        read_state = engine.read_state(700)
        seen.add(read_state is None)
        if read_state is not None:
            assert len(read_state.answers) == len(read_state.section_ends)
    assert seen == {True, False}


def test_the_state_at_the_last_cut_is_kept_and_a_grown_document_goes_on_from_it():
    engine = engines.around(MODEL, {END}, 5, 64)
    cuts = {700: 650, 130: 128, 1: None, 64: 0, 301: 32}
    found, read = finish(engine, [request(length, last_cut=cut) for length, cut in cuts.items()])
    assert read == sum(LENGTHS)
    assert {length: each.kept and each.kept.tokens_read for length, each in found.items()} == cuts
    whole = {length: replace(each, kept=None) for length, each in found.items()}
    assert whole == UNDISTURBED
    kept = found[700].kept
    # The sections before the cut with their answers; nothing of what came after it.
    assert kept.section_ends == (90, 333) and set(kept.answers) == {(0, 0), (1, 0)}

    grown = np.concatenate([tokens_of(700), tokens_of(40)])
    ends = (*ENDS[700], 720)

    def ask(start: ReadState | None) -> tuple[Finished, int]:
        feed = ArrayFeed(grown, ends, start=start.tokens_read if start else 0)
        results, count = finish(engines.around(MODEL, {END}, 2, 64), [Request(1, feed, PROMPTS, PROMPTS[:1], start)])
        return results[1], count

    (again, tokens), (anew, tokens_anew) = ask(kept), ask(None)
    assert (tokens, tokens_anew) == (740 - 650, 740)
    assert again == anew


def test_a_preamble_is_read_once_and_stands_before_every_document():
    preamble = tokens_of(77)
    lengths = (1, 130, 301)
    with_it, read = finish(
        engines.around(MODEL, {END}, 3, 16, preamble.tolist()), [request(length) for length in lengths]
    )
    assert read == sum(lengths)
    assert with_it[1].answers != UNDISTURBED[1].answers
    for length in lengths:
        ends = [len(preamble) + end for end in ENDS.get(length, ())]
        feed = ArrayFeed(np.concatenate([preamble, tokens_of(length)]), ends)
        plain = replace(request(length), feed=feed)
        found, _ = finish(engines.around(MODEL, {END}, 1, 64), [plain])
        assert with_it[length].answers == found[length].answers
        assert [each.answers for each in with_it[length].sections] == [each.answers for each in found[length].sections]


def test_a_document_is_asked_about_so_far():
    engine, found = engines.around(MODEL, {END}, 3, 64), {}
    for length in (700, 130, 301):
        engine.submit(request(length))
    for _ in range(4):
        found |= {each.id: each for each in engine.step().finished}
    while (done := engine.step(read=False)).kind != "wait":
        found |= {each.id: each for each in done.finished}
    read = engine.in_slots[700]
    engine.conclude(700)
    while 700 in engine.in_slots:
        found |= {each.id: each for each in engine.step(read=False).finished}
    assert found[700].so_far and found[700].tokens_read == read < 700
    part = Request("part", ArrayFeed(tokens_of(700)[:read]), PROMPTS)
    assert found[700].answers == finish(engines.around(MODEL, {END}, 1, 64), [part])[0]["part"].answers
    # The others go on.
    while engine.busy:
        found |= {each.id: each for each in engine.step().finished}
    assert found[130] == UNDISTURBED[130] and found[301] == UNDISTURBED[301]


def test_a_document_that_is_withdrawn_leaves_nothing_behind():
    engine = engines.around(MODEL, {END}, 2, 64)
    for length in (700, 130, 301):
        engine.submit(request(length))
    for _ in range(5):
        engine.step()
    engine.withdraw(700)
    engine.withdraw(301)
    found, _ = finish(engine, [request(301)])
    assert found[301] == UNDISTURBED[301] and set(found) <= {130, 301}
    assert not engine.num_answering and len(engine._backend._free) == 2 * 2


def test_answers_of_the_whole_document_are_carried_over():
    empty = {name: array.numpy() for name, array in MODEL.empty_state(1).tensors.items()}
    read_state = ReadState(empty, 0, (), {(WHOLE, 0): UNDISTURBED[64].answers[0]})
    found, _ = finish(engines.around(MODEL, {END}, 1, 64), [request(64, read_state)])
    assert found[64] == UNDISTURBED[64]


def test_nothing_is_said_of_a_document_of_which_nothing_was_read():
    engine = engines.around(MODEL, {END}, 3, 8)
    for length in (700, 130, 301):
        engine.submit(request(length))
    engine.step()
    unread = [id for id, tokens in engine.in_slots.items() if not tokens]
    assert len(unread) == 2
    for id in engine.in_slots:
        engine.conclude(id)
    found = {}
    while (done := engine.step(read=False)).kind != "wait":
        found |= {each.id: each for each in done.finished}
    assert list(found) == [700] and list(engine.in_slots) == unread


class Breaking:
    """A model whose device fails when it is told to."""

    def __init__(self) -> None:
        self.breaks = False

    def __getattr__(self, name: str) -> object:
        return getattr(MODEL, name)

    def prefill_(self, *arguments: object, **options: object) -> torch.Tensor:
        logits = MODEL.prefill_(*arguments, **options)
        if self.breaks:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits


def test_after_a_pass_that_raised_only_states_that_it_did_not_touch_are_given_out():
    model = Breaking()
    # So many slots that answers wait for company.
    engine = engines.around(model, {END}, 12, 64)
    for length in (64, 700, 301):
        engine.submit(request(length))
    while engine.in_slots.get(64) != 64:
        engine.step()
    model.breaks = True
    before = dict(engine.in_slots)
    with pytest.raises(torch.OutOfMemoryError):
        engine.step()
    assert engine.in_slots == before
    assert engine.read_state(700) is None and engine.read_state(301) is None
    assert engine.read_state(64).tokens_read == 64
    found, read = finish(engines.around(MODEL, {END}, 1, 64), [request(64, engine.read_state(64))])
    assert (found[64], read) == (UNDISTURBED[64], 0)
