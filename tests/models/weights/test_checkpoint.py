"""Checkpoints load strictly and safely, and say what is wrong with them."""

import json
import pickle
from hashlib import sha256

import pytest
import torch
from safetensors.torch import load_file, save_file

from configs.errors import ModelError
from models.mamba.architecture import read_config
from models.mamba.language_model import MambaLM
from models.weights import checkpoint
from tests import published_checkpoint
from tests.small_model import build

INDEX = "model.safetensors.index.json"


@pytest.fixture
def saved(tmp_path):
    checkpoint.save(build(torch.float32), tmp_path)
    return tmp_path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checkpoint, "REMEMBERED_BYTES", 0)
    return tmp_path / "cache/longhaul/fingerprints"


def logits(model) -> torch.Tensor:
    with torch.inference_mode():
        return model.prefill(torch.arange(30), [0, 30], model.empty_state(1))[0]


def edit(directory, change) -> None:
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")


def refusals(directory):
    """What both the check before a run and the load in an actor say."""
    for read in (checkpoint.check, checkpoint.load):
        with pytest.raises(ModelError) as refused:
            read(directory)
        yield str(refused.value)


@pytest.mark.parametrize("is_mimo", [False, True])
def test_a_saved_model_comes_back_as_it_was_in_bfloat16(tmp_path, is_mimo):
    expected = build(torch.float32, is_mimo=is_mimo)
    checkpoint.save(expected, tmp_path)
    for name, parameter in expected.named_parameters():
        if name.rpartition(".")[2] not in published_checkpoint.FP32:
            parameter.data = parameter.data.bfloat16().float()
    loaded = checkpoint.load(tmp_path)
    assert torch.equal(logits(loaded), logits(expected))
    assert loaded.lm_head.weight is loaded.backbone.embedding.weight


@pytest.mark.parametrize("name", published_checkpoint.SIZES)
def test_every_official_config_gives_the_official_shape(name, tmp_path):
    d_model, n_layer, _, d_mlp, num_parameters = published_checkpoint.SIZES[name]
    (tmp_path / "config.json").write_text(json.dumps(published_checkpoint.config(name)))
    config = read_config(tmp_path / "config.json")
    with torch.device("meta"):
        model = MambaLM(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters
    assert (config.d_mlp, config.num_heads, config.padded_vocab_size) == (d_mlp, d_model // 32, 128256)
    assert len(model.backbone.layers) == n_layer
    assert model.lm_head.weight is model.backbone.embedding.weight


@pytest.mark.parametrize("is_mimo", [False, True])
def test_a_checkpoint_as_published_gives_the_logits_of_the_model_that_it_came_from(tmp_path, is_mimo):
    model = build(torch.float32, is_mimo=is_mimo)
    assert model.config.d_mlp > model.config.d_intermediate
    published_checkpoint.write(model, tmp_path)
    assert checkpoint.check(tmp_path) == model.config
    loaded = checkpoint.load(tmp_path)
    assert torch.equal(logits(loaded), logits(model))
    assert loaded.lm_head.weight is loaded.backbone.embedding.weight


@pytest.mark.parametrize("is_mimo", [False, True])
def test_in_bfloat16_what_is_published_in_fp32_stays_so_and_so_does_the_state(tmp_path, is_mimo):
    published_checkpoint.write(build(torch.float32, is_mimo=is_mimo), tmp_path)
    model = checkpoint.load(tmp_path, torch.bfloat16)
    wide = {name.rpartition(".")[2] for name, weight in model.named_parameters() if weight.dtype == torch.float32}
    assert wide == {name for name in published_checkpoint.FP32 if is_mimo or not name.startswith("mimo")}
    with torch.inference_mode():
        result, state = model.prefill(torch.arange(30), [0, 30], model.empty_state(1))
    assert {tensor.dtype for tensor in state.tensors.values()} == {torch.float32}
    assert torch.isfinite(result.float()).all()


def test_a_config_that_says_softplus_is_heeded(saved):
    """For weights that were trained with it: one line in config.json."""
    config = json.loads((saved / "config.json").read_text())
    config["ssm_cfg"]["a_activation"] = "softplus"
    heavy_tail = logits(checkpoint.load(saved))
    (saved / "config.json").write_text(json.dumps(config))
    expected = build(torch.float32, a_activation="softplus")
    expected.load_state_dict(checkpoint.load(saved).state_dict())
    assert torch.equal(logits(checkpoint.load(saved)), logits(expected))
    assert not torch.allclose(logits(expected), heavy_tail)


def test_a_loaded_model_does_not_change_with_its_file(saved):
    for dtype in (torch.float32, torch.bfloat16):
        edit(saved, lambda tensors: None)
        model = checkpoint.load(saved, dtype)
        before = logits(model)
        size = (saved / "model.safetensors").stat().st_size
        with (saved / "model.safetensors").open("r+b") as file:
            file.write(bytes(size))
        assert torch.equal(logits(model), before)
        checkpoint.save(build(torch.float32), saved)


def split(directory) -> None:
    tensors = load_file(directory / "model.safetensors")
    names = sorted(tensors)
    places = {name: f"model-0000{1 + (2 * i >= len(names))}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in names if places[name] == file}, directory / file)
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (directory / "model.safetensors").unlink()


def test_weights_in_several_files_load_the_same(saved):
    whole = logits(checkpoint.load(saved))
    split(saved)
    assert torch.equal(logits(checkpoint.load(saved)), whole)
    before = checkpoint.fingerprint(saved)
    second = saved / "model-00002-of-00002.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(second).items()}, second)
    assert checkpoint.fingerprint(saved) != before


@pytest.mark.parametrize(
    ("weight_map", "says"),
    [
        ({"x": "gone.safetensors"}, "which is not beside it"),
        ({"x": "../config.json"}, "which is not beside it"),
        (7, "is no index of weights"),
    ],
)
def test_an_index_that_leads_nowhere_is_refused(saved, weight_map, says):
    split(saved)
    (saved / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert all(says in refusal for refusal in refusals(saved))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("backbone.layers.1.mixer.D"), "lack backbone.layers.1.mixer.D (and 0 more)"),
        (lambda t: t.update({"backbone.layers.0.mixer.A_log": torch.ones(2)}), "hold backbone.layers.0.mixer.A_log"),
        (lambda t: t.update({"backbone.norm_f.weight": torch.ones(5)}), "norm_f.weight has shape (5,), "),
        (lambda t: t.update({"backbone.norm_f.weight": torch.ones(5)}), "config.json asks for (24,)"),
        (lambda t: t.update({"backbone.norm_f.weight": torch.ones(24, dtype=torch.int8)}), "norm_f.weight is no"),
        (
            lambda t: t.update({"lm_head.weight": t["backbone.embedding.weight"] + 1}),
            "lm_head.weight differs from backbone.embedding.weight",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(saved, change, says):
    edit(saved, change)
    assert all(says in refusal for refusal in refusals(saved))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("ssm_cfg", {"layer": "Mamba4"}, "ssm_cfg"),
        ("ssm_cfg", {"headdim": 12}, "ssm_cfg.Mamba1.headdim"),
        ("ssm_cfg", {"layer": "Mamba3", "headdim": 12, "color": "red"}, "color"),
        ("d_model", "wide", "d_model"),
        ("color", "red", "color"),
        ("attn_layer_idx", [1], "attention layers"),
    ],
)
def test_a_config_that_does_not_fit_is_named(saved, field, value, says):
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {field: value}))
    assert all(says in refusal and "config.json" in refusal for refusal in refusals(saved))


