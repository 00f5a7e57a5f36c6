"""Models of transformers' classes behind the engine: in pieces as whole, side by side as alone, forked and moved."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.errors import ModelError, StateError, TooLargeError
from configs.settings import ModelSettings
from models.backends import adapted, caches, carrying, engines, loading
from models.backends.adapted import Adapted
from models.backends.adapter import TransformersBackend
from models.engine.backend import GROWING, Work, grows
from models.engine.engine import Engine
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, ReadState, Request, Sampling
from models.engine.sampling import loop_start
from models.weights import checkpoint
from tests import adapted_models

FAMILIES = sorted(adapted_models.CARRYING)
SOME = ("falcon_h1", "lfm3", "minimax", "qwen3_5_text")
"""Of each kind of cache one."""
LENGTHS = (90, 1, 64, 23, 137)
MOST = 6
PROMPTS = (Prompt((5, 9, 4), Sampling(MOST)), Prompt((8,), Sampling(MOST)))
CLOSE = {"rtol": 0, "atol": 1e-4}


@cache
def model(kind: str) -> Adapted:
    built = adapted_models.build(kind)
    return Adapted(built, built.config.get_text_config())


def tokens_of(length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(3, 128, length)


def backend(kind: str, **given: int) -> TransformersBackend:
    return TransformersBackend(model(kind), 8, **given)


def logits(kind: str, tokens: np.ndarray) -> torch.Tensor:
    """Of transformers' own forward over the whole (L, V)."""
    with torch.inference_mode():
        found = model(kind).model(input_ids=torch.from_numpy(tokens)[None], use_cache=False).logits[0]
    return found / found.abs().max()


def read(subject: TransformersBackend, handle: int, *pieces: np.ndarray) -> torch.Tensor:
    """The logits after each piece."""
    return torch.cat([subject.run([Work(handle, piece, wants_logits=True)]) for piece in pieces])


@pytest.mark.parametrize("kind", FAMILIES)
def test_pieces_and_single_steps_give_what_the_whole_gives(kind):
    tokens = tokens_of(90)
    expected = logits(kind, tokens)
    for cuts in ((64,), (17, 47, 64, 81), tuple(range(1, 90))):
        subject = backend(kind)
        found = read(subject, subject.open(200), *np.split(tokens, cuts))
        places = [*(cut - 1 for cut in cuts), 89]
        torch.testing.assert_close(found / model_scale(kind), expected[places], **CLOSE)


@cache
def model_scale(kind: str) -> torch.Tensor:
    with torch.inference_mode():
        return model(kind).model(input_ids=torch.from_numpy(tokens_of(90))[None], use_cache=False).logits.abs().max()


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_fork_and_what_was_exported_go_on_as_if_nothing_had_happened(kind):
    tokens, subject, other = tokens_of(90), backend(kind), backend(kind)
    handle = subject.open(200)
    read(subject, handle, tokens[:41])
    state = subject.export(handle)
    fork = subject.fork(handle, 50)
    read(subject, fork, tokens_of(33))
    moved = other.open(200, {name: array.copy() for name, array in state.items()})
    expected = read(subject, handle, tokens[41:64], tokens[64:])
    torch.testing.assert_close(read(other, moved, tokens[41:64], tokens[64:]), expected, rtol=0, atol=0)
    assert sorted(state) == sorted(other.export(moved))
    assert all(state[name].shape[1] == 41 for name in state if grows(name))


@pytest.mark.parametrize("kind", SOME)
def test_arrays_that_grow_are_exported_from_where_one_asks(kind):
    subject = backend(kind)
    handle = subject.open(200)
    read(subject, handle, tokens_of(90)[:50])
    before = subject.export(handle)
    read(subject, handle, tokens_of(90)[50:])
    whole, rest = subject.export(handle), subject.export(handle, since=50)
    assert set(GROWING) <= set(whole)
    for name in whole:
        together = np.concatenate([before[name], rest[name]], axis=1) if grows(name) else rest[name]
        np.testing.assert_array_equal(together, whole[name])


def plainly(kind: str, tokens: np.ndarray, prompt: Prompt, ends: set[int]) -> tuple[tuple[int, ...], str]:
    """The whole again for each token."""
    read, output = [*tokens, *prompt.tokens], list[int]()
    while True:
        output.append(int(logits(kind, np.array(read + output))[-1].argmax()))
        if output[-1] in ends:
            return tuple(output[:-1]), "stop"
        if (cut := loop_start(output)) is not None:
            return tuple(output[:cut]), "loop"
        if len(output) == MOST:
            return tuple(output), "length"


def answers(engine: Engine, requests: list[Request]) -> dict[object, list]:
    for each in requests:
        engine.submit(each)
    found = {}
    while engine.busy:
        found |= {each.id: each.answers for each in engine.step().finished}
    return {id: [(answer.tokens, answer.finish_reason) for answer in given] for id, given in found.items()}


