"""Mamba-1 and Falcon Mamba agree with transformers where it remembers, with a recurrence in float64, and with
themselves whole, in pieces, step by step and in ragged packs."""

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import FalconMambaConfig, FalconMambaForCausalLM, MambaForCausalLM
from transformers import MambaConfig as TheirConfig

from benchmarks.subjects import read_on
from configs.errors import ModelError
from models.backends import engines
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, Request, Sampling
from models.mamba import selective_scan
from models.mamba.architecture import Mamba1Config, MambaConfig, read_config
from models.mamba.language_model import MambaLM
from models.mamba.mamba1 import Mamba1Mixer
from models.mamba.trainer import Example, Recipe, Stream, Trainer, multiply_in_bf16
from models.weights import checkpoint
from tests.consistency import (
    assert_gradients_equal,
    assert_pack_equals_each_document,
    assert_pieces_equal_whole,
    assert_rows_move_in_place,
    assert_states_equal,
    assert_steps_equal_whole,
    read_in_pieces,
    read_in_steps,
    relative_error,
    tokens_of,
)
from tests.small_model import VOCAB_SIZE

VARIANTS = {
    "published": {},
    "biases_and_two_taps": {"bias": True, "conv_bias": False, "d_conv": 2, "dt_rank": 5},
    "falcon": {"mixer_rms_eps": 1e-3},
}
THEIRS = {
    "published": {},
    "biases_untied": {"use_bias": True, "use_conv_bias": False, "conv_kernel": 3, "tie_word_embeddings": False},
    "other_shape": {"time_step_rank": 5, "state_size": 5, "expand": 16, "intermediate_size": 96},
    "other_epsilon": {"layer_norm_epsilon": 0.1},
    "falcon": {"model_type": "falcon_mamba"},
    "falcon_untied": {"model_type": "falcon_mamba", "mixer_rms_eps": 0.05, "tie_word_embeddings": False},
}
FORMS = pytest.mark.parametrize("variant", VARIANTS)
PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])


@torch.no_grad()
def redrawn(model: torch.nn.Module) -> None:
    """Move every parameter so far from where it starts that no state can be left out unseen."""
    for name, parameter in model.named_parameters():
        if name.endswith(("A_log", "D", "bias")) or parameter.ndim == 1:
            parameter.add_(0.3 * torch.randn_like(parameter))
        else:
            parameter.normal_(std=0.5 if "embed" in name or "lm_head" in name else 0.3)


@cache
def build(dtype: torch.dtype = torch.float64, variant: str = "published") -> MambaLM:
    torch.manual_seed(7)
    mixer = Mamba1Config(**{"d_state": 8, "dt_min": 0.02, "dt_max": 0.9} | VARIANTS[variant])
    model = MambaLM(MambaConfig(d_model=24, n_layer=2, vocab_size=VOCAB_SIZE, ssm_cfg=mixer))
    redrawn(model)
    return model.to(dtype).eval().requires_grad_(False)


@cache
def their_model(variant: str) -> MambaForCausalLM | FalconMambaForCausalLM:
    torch.manual_seed(7)
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 8, "vocab_size": VOCAB_SIZE, "pad_token_id": 0}
    given = shape | THEIRS[variant]
    if given.pop("model_type", "mamba") == "mamba":
        model = MambaForCausalLM(TheirConfig(**given)).eval()
    else:
        model = FalconMambaForCausalLM(FalconMambaConfig(**given)).eval()
    redrawn(model)
    return model.requires_grad_(False)


@torch.no_grad()
def recurrence(model: MambaLM, tokens: torch.Tensor) -> torch.Tensor:
    """Logits (L, V) in float64 as the paper has it, token by token and with no code of ours but the weights."""
    weights = {name: tensor.double() for name, tensor in model.state_dict().items()}
    mixer, eps = model.config.ssm_cfg, model.config.norm_epsilon
    hidden = weights["backbone.embedding.weight"][tokens]
    for layer in range(model.config.n_layer):
        prefix = f"backbone.layers.{layer}."
        own = {name.removeprefix(prefix): each for name, each in weights.items() if name.startswith(prefix)}
        normed = F.rms_norm(hidden, hidden.shape[-1:], own["norm.weight"], eps)
        own = {name.removeprefix("mixer."): each for name, each in own.items()}
        hidden = hidden + torch.stack(_mixed(own, mixer, normed))
    return F.rms_norm(hidden, hidden.shape[-1:], weights["backbone.norm_f.weight"], eps) @ weights["lm_head.weight"].T


