"""Mamba-2 agrees with transformers, and with itself whole, in pieces, step by step and in ragged packs."""

import inspect
import json
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Mamba2Config as TheirConfig
from transformers import Mamba2ForCausalLM

from benchmarks.subjects import CACHE_ARGUMENTS, cache_argument, read_on
from configs.errors import ModelError
from models.backends import engines
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, Request, Sampling
from models.mamba import huggingface
from models.mamba.architecture import Mamba2Config, MambaConfig, read_config
from models.mamba.language_model import MambaLM
from models.weights import checkpoint
from tests.consistency import (
    assert_gradients_equal,
    assert_pack_equals_each_document,
    assert_pieces_equal_whole,
    assert_rows_move_in_place,
    assert_steps_equal_whole,
    read_in_pieces,
    relative_error,
    tokens_of,
)
from tests.small_model import VOCAB_SIZE

VARIANTS = {
    "published": {},
    "two_groups": {"ngroups": 2},
    "biases_and_two_taps": {"bias": True, "conv_bias": False, "d_conv": 2},
    "held_step_sizes": {"dt_limit": (0.1, 0.3)},
}
THEIRS = {
    "published": {},
    "four_groups_untied": {"n_groups": 4, "tie_word_embeddings": False},
    "biases": {"use_bias": True, "use_conv_bias": False, "conv_kernel": 3},
    "held_step_sizes": {"time_step_limit": (0.1, 0.3)},
}
FORMS = pytest.mark.parametrize("variant", VARIANTS)
PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])


@torch.no_grad()
def away_from_start(model: torch.nn.Module) -> None:
    """Move every parameter from its initial value so far that no state can be left out unseen."""
    for name, parameter in model.named_parameters():
        parameter.add_((0.1 if name.endswith(("A_log", "dt_bias")) else 0.3) * torch.randn_like(parameter))


@cache
def build(dtype: torch.dtype = torch.float64, variant: str = "published") -> MambaLM:
    torch.manual_seed(7)
    shape = {"d_state": 16, "headdim": 12, "chunk_size": 8, "dt_min": 0.05, "dt_max": 0.9}
    mixer = Mamba2Config(**shape | VARIANTS[variant])
    model = MambaLM(MambaConfig(d_model=24, d_intermediate=0, n_layer=2, vocab_size=VOCAB_SIZE, ssm_cfg=mixer))
    away_from_start(model.initialize())
    return model.to(dtype).eval().requires_grad_(False)


@cache
def their_model(variant: str) -> Mamba2ForCausalLM:
    torch.manual_seed(7)
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "state_size": 16, "head_dim": 8, "num_heads": 8, "n_groups": 1}
    names = {"vocab_size": VOCAB_SIZE, "chunk_size": 16, "tie_word_embeddings": True, "pad_token_id": 0}
    model = Mamba2ForCausalLM(TheirConfig(**shape | names | THEIRS[variant])).eval()
    away_from_start(model)
    return model.requires_grad_(False)


@pytest.mark.parametrize("variant", THEIRS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_saved_transformers_model_loads_and_gives_the_same_logits(variant, dtype, tmp_path):
    """In fp64 too, as far as their scan goes, which is fp32."""
    theirs, tokens = their_model(variant), tokens_of(150)
    theirs.save_pretrained(tmp_path)
    expected = theirs(input_ids=tokens[None]).logits[0]
    actual, _ = read_in_pieces(checkpoint.load(tmp_path, dtype), tokens, [150])
    assert relative_error(actual, expected) < 1e-5
    without_a_past = theirs(input_ids=tokens[None, 100:]).logits[0]
    assert relative_error(without_a_past, expected[100:]) > 0.1


def their_logits(read_piece: Callable[[torch.Tensor, Any], tuple[Any, Any]], tokens: torch.Tensor) -> torch.Tensor:
    """Their model's logits after every token, read in pieces of 16 that each go on from the last one's cache."""
    carried, logits = None, []
    for piece in tokens.split(16):
        output, carried = read_piece(piece[None], carried)
        logits.append(output.logits[0])
    return torch.cat(logits)


def test_transformers_forgets_nothing_between_pieces():
    """What it is compared in, here and in the benchmarks, is its whole text."""
    theirs, tokens = their_model("published"), tokens_of(64)
    whole = theirs(tokens[None]).logits[0]
    assert relative_error(their_logits(partial(read_on, theirs), tokens), whole) < 1e-5


def test_a_wrong_name_of_the_cache_would_be_seen():
    """The model itself says nothing: the test above is what notices."""
    theirs, tokens = their_model("published"), tokens_of(64)

    def read_under_a_wrong_name(piece, carried):
        output = theirs(piece, use_cache=True, their_cache=carried)
        return output, output[cache_argument(theirs)]

    whole = theirs(tokens[None]).logits[0]
    assert relative_error(their_logits(read_under_a_wrong_name, tokens), whole) > 0.1


@pytest.mark.parametrize("name", CACHE_ARGUMENTS)
def test_the_name_of_the_cache_is_read_off_the_signature(name):
    def forward(**options): ...

    taken = [inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY) for each in ("input_ids", name, "use_cache")]
    forward.__signature__ = inspect.Signature(taken)
    model = torch.nn.Module()
    model.forward = forward
    assert cache_argument(model) == name


