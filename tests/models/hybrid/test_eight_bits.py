"""Matrices of 8 bits: what they compute, how far that is from fp32, and what they take in memory."""

import pytest
import torch
from torch import nn

from configs.errors import ModelError
from models.backends import loading
from models.hybrid import eight_bits
from models.hybrid.attention import WholeCache
from models.weights import checkpoint, hybrid
from tests.consistency import relative_error, tokens_of
from tests.published_families import write
from tests.small_model import build

KINDS = pytest.mark.parametrize("kind", ["float8", "int8"])
FAMILIES = pytest.mark.parametrize("family", ["granite_h", "granite_h_experts", "llama", "nemotron_h_groups", "qwen2"])
LIMITS = {"int8": 0.04, "float8": 0.15}
"""Of the norm of the difference of logits over theirs; measured:
int8 0.001 to 0.021, float8 0.004 to 0.123, and bf16 alone 0.003 to 0.013."""


@torch.inference_mode()
def logits_of(model, tokens):
    length = len(tokens)
    cache = WholeCache(model.kv_shape, 1).of_pass([0], [length])
    return model.prefill_(tokens, [0, length], model.empty_state(1), [0], cache, torch.arange(length)).double()


@KINDS
@pytest.mark.parametrize("shape", [(7, 30), (3, 5, 12)])
def test_codes_times_scales_are_the_weights(kind, shape):
    torch.manual_seed(0)
    weight = torch.randn(shape) * torch.logspace(-6, 3, shape[-2]).unsqueeze(-1)
    codes, scales = eight_bits.codes_of(weight, kind)
    assert codes.dtype == eight_bits.STORED[kind] and scales.shape == shape[:-1]
    error = (codes.float() * scales.unsqueeze(-1) - weight).abs()
    of_row = weight.abs().amax(-1, keepdim=True)
    assert (error / of_row).max() < (0.5 / 127 if kind == "int8" else 0.5 * 2**-3) * 1.001


@KINDS
def test_rows_of_zeros_stay_zero(kind):
    codes, scales = eight_bits.codes_of(torch.zeros(2, 3), kind)
    assert not codes.float().any() and scales.isfinite().all()


@KINDS
@FAMILIES
def test_the_model_is_that_of_the_decoded_weights(family, kind, tmp_path):
    """In fp32, where only the order of sums differs."""
    directory, tokens = write(family, tmp_path), tokens_of(60)
    coded, plain = checkpoint.load(directory, torch.float32, kind=kind), checkpoint.load(directory, torch.float32)
    decoded = {}
    for name, tensor in coded.state_dict().items():
        if (scales := coded.state_dict().get(name.removesuffix("weight") + "scales")) is not None:
            decoded[name] = tensor.float() * scales.unsqueeze(-1)
    assert len(decoded) >= 6
    plain.load_state_dict(plain.state_dict() | decoded)
    assert relative_error(logits_of(coded, tokens), logits_of(plain, tokens)) < 1e-4


@KINDS
@FAMILIES
def test_the_error_is_small(family, kind, tmp_path):
    directory, tokens = write(family, tmp_path), tokens_of(60)
    exact = logits_of(checkpoint.load(directory), tokens)
    error = (logits_of(checkpoint.load(directory, torch.float32, kind=kind), tokens) - exact).norm() / exact.norm()
    assert 1e-4 < error < LIMITS[kind]


@KINDS
def test_it_computes_in_bf16(kind, tmp_path):
    model = loading.loaded(write("nemotron_h", tmp_path), torch.bfloat16, "cpu", kind=kind)
    assert model.lm_head.weight.dtype == model.kv_shape.dtype == torch.bfloat16
    assert logits_of(model, tokens_of(20)).isfinite().all()
    stored = {parameter.dtype for name, parameter in model.named_parameters() if name.endswith("in_proj.weight")}
    assert stored == {eight_bits.STORED[kind]}


@FAMILIES
@pytest.mark.parametrize("name", ["bfloat16", "float32", "float8", "int8"])
def test_it_takes_the_bytes_that_are_promised(family, name, tmp_path):
    directory = write(family, tmp_path)
    dtype, kind = loading.precision(name)
    model = loading.loaded(directory, dtype, "cpu", kind=kind)
    assert hybrid.nbytes(checkpoint.check(directory), dtype, kind) == sum(each.nbytes for each in model.parameters())


@KINDS
def test_matrices_take_half_of_bf16(kind, tmp_path):
    config = checkpoint.check(write("nemotron_h", tmp_path))
    models = hybrid.empty(config, torch.bfloat16), hybrid.empty(config, torch.bfloat16, kind)
    matrices = [sum(each.weight.nbytes for each in model.layers.modules() if is_matrix(each)) for model in models]
    assert matrices[0] == 2 * matrices[1] > 0


def is_matrix(module):
    from models.hybrid.experts import Matrices

    return isinstance(module, (nn.Linear, Matrices, eight_bits.Linear8, eight_bits.Matrices8))


@KINDS
def test_a_mamba_is_refused(kind, tmp_path):
    checkpoint.save(build(torch.float32), tmp_path)
    with pytest.raises(ModelError, match=f"model.dtype = '{kind}': weights of 8 bits are for models with attention"):
        loading.loaded(tmp_path, torch.bfloat16, "cpu", kind=kind)