def _mixed(weights: dict[str, torch.Tensor], config: Mamba1Config, rows: torch.Tensor) -> list[torch.Tensor]:
    inner, state_size = weights["A_log"].shape
    rank = weights["dt_proj.weight"].shape[1]
    zero = torch.zeros((), dtype=torch.float64)
    window = [torch.zeros(inner, dtype=torch.float64)] * config.d_conv
    state = torch.zeros(inner, state_size, dtype=torch.float64)
    outputs = []
    for row in rows:
        x, z = (weights["in_proj.weight"] @ row + weights.get("in_proj.bias", zero)).chunk(2)
        window = [*window[1:], x]
        x = sum(weights["conv1d.weight"][:, 0, tap] * each for tap, each in enumerate(window))
        x = F.silu(x + weights.get("conv1d.bias", zero))
        steering = (weights["x_proj.weight"] @ x).split([rank, state_size, state_size])
        if config.mixer_rms_eps is not None:
            steering = [each / (each.square().mean() + config.mixer_rms_eps).sqrt() for each in steering]
        low, b, c = steering
        dt = torch.log1p(torch.exp(weights["dt_proj.weight"] @ low + weights["dt_proj.bias"]))
        state = torch.exp(dt[:, None] * -torch.exp(weights["A_log"])) * state + (dt * x)[:, None] * b
        y = (state @ c + weights["D"] * x) * F.silu(z)
        outputs.append(weights["out_proj.weight"] @ y + weights.get("out_proj.bias", zero))
    return outputs


