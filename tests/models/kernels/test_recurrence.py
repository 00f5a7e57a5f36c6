"""Layers of Mamba-2 between others: the kernels give what plain PyTorch gives, and are left aside where they do not."""

from itertools import accumulate

import pytest
import torch
from structlog.testing import capture_logs

from configs.errors import ModelError
from models.backends import engines, recurrence
from models.hybrid.attention import WholeCache
from models.kernels.recurrence import TritonRecurrences
from models.weights import checkpoint
from tests.consistency import relative_error, tokens_of
from tests.published_families import write

LENGTHS, ROWS = [70, 1, 20], [2, 0, 3]


@pytest.fixture(params=["float8", "nemotron_h", "nemotron_h_groups", "wide_epsilon"])
def model(request, tmp_path, device):
    """Of few heads, of biases, of a norm that is not the usual, and of coded matrices."""
    family = request.param if request.param.startswith("nemotron") else "nemotron_h"
    kind = "float8" if request.param == "float8" else None
    loaded = checkpoint.load(write(family, tmp_path), torch.float32, device, kind)
    if request.param == "wide_epsilon":
        for branch in loaded.branches:
            if isinstance(branch.mixer, recurrence.Mamba2Mixer):
                branch.mixer.norm.eps = 0.3
    return loaded


@torch.inference_mode()
def read(model):
    """Logits of two packs and a step of decoding, and the states after them."""
    device = model.lm_head.weight.device
    slots, cache, parts = model.empty_state(4), WholeCache(model.kv_shape, 4, device), []
    for seed, lengths in enumerate(([3, 5, 2], LENGTHS)):
        tokens, bounds = tokens_of(sum(lengths), seed).to(device), [0, *accumulate(lengths)]
        every = torch.arange(len(tokens), device=device)
        parts.append(model.prefill_(tokens, bounds, slots, ROWS, cache.of_pass(ROWS, lengths), every))
    parts.append(model.decode_(tokens_of(3, 9).to(device), slots, ROWS, cache.of_pass(ROWS, [1] * 3)))
    return torch.cat(parts), slots


def test_a_model_reads_the_same_with_kernels(model):
    expected, before = read(model)
    chosen = recurrence.choose(model, "triton")
    assert isinstance(model.recurrences, TritonRecurrences)
    assert chosen.name == "triton" and chosen.error < 1e-4
    logits, slots = read(model)
    assert relative_error(logits, expected) < 1e-3
    for name in before:
        assert relative_error(slots[name], before[name]) < 1e-4


class Broken(TritonRecurrences):
    """One token too few is kept."""

    def decode(self, rows, device):
        return super().decode([*rows[:-1], -1], device)


def test_kernels_that_differ_are_refused_by_name_and_left_aside_by_auto(tmp_path, device, monkeypatch):
    model = checkpoint.load(write("nemotron_h", tmp_path), torch.float32, device)
    broken = Broken(4, model.lm_head.weight.device)
    monkeypatch.setattr(recurrence, "ours", lambda model: broken)
    with pytest.raises(ModelError, match=r"model.kernels = 'triton': on this device .* differ from plain PyTorch by"):
        recurrence.choose(model, "triton")
    expected, _ = read(model)
    monkeypatch.setattr(recurrence, "is_on_cpu", lambda model: False)
    with capture_logs() as logged:
        assert recurrence.choose(model) == recurrence.PLAIN
    assert [entry["event"] for entry in logged] == ["kernels_unavailable"]
    # All chunks at once, as it suits a GPU.
    logits, _ = read(model)
    assert relative_error(logits, expected) < 1e-4


def test_widths_that_the_kernels_do_not_take_are_named(tmp_path, device):
    model = checkpoint.load(write("granite_h", tmp_path), torch.float32, device)
    with pytest.raises(ModelError, match="headdim = 24 is no power of two"):
        recurrence.choose(model, "triton")


def test_a_transformer_has_none(tmp_path, device):
    model = checkpoint.load(write("llama", tmp_path), torch.float32, device)
    assert recurrence.choose(model, "triton") == recurrence.PLAIN


def test_an_engine_says_what_runs_it(tmp_path, device):
    model = checkpoint.load(write("nemotron_h", tmp_path), torch.float32, device)
    engine = engines.around(model, {0}, 1, 64, kernels="triton", cache_bytes=1 << 22)
    assert engine.kernels.name == "triton" and engine.kernels.error < 1e-4
