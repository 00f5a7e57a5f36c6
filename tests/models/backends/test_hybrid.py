"""Rows and pages, seen as sequences: opened, forked, run, exported and closed, in models with and without either."""

import numpy as np
import pytest
import torch

from configs.errors import StateError
from models.backends.hybrid import HybridBackend, pages_for
from models.engine.backend import GROWING, Handle, Work, grows
from models.hybrid.attention import WholeCache
from models.hybrid.language_model import HybridLM
from tests.hybrid_model import FORMS, VOCAB_SIZE, build

LENGTHS, PAGE, PAGES = [37, 1, 130, 8], 16, 64


def tokens_of(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(0, VOCAB_SIZE, length)


@torch.inference_mode()
def at_once(model: HybridLM, *parts: np.ndarray) -> torch.Tensor:
    """Logits (V,) after all these tokens, read alone and in one piece."""
    tokens = torch.from_numpy(np.concatenate(parts))
    work = WholeCache(model.kv_shape, 1).of_pass([0], [len(tokens)])
    last = torch.tensor([len(tokens) - 1])
    return model.prefill_(tokens, [0, len(tokens)], model.empty_state(1), [0], work, last)[0].float()


def backend_of(model: HybridLM, num_sequences: int = 12, num_pages: int = PAGES) -> HybridBackend:
    return HybridBackend(model, num_sequences, num_pages, page_tokens=PAGE)


def opened(model: HybridLM) -> tuple[HybridBackend, list[Handle]]:
    """With four ragged documents that have been read, in pieces beside others."""
    backend = backend_of(model)
    handles = [backend.open(length + 32) for length in LENGTHS]
    backend.run([Work(handle, tokens_of(n)[:64]) for handle, n in zip(handles, LENGTHS, strict=True)])
    assert backend.run([Work(handles[2], tokens_of(130)[64:])]).shape == (0, VOCAB_SIZE)
    return backend, handles


@pytest.mark.parametrize("form", FORMS)
@torch.inference_mode()
def test_a_pack_of_documents_prompts_and_answers_gives_what_each_gives_alone(form):
    model = build(form)
    backend, handles = opened(model)
    forks = [backend.fork(handle, 10) for handle in (*handles, handles[2])]
    prompts = [tokens_of(2 + index) for index in range(5)]
    logits = backend.run([Work(f, p, wants_logits=True) for f, p in zip(forks, prompts, strict=True)])
    documents = [tokens_of(length) for length in (*LENGTHS, 130)]
    expected = [at_once(model, one, two) for one, two in zip(documents, prompts, strict=True)]
    torch.testing.assert_close(logits, torch.stack(expected), rtol=1e-5, atol=1e-5)
    riding = [Work(f, np.array([7 + i]), wants_logits=True, is_decode=True) for i, f in enumerate(forks)]
    logits = backend.run([Work(handles[0], tokens_of(20), wants_logits=True), *riding])
    answers = [np.append(prompt, 7 + index) for index, prompt in enumerate(prompts)]
    expected = [at_once(model, one, two) for one, two in zip(documents, answers, strict=True)]
    expected.insert(0, at_once(model, documents[0], tokens_of(20)))
    torch.testing.assert_close(logits, torch.stack(expected), rtol=1e-5, atol=1e-5)
    for handle in (*handles, *forks):
        backend.close(handle)
    assert backend.num_free_pages == backend_of(model).num_free_pages and backend.room_for(1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("form", FORMS)
@torch.inference_mode()
def test_an_exported_sequence_goes_on_elsewhere_bit_by_bit(form, dtype):
    model = build(form, dtype)
    backend, handles = opened(model)
    other = backend_of(model, 3)
    first = backend.export(handles[2])
    backend.run([Work(handles[2], tokens_of(9))])
    rest = backend.export(handles[2], since=130)
    state = {n: np.concatenate([first[n], array], axis=1) if grows(n) else array for n, array in rest.items()}
    assert {name for name in state if grows(name)} == (set() if form == "recurrent" else set(GROWING))
    moved = other.open(200, state)
    parts = [
        each.run([Work(handle, tokens_of(5), wants_logits=True)])
        for each, handle in ((backend, handles[2]), (other, moved))
    ]
    assert torch.equal(*parts)
    for name, array in other.export(moved).items():
        assert np.array_equal(array, backend.export(handles[2])[name])


def test_a_state_of_another_form_is_refused_and_costs_nothing():
    backend, handles = opened(build("hybrid"))
    state = dict(backend.export(handles[0]))
    free = backend.num_free_pages
    wrong = [
        {name: array for name, array in state.items() if name != "conv"},
        {name: array for name, array in state.items() if name != "keys"},
        state | {"keys": state["keys"][:, 1:]},
        state | {"keys": state["keys"][:1], "values": state["values"][:1]},
        state | {"values": state["values"].astype(np.float32)},
        state | {"more": state["conv"]},
        {name: array for name, array in state.items() if not grows(name)},
        {"keys": np.array(3.0)},
    ]
    for each in wrong:
        with pytest.raises(StateError, match="other tensors than this model's"):
            backend.open(64, each)
    assert backend.num_free_pages == free and backend.room_for(64)


@pytest.mark.parametrize("stated", [None, 90, 10_000])
def test_the_longest_document_fits_beside_the_preamble_with_its_answer(stated):
    preamble, answer = 37, 11
    model = build("transformer", max_context=stated)
    backend = HybridBackend(model, 4, 16, preamble, page_tokens=PAGE)
    most = backend.limits.max_context
    assert most == (90 if stated == 90 else (16 - 2 - 3) * PAGE)
    beginning = backend.open(preamble)
    backend.run([Work(beginning, tokens_of(preamble))])
    assert backend.room_for(most)
    document = backend.fork(beginning, most - answer - preamble)
    backend.run([Work(document, tokens_of(most - answer - preamble))])
    assert backend.room_for(answer)
    backend.run([Work(backend.fork(document, answer), tokens_of(answer))])


@pytest.mark.parametrize("form", FORMS)
def test_warming_up_leaves_nothing_behind(form):
    backend = backend_of(build(form))
    free = backend.num_free_pages
    backend.warm_up(64, 6)
    assert backend.num_free_pages == free
    small = HybridBackend(build(form), 4, pages_for(1, PAGE), page_tokens=PAGE)
    small.warm_up(64, 6)


def test_nothing_grows_in_a_model_without_attention():
    backend = backend_of(build("recurrent"), 2)
    assert backend.limits.max_context is None
    handle = backend.open(0)
    for _ in range(3):
        backend.run([Work(handle, tokens_of(300))])
    backend.fork(handle, 0)
    assert not backend.room_for(0)