def test_a_model_without_a_cache_is_refused():
    with pytest.raises(TypeError, match=r"Linear.forward takes none of cache, past_key_values, cache_params, state"):
        cache_argument(torch.nn.Linear(1, 1))


def test_pieces_and_steps_continue_as_transformers_does():
    theirs, tokens, carried, expected = their_model("published"), tokens_of(60), None, []
    ours = MambaLM(MambaConfig.model_validate(theirs.config.to_dict()))
    ours.load_state_dict({huggingface.tensor_name(name): tensor for name, tensor in theirs.state_dict().items()})
    lengths = [40, 1, 1, 3, 15]
    for piece in tokens.split(lengths):
        output, carried = read_on(theirs, piece[None], carried)
        expected.append(output.logits[0])
    with torch.no_grad():
        actual, state = read_in_pieces(ours, tokens, lengths)
    assert relative_error(actual, torch.cat(expected)) < 1e-5
    for layer in range(3):
        assert relative_error(state["ssm"][layer], carried.layers[layer].recurrent_states[0]) < 1e-5
        assert relative_error(state["conv"][layer], carried.layers[layer].conv_states[0][..., 1:]) < 1e-5


@FORMS
@PRECISIONS
@pytest.mark.parametrize("lengths", [[1] * 45, [8, 8, 8, 8, 8, 5], [1, 17, 1, 1, 9, 16], [44, 1], [3, 42], [2, 2, 41]])
def test_whole_equals_any_pieces(variant, dtype, tolerance, lengths):
    assert_pieces_equal_whole(build(dtype, variant), lengths, tolerance)


@FORMS
@PRECISIONS
def test_step_by_step_equals_whole(variant, dtype, tolerance):
    assert_steps_equal_whole(build(dtype, variant), tolerance)


@FORMS
@PRECISIONS
@pytest.mark.parametrize(
    "lengths", [[5, 1, 30, 8], [1, 1, 1, 1], [3, 16, 2, 24, 1, 8], [7, 45, 1, 2, 33, 8, 9], [2, 3]]
)
def test_a_ragged_pack_equals_each_document_alone(variant, dtype, tolerance, lengths):
    """Each document continues from its own state, which is not zero."""
    assert_pack_equals_each_document(build(dtype, variant), lengths, tolerance)


def test_rows_of_slots_move_on_in_place_and_others_keep_still():
    assert_rows_move_in_place(build())


def test_gradients_of_a_pass_are_those_of_single_steps():
    model = MambaLM(build().config).double()
    model.load_state_dict(build().state_dict())
    assert_gradients_equal(model)


@pytest.mark.parametrize(("slots", "step_tokens"), [(3, 32), (1, 16), (16, 4096)])
def test_the_engine_answers_in_a_ragged_mix_as_alone(slots, step_tokens):
    def ask(length):
        tokens = np.random.default_rng(length).integers(0, 60, length)
        return Request(
            length,
            ArrayFeed(tokens),
            (Prompt((3, 1, 4), Sampling(max_tokens=12)), Prompt((5,), Sampling(max_tokens=4))),
        )

    def run(engine, lengths):
        for length in lengths:
            engine.submit(ask(length))
        answers = {}
        while engine.busy:
            answers |= {finished.id: finished.answers for finished in engine.step().finished}
        return answers

    lengths = [5, 130, 1, 64, 2, 101, 3]
    together = run(engines.around(build(), {VOCAB_SIZE}, slots, step_tokens), lengths)
    alone = [run(engines.around(build(), {VOCAB_SIZE}, 1, 4096), [length]) for length in lengths]
    assert together == {name: answers for one in alone for name, answers in one.items()}