@pytest.mark.parametrize("kind", SOME)
def test_documents_of_any_length_side_by_side_are_answered_as_each_alone(kind):
    requests = [Request(length, ArrayFeed(tokens_of(length)), PROMPTS[: 1 + length % 2]) for length in LENGTHS]
    found = answers(engines.around(model(kind), {2}, 3, 64), requests)
    for length in LENGTHS:
        assert found[length] == [plainly(kind, tokens_of(length), prompt, {2}) for prompt in PROMPTS[: 1 + length % 2]]
    assert len({str(each) for each in found.values()}) > 2


@pytest.mark.parametrize("kind", SOME)
def test_a_document_resumes_in_another_engine_behind_a_preamble(kind):
    preamble, request = [3, 4, 5], Request("one", ArrayFeed(tokens_of(137)), PROMPTS)
    whole = answers(engines.around(model(kind), {2}, 2, 64, preamble), [request])["one"]
    first = engines.around(model(kind), {2}, 2, 64, preamble)
    first.submit(Request("one", ArrayFeed(tokens_of(137)), PROMPTS))
    first.step()
    state = first.read_state("one")
    assert isinstance(state, ReadState) and 0 < state.tokens_read < 137
    assert all(array.shape[1] == 3 + state.tokens_read for name, array in state.state.items() if grows(name))
    feed = ArrayFeed(tokens_of(137), start=state.tokens_read)
    resumed = engines.around(model(kind), {2}, 2, 64, preamble)
    assert answers(resumed, [Request("one", feed, PROMPTS, start=state)])["one"] == whole


def test_a_state_of_another_model_is_refused():
    subject = backend("lfm2")
    handle = subject.open(64)
    read(subject, handle, tokens_of(20))
    for other in ("qwen3_5_text", "lfm3", "mamba2"):
        with pytest.raises(StateError, match="other tensors"):
            backend(other).open(64, subject.export(handle))


def test_room_is_counted_in_bytes_with_a_copy_for_the_longest():
    free = backend("lfm2")
    fixed, per_token = free.nbytes, 2 * 1 * 2 * 16 * 4
    assert free._cost(100) == fixed + 100 * per_token
    # A document of 100 tokens, its copy that answers with 20 more, and a state's worth of 100 for the next.
    subject = backend("lfm2", cache_bytes=3 * fixed + 250 * per_token)
    assert subject.room_for(100) and not subject.room_for(300)
    handle = subject.open(100)
    assert subject.room_for(20) and not subject.room_for(76)
    subject.fork(handle, 20)
    assert not subject.room_for(1)
    subject.close(handle)
    assert subject.room_for(1)


def test_the_context_is_what_is_stated_or_what_memory_holds_and_nothing_where_nothing_grows():
    assert backend("lfm2").limits.max_context == 128_000
    assert backend("mamba2", cache_bytes=10**6).limits.max_context is None
    short = backend("lfm2", cache_bytes=10**5, preamble_tokens=9).limits.max_context
    assert short is not None and 50 < short < 400
    engine, failed = engines.around(model("lfm2"), {2}, 2, 64, cache_bytes=10**5), []
    engine.submit(Request("long", ArrayFeed(tokens_of(400)), PROMPTS))
    while engine.busy:
        failed += engine.step().failed
    assert [type(each.error) for each in failed] == [TooLargeError]


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_a_model_takes_is_known_from_its_config(kind, tmp_path):
    config = adapted_models.config(kind)
    config.save_pretrained(tmp_path)
    found = adapted.sizes(tmp_path)
    built = adapted_models.build(kind).bfloat16()
    subject = TransformersBackend(Adapted(built, built.config.get_text_config()), 8)
    assert found.parameters == sum(each.numel() for each in built.parameters())
    assert (found.state_bytes, found.token_bytes) == (subject.nbytes, subject._per_token)
    assert (found.max_context, found.vocab_size) == (subject.limits.max_context, 128)


@pytest.mark.parametrize("kind", sorted(adapted_models.FORGETTING))
def test_a_class_that_forgets_is_refused_with_the_figure(kind, tmp_path):
    reason = r"gives no cache" if kind == "recurrent_gemma" else r"forgets .* by [01](\.\d+)? of their scale"
    with pytest.raises(ModelError, match=reason):
        adapted.load(adapted_models.save(kind, tmp_path), torch.float32, "cpu")
    with pytest.raises(ModelError, match=reason):
        adapted.sizes(tmp_path)


