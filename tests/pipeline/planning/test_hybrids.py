"""What is planned of models with attention is what they take: parameters, states, and what grows with each token."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.hardware import RESERVE_BYTES
from configs.settings import EngineSettings, InputSettings, ModelSettings, PromptSettings, SummarizeConfig
from models.backends import engines, loading
from models.backends.hybrid import HybridBackend
from models.engine.backend import Work
from models.hybrid.paged_cache import PAGE_TOKENS
from models.weights import checkpoint
from pipeline.billing.rates import Rates
from pipeline.planning import quote
from pipeline.planning.fit import fit
from pipeline.planning.longest import Longest
from pipeline.planning.model import Model, footprint
from pipeline.planning.planned import of_checkpoint
from pipeline.prompts.bound import BoundPrompts
from pipeline.schemas.document import Document
from tests import published_families
from tests.one_actor import tokenizer
from tests.small_model import build

FAMILIES = sorted(published_families.FAMILIES)
GRANITE_350M: dict[str, Any] = {
    **{"model_type": "granitemoehybrid", "hidden_size": 768, "num_hidden_layers": 32, "vocab_size": 100352},
    **{"num_attention_heads": 12, "num_key_value_heads": 4, "shared_intermediate_size": 2048},
    **{"intermediate_size": 2048, "num_local_experts": 0, "num_experts_per_tok": 0, "tie_word_embeddings": True},
    **{"mamba_n_heads": 48, "mamba_d_head": 32, "mamba_d_state": 128, "mamba_n_groups": 1, "mamba_d_conv": 4},
    **{"mamba_expand": 2, "mamba_chunk_size": 256, "position_embedding_type": "nope", "rms_norm_eps": 1e-5},
    **{"layer_types": ["attention" if index in (10, 13, 17, 27) else "mamba" for index in range(32)]},
    **{"attention_multiplier": 0.015625, "embedding_multiplier": 12, "logits_scaling": 3, "residual_multiplier": 0.246},
    **{"max_position_embeddings": 32768},
}


@pytest.mark.parametrize("dtype", ["bfloat16", "float8", "int8"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_sizing_promises_is_what_is_used(tmp_path, family, dtype):
    """Weights, states and pages, by counting bytes; as on a GPU."""
    directory = published_families.write(family, tmp_path)
    planned = of_checkpoint(family, checkpoint.architecture(directory))
    computed, kind = loading.precision(dtype)
    model = loading.loaded(directory, computed, "cpu", kind=kind)
    weights = {id(each): each.nbytes for each in model.parameters()}
    assert sum(weights.values()) == pytest.approx(planned.width(dtype) * planned.parameters)
    assert planned.state_bytes == model.empty_state(1).nbytes

    backend, tokens = HybridBackend(model, 2, 64), 5 * PAGE_TOKENS
    free = backend.num_free_pages
    handle = backend.open(tokens)
    for _ in range(5):
        backend.run([Work(handle, np.ones(PAGE_TOKENS, np.int64))])
    held = backend.export(handle)
    cache = sum(held[name].nbytes for name in ("keys", "values") if name in held)
    assert cache == planned.cache_bytes(tokens)
    if cache:
        assert (free - backend.num_free_pages) * PAGE_TOKENS * planned.cache_bytes(1) == pytest.approx(cache, rel=0.05)


def granite() -> Any:
    from models.hybrid.families import published

    return published.read(GRANITE_350M)


def test_a_published_size_is_that_of_the_literature():
    """Granite 4.0-H 350M: a state of 21.4 MiB with the convolution in bf16, ours is fp32; 4 KiB of cache a token."""
    found = footprint(granite())
    assert found.parameters == pytest.approx(340e6, rel=0.05)
    assert found.state_bytes / 2**20 == pytest.approx(21.4, rel=0.05)
    assert found.cache_bytes(1) == 4096 and found.max_context == 32768
    # A thousand tokens more before it: four layers of 12 heads of 64, a product with a key and one with a value.
    assert found.reading_flops(1000) - found.reading_flops(0) == 1000 * 4 * 12 * 64 * 4


def test_only_the_experts_that_a_token_sees_take_arithmetic():
    family = next(name for name in FAMILIES if "moe" in name or "expert" in name)
    config = published_families_config(family)
    found = footprint(config)
    assert 0 < found.flops_per_token < 2 * found.parameters


def published_families_config(family: str) -> Any:
    from models.hybrid.families import published

    return published.read(published_families.their_model(family).config.to_dict())


def test_documents_fit_by_their_own_length_and_never_beyond_the_context():
    from configs.hardware import GPUS
    from configs.prices import Catalog

    planned, gpu = of_checkpoint("granite", granite()), GPUS["L40S"]
    short, long = (planned.documents_that_fit(gpu.memory_bytes, 2, tokens) for tokens in (1000, 32768))
    assert short and long and short > 2 * long
    room = gpu.memory_bytes - RESERVE_BYTES - planned.vram_bytes(2)
    assert long == int(room // (planned.document_bytes(0) + 32768 * 4096))
    assert planned.documents_that_fit(gpu.memory_bytes, 2, 32769) == 0
    assert fit(planned, 2, gpu, 40_000, Catalog.load(None)).tokens_per_second is None


def config(directory: Path, **engine: Any) -> SummarizeConfig:
    return SummarizeConfig(
        input=InputSettings(sources=("x",)),
        model=ModelSettings(uri=str(directory)),
        prompts=(PromptSettings(max_tokens=7),),
        engine=EngineSettings(slots=3, step_tokens=64, **engine),
    )


@pytest.mark.parametrize("gib", [None, 2 * 10**-3])
def test_the_longest_document_is_what_the_engine_takes(tmp_path, gib):
    directory = published_families.write("llama", tmp_path)
    settings = config(directory, kv_cache_gib=gib)
    found = footprint(checkpoint.architecture(directory))
    if gib is not None:
        found = replace(found, max_context=10**6)
    longest = Longest.of(found, settings, tokenizer(), "cpu")
    assert longest is not None
    model = loading.loaded(directory, torch.float32, "cpu")
    if gib is not None:
        model.config = model.config.model_copy(update={"max_context": 10**6})
    engine = engines.around(model, (), 3, 64, cache_bytes=settings.engine.kv_cache_bytes)
    limit = engine._backend.limits.max_context
    (prompt,), _ = BoundPrompts(settings.prompts, None, tokenizer()).of("")
    assert limit is not None
    assert longest.num_tokens + len(prompt.tokens) + 7 == limit
    assert ("context of 512" in longest.why) is (gib is None)


def test_a_model_without_attention_has_no_longest_document():
    assert Longest.of(footprint(build(torch.float32).config), config(Path("m")), tokenizer(), "H100") is None


def test_a_gpu_is_shared_as_the_engine_shares_it():
    """80 GB, less weights and the states of 128 slots, which take at most half of the rest."""
    settings = SummarizeConfig(input=InputSettings(sources=("x",)), model=ModelSettings(device="cuda"))
    found = replace(footprint(granite()), max_context=None)
    longest = Longest.of(found, settings, tokenizer(), "H100")
    assert longest is not None
    states = 128 * 2 * (found.state_bytes + 100352 * 10)
    left = 80 * 10**9 - 2**30 - 1.07 * 2 * found.parameters - states
    assert longest.num_tokens == pytest.approx(left / 4096, rel=0.01)
    halved = Longest.of(replace(found, passes_share=0.5), settings, tokenizer(), "H100")
    assert halved is not None and halved.num_tokens == pytest.approx((left - states) / 2 / 4096, rel=0.01)
    assert "for passes" in halved.why
    assert all(words in longest.why for words in ("for 128 slots", "of keys and values for a token", "for libraries"))


def test_documents_that_cannot_fit_are_known_before_the_run(tmp_path):
    directory = published_families.write("llama", tmp_path / "model")
    settings = config(directory)
    reads = Model("m", tokenizer(), footprint(checkpoint.architecture(directory)))
    for name, length in (("short", 100), ("long", 2000), ("longer", 3000)):
        (tmp_path / f"{name}.txt").write_text("a" * length)
    documents = [
        Document(name, str(tmp_path / f"{name}.txt"), "e", (tmp_path / f"{name}.txt").stat().st_size)
        for name in ("short", "long", "longer")
    ]
    found = quote.for_run(documents, settings, reads, Rates(), "cpu", read_before={})
    assert found is not None and found.longest_possible_tokens is not None
    assert found.num_too_long == 2 and found.too_long == (("longer", 3001), ("long", 2001))
    assert "context of 512" in str(found.longest_possible_why)
    assert found.memory is not None and found.memory.cache_bytes == reads.footprint.cache_bytes(3001, 4)
    assert "timed" in found.speed_source