def test_a_saved_model_comes_back_with_its_fp32_parameters(tmp_path):
    model = build(torch.float32, "held_step_sizes")
    checkpoint.save(model, tmp_path)
    wide = {name for name, tensor in load_file(tmp_path / "model.safetensors").items() if tensor.dtype == torch.float32}
    assert wide == {f"backbone.layers.{layer}.mixer.{name}" for layer in (0, 1) for name in ("A_log", "D", "dt_bias")}
    loaded = checkpoint.load(tmp_path)
    assert loaded.config == model.config
    for name, tensor in model.state_dict().items():
        kept = tensor if name in wide else tensor.bfloat16().float()
        assert torch.equal(loaded.state_dict()[name], kept)
    narrow = checkpoint.load(tmp_path, torch.bfloat16)
    logits, state = narrow.prefill(tokens_of(30), [0, 30], narrow.empty_state(1))
    assert {tensor.dtype for tensor in state.tensors.values()} == {torch.float32}
    assert torch.isfinite(logits.float()).all()


SIZES = {"130m": (768, 24), "370m": (1024, 48), "780m": (1536, 48), "1.3b": (2048, 48), "2.7b": (2560, 64)}


def published(d_model: int, n_layer: int) -> dict:
    shape = {"d_model": d_model, "d_intermediate": 0, "n_layer": n_layer, "vocab_size": 50277}
    blocks = {"rms_norm": True, "residual_in_fp32": True, "fused_add_norm": True, "attn_layer_idx": [], "attn_cfg": {}}
    return shape | blocks | {"ssm_cfg": {"layer": "Mamba2"}, "pad_vocab_size_multiple": 16, "tie_embeddings": True}


@pytest.mark.parametrize("size", SIZES)
def test_published_shapes_have_the_size_of_their_names(size):
    config = MambaConfig.model_validate(published(*SIZES[size]))
    with torch.device("meta"):
        model = MambaLM(config)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == pytest.approx(float(size[:-1]) * {"m": 1e6, "b": 1e9}[size[-1]], rel=0.04)
    assert config.padded_vocab_size == 50288
    assert model.empty_state(3)["ssm"].shape == (config.n_layer, 3, config.num_heads, 64, 128)


@pytest.mark.parametrize(("limit", "read"), [([0.0, {"__float__": "Infinity"}], (0.0, float("inf"))), ([0, 1], (0, 1))])
def test_an_infinite_step_limit_survives_json(limit, read, tmp_path):
    theirs = {"model_type": "mamba2", "hidden_size": 64, "num_heads": 2, "n_groups": 1, "time_step_limit": limit}
    (tmp_path / "config.json").write_text(json.dumps(theirs))
    config = read_config(tmp_path / "config.json")
    assert config.ssm_cfg.dt_limit == read
    assert MambaConfig.model_validate_json(config.model_dump_json()) == config


PUBLISHED = published(768, 24)
THEIR_CONFIG = {"model_type": "mamba2", "hidden_size": 64, "num_heads": 2, "n_groups": 1}


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (PUBLISHED | {"ssm_cfg": {"layer": "Mamba4"}}, "ssm_cfg: .*Mamba4"),
        (PUBLISHED | {"ssm_cfg": {"layer": "Mamba2", "norm_before_gate": True}}, "ssm_cfg.norm_before_gate = True"),
        (PUBLISHED | {"ssm_cfg": {"layer": "Mamba2", "rmsnorm": False}}, "ssm_cfg.rmsnorm = False"),
        (PUBLISHED | {"ssm_cfg": {"layer": "Mamba2", "D_has_hdim": True}}, "ssm_cfg.D_has_hdim = True"),
        (PUBLISHED | {"ssm_cfg": {"layer": "Mamba2", "d_ssm": 512}}, "ssm_cfg.d_ssm = 512"),
        (PUBLISHED | {"ssm_cfg": {"layer": "Mamba2", "rope_fraction": 0.5}}, "rope_fraction"),
        ({"model_type": "llama", "hidden_size": 64}, "model_type = 'llama'"),
        (THEIR_CONFIG | {"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        (THEIR_CONFIG | {"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon"),
        (THEIR_CONFIG | {"num_heads": 3}, "num_heads"),
    ],
)
def test_a_config_that_is_not_supported_is_refused_by_name(config, says, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=says):
        read_config(tmp_path / "config.json")