def test_fields_that_choose_a_published_kernel_are_passed_over(saved):
    config = json.loads((saved / "config.json").read_text())
    config["ssm_cfg"] |= {"fuse_pregate_headwise_norm": False, "dropout": 0.1}
    before = logits(checkpoint.load(saved))
    (saved / "config.json").write_text(json.dumps(config))
    assert torch.equal(logits(checkpoint.load(saved)), before)


class Runs:
    """A pickle that would run code."""

    def __reduce__(self):
        return pytest.fail, ("code in a checkpoint was run",)


def as_pickle(path):
    path.write_bytes(pickle.dumps({"x": Runs()}, protocol=2))


def as_torch_saves(path):
    torch.save({"backbone.norm_f.weight": torch.ones(24), "x": Runs()}, path)


@pytest.mark.parametrize("write", [as_pickle, as_torch_saves])
def test_no_code_in_a_checkpoint_is_run(saved, write):
    (saved / "model.safetensors").unlink()
    write(saved / "pytorch_model.bin")
    for refusal in refusals(saved):
        assert "pytorch_model.bin is broken, or holds more than tensors" in refusal
        assert "weights_only" not in refusal


@pytest.mark.parametrize("content", [b"", b"no weights", pickle.dumps([1, 2], protocol=2)])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_that_are_none_are_named(saved, name, content):
    (saved / "model.safetensors").unlink()
    (saved / name).write_bytes(content)
    assert all(name in refusal for refusal in refusals(saved))


def test_a_bin_that_holds_other_things_than_tensors_is_refused(saved):
    (saved / "model.safetensors").unlink()
    torch.save([torch.ones(2)], saved / "pytorch_model.bin")
    assert all("holds no tensors by name" in refusal for refusal in refusals(saved))
    torch.save(dict.fromkeys(build().state_dict(), 3), saved / "pytorch_model.bin")
    assert all("is no tensor of floating-point numbers" in refusal for refusal in refusals(saved))


def test_the_fingerprint_is_that_of_the_bytes():
    """What a finished document is known by: another one would have it summarized again."""
    directory = checkpoint.DEFAULT
    content = (directory / "model.safetensors").read_bytes() + (directory / "config.json").read_bytes()
    assert checkpoint.fingerprint(directory) == sha256(content).hexdigest()


@pytest.mark.parametrize("remembered_bytes", [0, 1 << 30])
def test_the_fingerprint_changes_with_a_weight_and_with_the_config(saved, cache, monkeypatch, remembered_bytes):
    monkeypatch.setattr(checkpoint, "REMEMBERED_BYTES", remembered_bytes)
    seen = {checkpoint.fingerprint(saved)}
    edit(saved, lambda tensors: tensors["backbone.norm_f.weight"].add_(1))
    seen.add(checkpoint.fingerprint(saved))
    (saved / "config.json").write_text((saved / "config.json").read_text() + "\n")
    seen.add(checkpoint.fingerprint(saved))
    assert len(seen) == 3


def test_large_weights_are_hashed_once(saved, cache):
    first = checkpoint.fingerprint(saved)
    (remembered,) = cache.iterdir()
    assert remembered.read_text() == first
    remembered.write_text("from the cache")
    assert checkpoint.fingerprint(saved) == "from the cache"
    (saved / "model.safetensors").touch()
    assert checkpoint.fingerprint(saved) == first


def test_without_a_cache_the_fingerprint_is_the_same(saved, cache, monkeypatch):
    expected = checkpoint.fingerprint(saved)
    monkeypatch.setenv("XDG_CACHE_HOME", str(saved / "config.json"))
    assert checkpoint.fingerprint(saved) == expected


def test_a_missing_directory_is_refused():
    with pytest.raises(ModelError, match=r"model\.uri = '/nowhere'"):
        checkpoint.resolve("/nowhere")
