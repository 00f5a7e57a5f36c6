"""Published weights of transformers and hybrids load strictly, and what does not fit is named as the files name it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from configs.errors import ModelError
from models.hybrid.architecture import HybridConfig
from models.hybrid.attention import WholeCache
from models.weights import checkpoint
from tests.consistency import relative_error
from tests.published_families import their_model, write


def change_weights(directory, change):
    file = directory / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def change_config(directory, **fields):
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.fixture
def llama(tmp_path):
    return write("llama", tmp_path)


def test_a_checkpoint_is_checked_without_building_it(llama):
    config = checkpoint.check(llama)
    assert isinstance(config, HybridConfig)
    assert (config.vocab_size, config.max_context, len(config.layers)) == (61, 512, 6)
    assert HybridConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("model.layers.1.self_attn.k_proj.weight"), "lack model.layers.1.self_attn.k_proj.weight"),
        (lambda t: t.pop("model.norm.weight"), "lack model.norm.weight"),
        (lambda t: t.pop("lm_head.weight"), "lack lm_head.weight"),
        (lambda t: t.update({"model.layers.9.x": torch.ones(1)}), "hold model.layers.9.x"),
        (
            lambda t: t.update({"model.layers.0.mlp.up_proj.weight": torch.ones(80, 47)}),
            r"model.layers.0.mlp.up_proj.weight has shape \(80, 47\), config.json asks for \(80, 48\)",
        ),
        (
            lambda t: t.update({"model.layers.0.self_attn.v_proj.weight": torch.ones(25, 48)}),
            r"model.layers.0.self_attn.v_proj.weight has shape \(25, 48\), config.json asks for \(24, 48\)",
        ),
        (
            lambda t: t.update({"model.norm.weight": torch.ones(48, dtype=torch.int64)}),
            "model.norm.weight is no tensor of floating-point numbers",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(llama, change, says):
    change_weights(llama, change)
    with pytest.raises(ModelError, match=says):
        checkpoint.load(llama)
    with pytest.raises(ModelError, match=says):
        checkpoint.check(llama)


def test_frequencies_in_the_files_are_left_there(llama):
    change_weights(llama, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6)}))
    checkpoint.load(llama)


def test_weights_in_shards_are_the_same(llama, tmp_path):
    their_model("llama").save_pretrained(tmp_path / "shards", max_shard_size="50KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    whole, shards = (checkpoint.load(folder).state_dict() for folder in (llama, tmp_path / "shards"))
    assert all(torch.equal(tensor, shards[name]) for name, tensor in whole.items())


def test_a_model_in_bf16_has_half_the_bytes(llama):
    model = checkpoint.load(llama, torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.kv_shape.dtype == torch.bfloat16


def test_a_head_that_is_tied_may_be_stored_as_long_as_it_is_the_same(tmp_path):
    folder = write("qwen2", tmp_path)
    change_weights(folder, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    model = checkpoint.load(folder)
    assert model.lm_head.weight is model.embedding.weight
    change_weights(folder, lambda t: t.update({"lm_head.weight": torch.ones(61, 48)}))
    with pytest.raises(ModelError, match=r"lm_head.weight differs from the embedding"):
        checkpoint.check(folder)


@pytest.mark.parametrize(
    ("family", "fields", "says"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act = 'gelu': supported with 'silu' only"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type = 'dynamic'"),
        ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 2.0}}, "low_freq_factor: Field required"),
        ("llama", {"num_key_value_heads": 3}, "num_key_value_heads must divide num_attention_heads"),
        ("llama", {"vocab_size": None}, "vocab_size = None: a whole number is needed"),
        ("mistral", {"sliding_window": 100}, "sliding_window = 100"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 64}, "sliding_window = 64"),
        ("smollm3", {"no_rope_layers": [1]}, "no_rope_layers names 1 layers, num_hidden_layers says 3"),
    ],
)
def test_a_config_that_is_not_supported_is_refused_by_name(family, fields, says, tmp_path):
    folder = write(family, tmp_path)
    change_config(folder, **fields)
    with pytest.raises(ModelError, match=says):
        checkpoint.check(folder)


def test_a_window_that_is_never_reached_changes_nothing(tmp_path):
    folder = write("mistral", tmp_path)
    change_config(folder, sliding_window=512)
    assert checkpoint.check(folder).max_context == 512


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("granite_h_experts", "model.layers.2.self_attn.q_proj.weight"),
        ("granite_h_experts", "model.layers.1.block_sparse_moe.output_linear.weight"),
        ("granite_h_experts", "model.layers.1.block_sparse_moe.router.layer.weight"),
        ("granite_h", "model.layers.0.mamba.dt_bias"),
        ("granite_h", "model.layers.3.shared_mlp.input_linear.weight"),
        ("nemotron_h", "backbone.layers.1.mixer.experts.5.up_proj.weight"),
        ("nemotron_h", "backbone.layers.1.mixer.gate.e_score_correction_bias"),
        ("nemotron_h", "backbone.layers.4.norm.weight"),
        ("nemotron_h_groups", "backbone.layers.1.mixer.fc2_latent_proj.bias"),
    ],
)
def test_a_tensor_that_is_missing_or_misshapen_is_named_as_published(family, name, tmp_path):
    folder = write(family, tmp_path)
    shape = load_file(folder / "model.safetensors")[name].shape
    change_weights(folder, lambda tensors: tensors.update({name: torch.ones(*shape[:-1], shape[-1] + 1)}))
    with pytest.raises(ModelError, match=f"{name} has shape"):
        checkpoint.load(folder)
    change_weights(folder, lambda tensors: tensors.pop(name))
    with pytest.raises(ModelError, match=f"lack {name}"):
        checkpoint.load(folder)


def test_heads_that_guess_ahead_are_left_out(tmp_path):
    folder = write("nemotron_h", tmp_path)
    change_weights(folder, lambda tensors: tensors.update({"mtp.layers.0.norm.weight": torch.ones(2)}))
    checkpoint.load(folder)


def test_step_sizes_and_routers_stay_in_fp32(tmp_path):
    model = checkpoint.load(write("nemotron_h", tmp_path), torch.bfloat16)
    wide = {name.rpartition("mixer.")[2] for name, each in model.named_parameters() if each.dtype == torch.float32}
    assert wide == {"A_log", "D", "dt_bias", "router.weight", "router.correction"}
    assert model.empty_state(1)["ssm"].dtype == torch.float32
    slots, tokens = model.empty_state(1), torch.arange(20)
    with torch.inference_mode():
        cache = WholeCache(model.kv_shape, 1).of_pass([0], [20])
        logits = model.prefill_(tokens, [0, 20], slots, [0], cache, tokens)
    assert logits.dtype == torch.bfloat16
    exact = their_model("nemotron_h")(input_ids=tokens[None], use_cache=False).logits[0]
    assert relative_error(logits, exact) < 0.05
