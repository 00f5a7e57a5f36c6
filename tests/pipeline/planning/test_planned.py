"""What planning says of models that need not exist is what the literature says, and of those that do what they are."""

from dataclasses import replace

import pytest

from configs.errors import ConfigError
from configs.hardware import GPUS, RESERVE_BYTES
from models.backends.capacity import LOGITS_BYTES_PER_PLACE
from models.mamba.architecture import MambaConfig
from pipeline.planning.model import footprint
from pipeline.planning.planned import BYTES_PER_PARAMETER, GB, SIZES, of_checkpoint, of_size
from tests import published_checkpoint

SISO_1_5B = MambaConfig.model_validate(published_checkpoint.config("mamba3-siso-1.5b"))


@pytest.mark.parametrize(
    ("name", "dtype", "published_gb", "published_gpu"),
    [
        ("mamba3-7b", "bfloat16", 19, "L40S"),
        ("mamba3-7b", "float8", 11, "L40S"),
        ("mamba3-34b", "bfloat16", 76, "A100"),
        ("mamba3-34b", "float8", 39, "A100"),
        ("mamba3-70b", "float8", 78, "H100"),
        ("transformer-7b", "bfloat16", 16, "L40S"),
        ("transformer-34b", "bfloat16", 78, "H100"),
    ],
)
def test_memory_is_that_of_the_published_planning_table(name, dtype, published_gb, published_gpu):
    size = SIZES[name]
    vram = size.model.vram_bytes(BYTES_PER_PARAMETER[dtype], size.states_bytes)
    assert round(vram / GB) == published_gb
    assert vram + RESERVE_BYTES <= GPUS[published_gpu].memory_bytes


@pytest.mark.parametrize("name", ["mamba3-7b", "mamba3-34b", "mamba3-70b"])
def test_what_the_table_leaves_for_states_is_what_is_usual(name):
    assert 2 <= SIZES[name].states_bytes / GB <= 4


def test_a_transformer_is_pressed_where_the_table_says_so():
    """From 32K for 7B on an L40S, where eight documents no longer fit; from 16K for 34B on an H100, where none does."""
    seven, thirty_four = SIZES["transformer-7b"].model, SIZES["transformer-34b"].model
    l40s, h100 = GPUS["L40S"].memory_bytes, GPUS["H100"].memory_bytes
    assert [seven.documents_that_fit(l40s, 2, length) for length in (16_000, 32_000, 128_000, 1_000_000)] == [
        14, 7, 1, 0,
    ]  # fmt: skip
    assert [thirty_four.documents_that_fit(h100, 2, length) for length in (1000, 16_000)] == [2, 0]
    # A cache of 17 GB for 4 documents of 32,768 tokens, beside weights of 16.
    assert 4 * seven.cache_bytes(32_768) / GB == pytest.approx(17, abs=0.3)


def test_a_state_space_model_holds_as_many_long_documents_as_short_ones():
    model = SIZES["mamba3-7b"].model
    assert len({model.documents_that_fit(48 * GB, 2, length) for length in (1, 16_000, 10**9)}) == 1
    assert len({model.reading_flops(length) for length in (1, 16_000, 10**9)}) == 1


def test_a_checkpoint_is_planned_as_it_is():
    model, exact = of_checkpoint("mine", SISO_1_5B), footprint(SISO_1_5B)
    assert (model.parameters, model.state_bytes) == (exact.parameters, exact.state_bytes)
    assert model.reading_flops(10**6) == exact.flops_per_token
    document = 2 * (exact.state_bytes + SISO_1_5B.padded_vocab_size * LOGITS_BYTES_PER_PLACE)
    assert model.document_bytes(10**6) == document
    # As models.backends.capacity does it: weights and workspace, the reserve, and as many documents as the rest holds.
    room = 80 * GB - 1.07 * 2 * exact.parameters - RESERVE_BYTES
    assert model.documents_that_fit(80 * GB, 2, 10**6) == room // document


def test_a_projection_is_near_the_checkpoint_of_that_size():
    real = of_checkpoint("mine", SISO_1_5B)
    projected = of_size(real.parameters, state_bytes=real.state_bytes)
    # All of its weights, where the checkpoint's count leaves out the embedding.
    assert projected.reading_flops(1) == pytest.approx(real.reading_flops(1), rel=0.25)
    # A state of the same width and of the layers of Llama-3.2-1B, which are 16 of 24.
    assert of_size(real.parameters).state_bytes == pytest.approx(real.state_bytes * 16 / 24, rel=0.05)


@pytest.mark.parametrize("share", [1 / 8, 1 / 10])
def test_a_hybrid_has_its_share_of_a_transformers_cache_and_attention(share):
    hybrid, pure, transformer = of_size(7 * GB, attention_share=share), of_size(7 * GB), of_size(7 * GB, None, 1.0)
    assert hybrid.cache_bytes(10**6) == pytest.approx(share * transformer.cache_bytes(10**6))
    assert hybrid.state_bytes == pytest.approx((1 - share) * pure.state_bytes)
    assert pure.overhead == 1.07 < hybrid.overhead < transformer.overhead == pytest.approx(1.15)
    grown = [each.reading_flops(10**6) - each.reading_flops(10**5) for each in (hybrid, transformer)]
    assert grown[0] == pytest.approx(share * grown[1])


def test_a_transformer_reads_at_what_its_shape_takes():
    model = of_size(8_030_000_000, attention_share=1.0)
    assert model.attention is not None and model.state_bytes == 0
    assert model.reading_flops(50_000) * 50_000 == pytest.approx(model.attention.flops(50_000))
    assert replace(model, name="transformer of that size") == of_size(8_030_000_000).as_transformer()


def test_what_is_far_from_every_published_transformer_is_not_compared_with_one():
    small = of_size(100_000_000, state_bytes=5_000_000)
    assert small.as_transformer() is None and small.cache_bytes(10**6) == 0
    for state_bytes, share in ((None, 0.0), (5_000_000, 0.1)):
        with pytest.raises(ConfigError, match=r"0\.1B parameters"):
            of_size(100_000_000, state_bytes, share)


def test_weights_that_do_not_fit_are_told_from_documents_that_do_not():
    model = SIZES["transformer-34b"].model
    assert model.documents_that_fit(48 * GB, 2, 16_000) is None
    assert model.documents_that_fit(80 * GB, 2, 16_000) == 0