@pytest.mark.parametrize("variant", THEIRS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_saved_transformers_model_loads_and_gives_the_same_logits(variant, dtype, tmp_path):
    """In fp64 too, as far as their scan goes, which is fp32; and in pieces as they give it whole."""
    theirs, tokens = their_model(variant), tokens_of(150)
    theirs.save_pretrained(tmp_path)
    expected = theirs(input_ids=tokens[None]).logits[0]
    ours = checkpoint.load(tmp_path, dtype)
    for lengths in ([150], [7, 1, 96, 46]):
        assert relative_error(read_in_pieces(ours, tokens, lengths)[0], expected) < 1e-5
    assert relative_error(read_in_steps(ours, tokens)[0], expected) < 1e-5
    without_a_past = theirs(input_ids=tokens[None, 100:]).logits[0]
    assert relative_error(without_a_past, expected[100:]) > 0.05


def their_logits(variant: str, tokens: torch.Tensor, lengths: list[int]) -> tuple[torch.Tensor, Any]:
    carried, logits = None, []
    for piece in tokens.split(lengths):
        output, carried = read_on(their_model(variant), piece[None], carried)
        logits.append(output.logits[0])
    return torch.cat(logits), carried


@pytest.mark.parametrize("variant", ["published", "falcon"])
def test_transformers_forgets_between_pieces_without_a_word_which_is_why_ours_is_compared_in_whole_texts(variant):
    """Should this fail, transformers has been mended, and the adapter can take what it refuses today."""
    tokens = tokens_of(64)
    whole, _ = their_logits(variant, tokens, [64])
    assert relative_error(their_logits(variant, tokens, [16] * 4)[0], whole) > 0.05


@pytest.mark.parametrize("variant", ["published", "other_shape", "falcon"])
def test_single_steps_continue_as_transformers_does_and_leave_the_same_states(variant, tmp_path):
    tokens, lengths = tokens_of(60), [40, *[1] * 20]
    expected, carried = their_logits(variant, tokens, lengths)
    their_model(variant).save_pretrained(tmp_path)
    actual, state = read_in_pieces(checkpoint.load(tmp_path), tokens, lengths)
    assert relative_error(actual, expected) < 1e-5
    for layer in range(3):
        assert relative_error(state["ssm"][layer, 0].mT, carried.layers[layer].recurrent_states[0][0]) < 1e-5
        assert relative_error(state["conv"][layer], carried.layers[layer].conv_states[0][..., 1:]) < 1e-5


@FORMS
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("lengths", [[101], [32, 64, 5], [1, 40, 1, 33, 26]])
def test_it_is_the_recurrence_of_the_paper(variant, dtype, tolerance, lengths):
    model, tokens = build(dtype, variant), tokens_of(101)
    expected = recurrence(model, tokens)
    assert relative_error(read_in_pieces(model, tokens, lengths)[0], expected) < tolerance
    assert relative_error(read_in_steps(model, tokens)[0], expected) < tolerance


@FORMS
@PRECISIONS
@pytest.mark.parametrize(
    "lengths", [[1] * 70, [32, 32, 6], [1, 33, 1, 1, 31, 64], [44, 1], [3, 72], [2, 2, 41]], ids=str
)
def test_whole_equals_any_pieces(variant, dtype, tolerance, lengths):
    assert_pieces_equal_whole(build(dtype, variant), lengths, tolerance)


@FORMS
@PRECISIONS
def test_step_by_step_equals_whole(variant, dtype, tolerance):
    assert_steps_equal_whole(build(dtype, variant), tolerance)


@FORMS
@PRECISIONS
@pytest.mark.parametrize("lengths", [[5, 1, 70, 32], [1, 1, 1, 1], [3, 64, 2, 33, 1, 31], [2, 3]], ids=str)
def test_a_ragged_pack_equals_each_document_alone(variant, dtype, tolerance, lengths):
    """Each document continues from its own state, which is not zero."""
    assert_pack_equals_each_document(build(dtype, variant), lengths, tolerance)


@FORMS
def test_rows_of_slots_move_on_in_place_and_others_keep_still(variant):
    assert_rows_move_in_place(build(variant=variant))


@FORMS
def test_cut_at_chunks_a_document_gives_the_very_same_numbers(variant):
    model, tokens = build(torch.float32, variant), tokens_of(150)
    whole, state = read_in_pieces(model, tokens, [150])
    size = model.chunk_size
    pieces, after = read_in_pieces(model, tokens, [2 * size, size, 150 - 3 * size])
    # Products of matrices of other sizes may round otherwise; the recurrence may not.
    assert relative_error(pieces, whole) < 2e-6
    assert_states_equal(after, state, 2e-6)


@pytest.mark.parametrize("count", range(1, 40))
def test_the_prefix_is_the_recurrence_for_any_number_of_tokens(count):
    generator = torch.Generator().manual_seed(count)
    decay, added = torch.rand(2, count, 3, 5, generator=generator, dtype=torch.float64)
    state = expected = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    found = selective_scan.recur(decay.clone(), added.clone(), state)
    for token in range(count):
        expected = decay[token] * expected + added[token]
        assert relative_error(found[token], expected) < 1e-14


@pytest.mark.parametrize("count", [1, 2, 7, 32])
def test_the_prefix_has_the_gradients_of_the_recurrence(count):
    generator = torch.Generator().manual_seed(count)
    decay, added = torch.rand(2, count, 2, 3, generator=generator, dtype=torch.float64).requires_grad_().unbind()
    state = torch.rand(2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(selective_scan.recur, (decay, added, state))


@pytest.mark.parametrize("rate", [1e-9, 1e-3, 30.0, 1e4])
def test_the_slowest_and_the_fastest_decay_are_exact(rate):
    """A state that is kept for good, and one of which nothing is left: no logarithm runs over."""
    generator = torch.Generator().manual_seed(1)
    x, dt, b, c = (torch.rand(100, width, generator=generator) for width in (6, 6, 4, 4))
    channels = selective_scan.Channels(torch.full((4, 6), -rate), torch.zeros(6))
    inputs, state = selective_scan.Inputs(x, b, c, dt), torch.rand(1, 4, 6, generator=generator)
    model = build()
    y, after = selective_scan.scan(inputs, channels, state, model._packing(torch.zeros(100), [0, 100], 1))
    h, expected = state[0].double(), []
    for token in range(100):
        decay = torch.exp2(dt[token].double() * -rate)
        h = decay * h + b[token].double()[:, None] * (dt[token] * x[token]).double()
        expected.append(c[token].double() @ h)
    assert relative_error(y, torch.stack(expected)) < 1e-6
    assert relative_error(after[0], h) < 1e-6


def test_a_wide_layer_is_read_in_shares_of_its_channels(monkeypatch):
    tokens = tokens_of(80)
    expected, state = read_in_pieces(build(), tokens, [80])
    monkeypatch.setattr(selective_scan, "NUMBERS_AT_ONCE", 8 * 20)
    found, after = read_in_pieces(build(), tokens, [80])
    assert relative_error(found, expected) < 1e-13
    assert_states_equal(after, state, 1e-13)


@FORMS
def test_gradients_of_a_pass_are_those_of_single_steps(variant):
    model = MambaLM(build(variant=variant).config).double()
    model.load_state_dict(build(variant=variant).state_dict())
    assert_gradients_equal(model)


def test_training_learns_and_what_steers_the_recurrence_neither_decays_nor_is_drawn_anew():
    model = MambaLM(build(torch.float32).config).initialize().train()
    mixer = model.backbone.blocks[0].mixer
    assert torch.equal(mixer.A_log[3].exp().round(), torch.arange(1.0, 9.0))
    steps = F.softplus(mixer.dt_proj.bias)
    assert steps.min() > 0.019 and steps.max() < 0.91
    example = Example(tokens_of(120).numpy().astype(np.int32), 0)
    trainer = Trainer(model, [Stream(lambda number: example, 60)], Recipe(learning_rate=0.01, weight_decay=0.5))
    decays = {id(p): group["weight_decay"] for group in trainer.optimizer.param_groups for p in group["params"]}
    assert (decays[id(mixer.A_log)], decays[id(mixer.in_proj.weight)]) == (0.0, 0.5)
    losses = [trainer.step(1.0).text_loss for _ in range(30)]
    assert max(losses[-2:]) < 0.5 * min(losses[:2])


def test_multiplying_in_bf16_trains_close_to_fp32():
    losses = []
    for narrow in (False, True):
        model = build(torch.float32)
        copied = MambaLM(model.config)
        copied.load_state_dict(model.state_dict())
        if narrow:
            multiply_in_bf16(copied)
        example = Example(tokens_of(120).numpy().astype(np.int32), 0)
        trainer = Trainer(copied, [Stream(lambda number, example=example: example, 60)], Recipe(learning_rate=0.0))
        losses.append(trainer.step(1.0).text_loss)
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.03)


def ask(length: int, start: Any = None) -> Request:
    feed = ArrayFeed(np.random.default_rng(length).integers(0, 60, length), start=start.tokens_read if start else 0)
    prompts = (Prompt((3, 1, 4), Sampling(max_tokens=12)), Prompt((5,), Sampling(max_tokens=4)))
    return Request(length, feed, prompts, start=start)


def run(engine: Any, requests: list[Request]) -> dict[object, Any]:
    for each in requests:
        engine.submit(each)
    answers = {}
    while engine.busy:
        answers |= {finished.id: finished.answers for finished in engine.step().finished}
    return answers


LENGTHS = [5, 130, 1, 64, 2, 101, 3]


@FORMS
@pytest.mark.parametrize(("slots", "step_tokens"), [(3, 32), (1, 16), (16, 4096)])
def test_the_engine_answers_in_a_ragged_mix_as_alone(variant, slots, step_tokens):
    model = build(variant=variant)
    together = run(engines.around(model, {VOCAB_SIZE}, slots, step_tokens), [ask(length) for length in LENGTHS])
    alone = [run(engines.around(model, {VOCAB_SIZE}, 1, 4096), [ask(length)]) for length in LENGTHS]
    assert together == {name: answers for one in alone for name, answers in one.items()}
    assert len({answer.tokens for answers in together.values() for answer in answers}) > len(LENGTHS)


@FORMS
@pytest.mark.parametrize("steps", [1, 3])
def test_documents_resume_in_another_engine_from_what_the_first_exported(variant, steps):
    model = build(variant=variant)
    expected = run(engines.around(model, {VOCAB_SIZE}, 7, 4096), [ask(length) for length in LENGTHS])
    first, done = engines.around(model, {VOCAB_SIZE}, 7, 64), {}
    for length in LENGTHS:
        first.submit(ask(length))
    for _ in range(steps):
        done |= {each.id: each.answers for each in first.step().finished}
    left = {length: first.read_state(length) for length in first.in_slots}
    assert any(0 < state.tokens_read < length for length, state in left.items())
    rest = [ask(length, left.get(length)) for length in LENGTHS if length not in done]
    assert done | run(engines.around(model, {VOCAB_SIZE}, 2, 48), rest) == expected


@pytest.mark.parametrize("variant", ["published", "falcon"])
def test_a_saved_model_comes_back_with_its_fp32_parameters(variant, tmp_path):
    model = build(torch.float32, variant)
    checkpoint.save(model, tmp_path)
    wide = {name for name, tensor in load_file(tmp_path / "model.safetensors").items() if tensor.dtype == torch.float32}
    names = ("A_log", "D", "dt_proj.bias")
    assert wide == {f"backbone.layers.{layer}.mixer.{name}" for layer in (0, 1) for name in names}
    loaded = checkpoint.load(tmp_path)
    assert loaded.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor if name in wide else tensor.bfloat16().float())
    narrow = checkpoint.load(tmp_path, torch.bfloat16)
    tokens = tokens_of(30)
    logits, state = read_in_pieces(narrow, tokens, [30])
    assert {tensor.dtype for tensor in state.tensors.values()} == {torch.float32}
    assert relative_error(logits, read_in_pieces(loaded, tokens, [30])[0]) < 0.1
    assert relative_error(read_in_steps(narrow, tokens)[0], logits) < 0.05


