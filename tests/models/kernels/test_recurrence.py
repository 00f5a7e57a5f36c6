"""Layers of Mamba-2 between others: the kernels give what plain PyTorch gives, and are left aside where they do not."""

from itertools import accumulate
from math import inf

import pytest
import torch
from structlog.testing import capture_logs

from configs.errors import ModelError
from models.backends import engines, recurrence
from models.hybrid.architecture import AttentionShape, HybridConfig, MambaShape, MLPShape
from models.hybrid.attention import WholeCache
from models.hybrid.language_model import HybridLM
from models.kernels.recurrence import TritonRecurrences
from tests.consistency import relative_error, tokens_of
from tests.small_model import VOCAB_SIZE

LENGTHS, ROWS = [70, 1, 20], [2, 0, 3]


ATTENTION = AttentionShape(num_heads=4, num_kv_heads=2, head_dim=6, scale=6**-0.5, is_rotary=False)
MAMBA = MambaShape(num_heads=4, headdim=32, d_state=16, ngroups=2, chunk_size=16, eps=1e-5)
FORMS = {
    "as_published": MAMBA,
    "biases": MAMBA.model_copy(update={"bias": True, "conv_bias": False, "ngroups": 1}),
    "held_step_sizes_wide_epsilon": MAMBA.model_copy(update={"dt_limit": (0.1, inf), "eps": 0.3}),
    "other_widths": MAMBA.model_copy(update={"headdim": 24}),
}


def build(form: str, device: str) -> HybridLM:
    layers = (ATTENTION,) if form == "transformer" else (FORMS[form], MLPShape(d_hidden=24), ATTENTION, FORMS[form])
    config = HybridConfig(
        d_model=32, vocab_size=VOCAB_SIZE, tie_embeddings=True, eps=1e-5, layers=layers, max_context=None
    )
    torch.manual_seed(7)
    model = HybridLM(config)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5 if "embedding" in name else 0.25)
        else:
            torch.nn.init.normal_(parameter, mean=0.5, std=0.3)
    return model.to(device).eval().requires_grad_(False)


@pytest.fixture(params=["as_published", "biases", "held_step_sizes_wide_epsilon"])
def model(request, device):
    return build(request.param, device)


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


def test_kernels_that_differ_are_refused_by_name_and_left_aside_by_auto(device, monkeypatch):
    model = build("as_published", device)
    broken = Broken(4, model.lm_head.weight.device)
    monkeypatch.setattr(recurrence, "ours", lambda model: broken)
    with pytest.raises(ModelError, match=r"model.kernels = 'triton': on this device .* differ from plain PyTorch by"):
        recurrence.choose(model, "triton")
    expected, _ = read(model)
    monkeypatch.setattr(recurrence, "is_on_gpu", lambda model: True)
    with capture_logs() as logged:
        assert recurrence.choose(model) == recurrence.PLAIN
    assert [entry["event"] for entry in logged] == ["kernels_unavailable"]
    # All chunks at once, as it suits a GPU.
    logits, _ = read(model)
    assert relative_error(logits, expected) < 1e-4


def test_widths_that_the_kernels_do_not_take_are_named(device):
    model = build("other_widths", device)
    with pytest.raises(ModelError, match="headdim = 24 is no power of two"):
        recurrence.choose(model, "triton")


def test_a_transformer_has_none(device):
    model = build("transformer", device)
    assert recurrence.choose(model, "triton") == recurrence.PLAIN


def test_an_engine_says_what_runs_it(device):
    model = build("as_published", device)
    engine = engines.around(model, {0}, 1, 64, kernels="triton", cache_bytes=1 << 22)
    assert engine.kernels.name == "triton" and engine.kernels.error < 1e-4