def test_a_model_whose_own_forward_fails_is_refused_with_what_it_said(tmp_path):
    from transformers import AutoModelForCausalLM, xLSTMConfig

    # Its heads do not divide the inner width as its own kernels need it.
    config = xLSTMConfig(**adapted_models.SIZES | {"num_hidden_layers": 2})
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="its forward in transformers fails: The expanded size"):
        adapted.load(tmp_path, torch.float32, "cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_no_architecture_of_ours_loads_by_itself_with_its_error_measured(dtype, tmp_path):
    directory = adapted_models.save("olmo_hybrid", tmp_path)
    assert not checkpoint.is_native(directory) and checkpoint.is_native(checkpoint.DEFAULT)
    loaded = loading.loaded(directory, dtype, "cpu")
    assert isinstance(loaded, Adapted) and next(loaded.model.parameters()).dtype == dtype
    kernels = engines.around(loaded, {2}, 2, 64).kernels
    assert kernels.name == "transformers" and kernels.error is not None and kernels.error < 0.1
    with pytest.raises(ModelError, match="model_type = 'olmo_hybrid'"):
        loading.loaded(directory, dtype, "cpu", "native")


def test_of_a_model_that_sees_too_the_text_is_loaded(tmp_path):
    from transformers import AutoModelForImageTextToText, Qwen3_5Config

    eyes = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 64}
    text = adapted_models.config("qwen3_5_text").to_dict()
    whole = AutoModelForImageTextToText.from_config(Qwen3_5Config(text_config=text, vision_config=eyes)).eval()
    carrying.redraw(whole)
    whole.save_pretrained(tmp_path)
    loaded = adapted.load(tmp_path, torch.float32, "cpu")
    ids = torch.from_numpy(tokens_of(20))[None]
    with torch.inference_mode():
        torch.testing.assert_close(loaded.model(input_ids=ids).logits, whole(input_ids=ids).logits)
    assert (loaded.max_context, loaded.config.vocab_size) == (32768, 128)


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("qwen3_next", {"hidden_size": 2048, "num_experts": 512, "num_experts_per_tok": 10, "num_hidden_layers": 48}),
        ("kimi_linear", {"hidden_size": 2304, "num_experts": 256, "num_hidden_layers": 27, "layer_types": None}),
        ("falcon_h1", {"num_hidden_layers": 36}),
        ("zamba2", {"num_hidden_layers": 38, "layers_block_type": ["mamba", "mamba", "hybrid"] * 12 + ["mamba"] * 2}),
    ],
)
def test_a_large_class_is_tried_small_with_every_kind_of_layer(kind, sizes, monkeypatch):
    from transformers import AutoConfig, AutoModelForCausalLM

    given = adapted_models.SIZES | adapted_models.CARRYING[kind] | sizes
    config = AutoConfig.for_model(kind, **given)
    small = carrying._small(AutoModelForCausalLM, config)
    assert small is not None and small.num_hidden_layers < 8
    kinds = [getattr(each, "layer_types", None) or ["all"] for each in (small, config)]
    assert set(kinds[0]) == set(kinds[1])
    with torch.device("meta"):
        assert AutoModelForCausalLM.from_config(small).num_parameters() < 10**9
    monkeypatch.setattr(carrying, "MOST_PARAMETERS", 1000)
    assert carrying._small(AutoModelForCausalLM, config) is None


def test_weights_that_lack_something_are_refused_and_pickles_are_never_opened(tmp_path):
    from safetensors.torch import load_file, save_file

    directory = adapted_models.save("lfm2", tmp_path)
    weights = load_file(directory / "model.safetensors")
    gone = weights.pop("model.layers.1.self_attn.q_proj.weight")
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"the weights lack model\.layers\.1\.self_attn\.q_proj"):
        adapted.load(directory, torch.float32, "cpu")
    save_file(weights | {"model.layers.1.self_attn.q_proj.weight": gone[:9]}, directory / "model.safetensors")
    with pytest.raises(ModelError, match="q_proj"):
        adapted.load(directory, torch.float32, "cpu")
    torch.save(weights, directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="transformers cannot load it"):
        adapted.load(directory, torch.float32, "cpu")


def test_code_of_a_checkpoint_is_not_run(tmp_path: Path):
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text("raise SystemExit('this was run')")
    with pytest.raises(ModelError, match=r"does not know its config\.json"):
        adapted.load(tmp_path, torch.float32, "cpu")


def test_kernels_of_ours_are_not_asked_of_transformers():
    with pytest.raises(ValueError, match="run models natively"):
        ModelSettings(backend="transformers", kernels="triton")


def test_bits_of_bfloat16_survive():
    layers = {"layers": [{"keys": torch.randn(1, 2, 5, 4).bfloat16(), "seen": 5}]}
    state = caches.exported(layers, 5)
    assert state["keys"].dtype == np.uint16 and state["keys"].shape == (1, 5, 2, 4)
    back, count = caches.restored(state, layers)
    assert count == 5 and torch.equal(back["layers"][0]["keys"], layers["layers"][0]["keys"])
