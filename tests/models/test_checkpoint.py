"""Checkpoints load strictly and safely, and say what is wrong with them."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from configs.errors import ModelError
from models import checkpoint
from tests.small_model import build


@pytest.fixture
def saved(tmp_path):
    checkpoint.save(build(torch.float32), tmp_path)
    return tmp_path


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model.prefill(torch.arange(30), [0, 30], model.empty_state(1))[0]


def test_a_saved_model_comes_back_as_it_was_in_bfloat16(saved):
    expected = build(torch.float32)
    for name, parameter in expected.named_parameters():
        if not name.endswith(checkpoint.FP32_NAMES):
            parameter.data = parameter.data.bfloat16().float()
    loaded = checkpoint.load(saved)
    torch.testing.assert_close(logits(loaded), logits(expected))
    assert loaded.lm_head.weight is loaded.backbone.embedding.weight


def test_a_published_bin_with_the_tied_head_in_it_loads_the_same(saved, tmp_path):
    tensors = load_file(saved / "model.safetensors")
    (tmp_path / "bin").mkdir()
    torch.save(tensors | {"lm_head.weight": tensors["backbone.embedding.weight"]}, tmp_path / "bin/pytorch_model.bin")
    (tmp_path / "bin/config.json").write_text((saved / "config.json").read_text())
    torch.testing.assert_close(logits(checkpoint.load(tmp_path / "bin")), logits(checkpoint.load(saved)))


def test_bfloat16_weights_keep_an_fp32_state(saved):
    model = checkpoint.load(saved, torch.bfloat16)
    with torch.inference_mode():
        result, state = model.prefill(torch.arange(30), [0, 30], model.empty_state(1))
    assert {tensor.dtype for tensor in state.tensors.values()} == {torch.float32}
    assert torch.isfinite(result.float()).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("backbone.layers.1.mixer.D"), "lack backbone.layers.1.mixer.D"),
        (lambda t: t.update({"backbone.layers.0.mixer.A_log": torch.ones(2)}), "hold backbone.layers.0.mixer.A_log"),
        (lambda t: t.update({"backbone.norm_f.weight": torch.ones(5)}), r"norm_f.weight has shape \(5,\)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(saved, change, says):
    tensors = load_file(saved / "model.safetensors")
    change(tensors)
    save_file(tensors, saved / "model.safetensors")
    with pytest.raises(ModelError, match=says):
        checkpoint.load(saved)
    with pytest.raises(ModelError, match=says):
        checkpoint.check(saved)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("ssm_cfg", {"layer": "Mamba2"}, "ssm_cfg.layer"),
        ("d_model", "wide", "d_model"),
        ("colour", "red", "colour"),
        ("attn_layer_idx", [1], "attention layers"),
    ],
)
def test_a_config_that_does_not_fit_is_named(saved, field, value, says):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {field: value}))
    with pytest.raises(ModelError, match=says):
        checkpoint.load(saved)


class Runs:
    """A pickle that would run code."""

    def __reduce__(self):
        return pytest.fail, ("code in a checkpoint was run",)


def test_no_code_in_a_checkpoint_is_run(saved):
    (saved / "model.safetensors").unlink()
    (saved / "pytorch_model.bin").write_bytes(pickle.dumps({"x": Runs()}, protocol=2))
    with pytest.raises(ModelError, match=r"pytorch_model\.bin"):
        checkpoint.load(saved)


def test_the_fingerprint_changes_with_a_weight(saved):
    before = checkpoint.fingerprint(saved)
    tensors = load_file(saved / "model.safetensors")
    tensors["backbone.norm_f.weight"][0] += 1
    save_file(tensors, saved / "model.safetensors")
    assert checkpoint.fingerprint(saved) != before


def test_a_missing_directory_is_refused():
    with pytest.raises(ModelError, match=r"model\.uri = '/nowhere'"):
        checkpoint.resolve("/nowhere")