SIZES = {
    "mamba-130m": (768, 24, 129_135_360),
    "mamba-370m": (1024, 48, 371_516_416),
    "mamba-790m": (1536, 48, 793_204_224),
    "mamba-1.4b": (2048, 48, 1_372_178_432),
    "mamba-2.8b": (2560, 64, 2_768_345_600),
}


def published(d_model: int, n_layer: int) -> dict:
    blocks = {"rms_norm": True, "residual_in_fp32": True, "fused_add_norm": True, "pad_vocab_size_multiple": 8}
    return {"d_model": d_model, "n_layer": n_layer, "vocab_size": 50277, "ssm_cfg": {}} | blocks


@pytest.mark.parametrize("name", SIZES)
def test_published_shapes_have_the_size_of_their_names(name):
    d_model, n_layer, parameters = SIZES[name]
    config = MambaConfig.model_validate(published(d_model, n_layer))
    with torch.device("meta"):
        model = MambaLM(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert isinstance(model.backbone.blocks[0].mixer, Mamba1Mixer)
    assert config.padded_vocab_size == 50280
    assert model.empty_state(3)["ssm"].shape == (n_layer, 3, 16, 2 * d_model)


FALCON_7B = {
    "model_type": "falcon_mamba",
    "architectures": ["FalconMambaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 8192,
    "expand": 16,
    "num_hidden_layers": 64,
    "state_size": 16,
    "time_step_rank": 256,
    "tie_word_embeddings": False,
    "vocab_size": 65024,
}


def test_falcon_mamba_7b_is_as_wide_inside_as_it_says_and_not_as_its_expand_says():
    config = MambaConfig.model_validate(FALCON_7B)
    with torch.device("meta"):
        model = MambaLM(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(7.27e9, rel=0.001)
    assert (config.ssm_cfg.expand, config.ssm_cfg.mixer_rms_eps, config.d_inner) == (2, 1e-6, 8192)
    assert MambaConfig.model_validate_json(config.model_dump_json()) == config


PUBLISHED = published(768, 24)
THEIR_CONFIG = {"model_type": "mamba", "hidden_size": 64}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (PUBLISHED | {"ssm_cfg": {"headdim": 64}}, "ssm_cfg.Mamba1.headdim"),
        (PUBLISHED | {"ssm_cfg": {"dt_init": "zero"}}, "ssm_cfg.Mamba1.dt_init"),
        (PUBLISHED | {"ssm_cfg": {"dt_rank": "wide"}}, "ssm_cfg.Mamba1.dt_rank"),
        (PUBLISHED | {"ssm_cfg": {"d_conv": 1}}, "ssm_cfg.Mamba1.d_conv"),
        (PUBLISHED | {"rms_norm": False}, "rms_norm = false"),
        (PUBLISHED | {"attn_layer_idx": [3]}, "attn_layer_idx"),
        (THEIR_CONFIG | {"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        (THEIR_CONFIG | {"rms_norm": False}, "rms_norm = False"),
        (THEIR_CONFIG | {"time_step_init_scheme": "zero"}, "dt_init"),
        (THEIR_CONFIG | {"intermediate_size": 100}, "intermediate_size = 100 is no multiple of hidden_size = 64"),
        (THEIR_CONFIG | {"intermediate_size": "wide"}, "intermediate_size = wide is no multiple of hidden_size = 64"),
        (THEIR_CONFIG | {"hidden_size": "wide"}, "d_model"),
        (THEIR_CONFIG | {"expand": 1.5, "intermediate_size": None}, "ssm_cfg.Mamba1.expand"),
    ],
)
def test_a_config_that_is_not_supported_is_refused_by_name(config, says, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=says):
        read_config(tmp_path / "config.json")


@pytest.mark.parametrize("variant", ["published", "falcon"])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("backbone.layers.1.mixer.dt_proj.bias"), r"lack backbone.layers.1.mixer.dt_proj.bias \("),
        (lambda t: t.update({"backbone.layers.0.mixer.b_norm": torch.ones(8)}), "hold backbone.layers.0.mixer.b_norm"),
        (lambda t: t.update({"backbone.layers.0.mixer.A_log": torch.ones(64)}), r"A_log has shape \(64,\), "),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(variant, change, says, tmp_path):
    their_model(variant).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=says):
        checkpoint.load(tmp_path)
