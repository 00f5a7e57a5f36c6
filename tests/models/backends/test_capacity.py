"""How many pages of keys and values a CPU gives a model."""

import os

import pytest
import torch

from configs.errors import ModelError
from models.backends import capacity
from models.backends.hybrid import pages_for
from models.hybrid.page_attention import ByRuns
from models.hybrid.paged_cache import PAGE_TOKENS
from tests.hybrid_model import build

MODEL = build("hybrid", torch.float32)
PAGE_BYTES = MODEL.kv_shape.nbytes_per_token * PAGE_TOKENS


def test_pages_are_an_actors_share_of_the_machine_or_of_its_container(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(capacity, "MEMORY_LIMIT", limit)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    processors = os.cpu_count() or 1
    for said, total in (("max\n", machine), (f"{2**28}\n", 2**28)):
        limit.write_text(said)
        share = total * torch.get_num_threads() // processors // capacity.CPU_SHARE
        assert capacity.pages_that_fit(MODEL, ByRuns, 16, 64) == (16, share // PAGE_BYTES)


def test_bytes_that_are_asked_for_are_what_pages_take():
    fit = capacity.pages_that_fit(MODEL, ByRuns, 16, 64, cache_bytes=50 * PAGE_BYTES + 1)
    assert fit == (16, 50)
    few = build("hybrid", torch.float32, max_context=1000)
    wanted = 2 * pages_for(1000) + pages_for(9)
    assert capacity.pages_that_fit(few, ByRuns, 2, 64, 9, cache_bytes=50 * PAGE_BYTES) == (2, wanted)


def test_a_model_without_attention_needs_no_pages():
    assert capacity.pages_that_fit(build("recurrent"), ByRuns, 16, 64) == (16, 0)


def test_where_no_document_fits_the_figures_are_told():
    with pytest.raises(ModelError, match=r"2 pages of 256 tokens, of 0\.\d+ MiB each, where the shortest .* take 5"):
        capacity.pages_that_fit(MODEL, ByRuns, 16, 64, cache_bytes=2 * PAGE_BYTES)
