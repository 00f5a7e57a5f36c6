"""Hybrids of attention and Mamba-2, Mamba-1, and a model that transformers runs, in the main job: a drain and a kill in
its middle lose nothing, and bill all."""

import time
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import psutil
import pytest

from jobs import exits
from models.weights.tokenizer import Tokenizer
from pipeline.reports.warehouse import Warehouse
from pipeline.storage import objects
from tests import adapted_models, published_families
from tests.chaos.fleet import ACTOR
from tests.chaos.job import assert_nothing_is_lost, undisturbed
from tests.chaos.test_faults import fleet, new_job, say, store
from tests.jobs.conftest import small_model
from tests.waiting import PATIENCE_SECONDS

__all__ = ["fleet", "new_job", "small_model", "store"]

NUM_LONG, LONG_CHARS, NUM_SHORT = 4, 40_000, 4


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """Long documents, each from another place, and short ones."""
    folder = tmp_path_factory.mktemp("library")
    texts = sorted(topics.values())
    for index in range(NUM_LONG):
        whole = "\n\n".join(texts[20 * index :] + texts[: 20 * index])
        (folder / f"long {index}.txt").write_text(whole[:LONG_CHARS], encoding="utf-8")
    for index, text in enumerate([text for text in texts if 500 < len(text) < 2500][:NUM_SHORT]):
        (folder / f"short {index}.txt").write_text(text, encoding="utf-8")
    return folder


def written(family: str, directory: Path, **changes: Any) -> str:
    """As transformers writes it, with the tokenizer that ships."""
    tokenizer = Tokenizer.shipped()
    ids = {"bos_token_id": tokenizer.begin_id, "pad_token_id": tokenizer.end_id, "eos_token_id": tokenizer.end_id}
    shape = {"vocab_size": 4096, "max_position_embeddings": 65_536} | ids | changes
    makes = published_families.made if family in published_families.FAMILIES else adapted_models.build
    makes(family, **shape).save_pretrained(directory)
    tokenizer.save(directory)
    return str(directory)


@pytest.mark.parametrize(
    ("family", "backend"),
    [
        ("granite_h", "native"),
        pytest.param("nemotron_h", "native", marks=pytest.mark.chaos),
        pytest.param("mamba", "native", marks=pytest.mark.chaos),
        pytest.param("lfm2", "transformers", marks=pytest.mark.chaos),
    ],
)
def test_a_drain_and_a_kill_lose_nothing(family, backend, new_job, fleet, tmp_path):
    model = written(family, tmp_path / "model")
    # Sampled, since the likeliest words of a random model are often the same whatever it has read.
    asked = "prompts=[{name: summary, instruction: Summarize., max_tokens: 24, temperature: 1.0}]"
    # Mamba-1 has no cache, and is so fast that it takes smaller steps to be caught at it.
    sized = ("engine.step_tokens=16",) if family == "mamba" else ("engine.step_tokens=64", "engine.kv_cache_gib=0.05")
    settings = (f"model.uri={model}", f"model.backend={backend}", asked, *sized)
    began = time.monotonic()
    with new_job(*settings) as job:
        assert job.finish() == exits.SUCCESS, job.told()
    expected = undisturbed(job, time.monotonic() - began)
    assert len(set(expected.texts.values())) > len(expected.texts) / 2

    with new_job(*settings) as job:
        began = time.monotonic()
        job.wait_for_tokens(round(0.25 * expected.tokens_total))
        known = job.readings()
        home = fleet.home(job.node_with_something_to_lose())
        actors = home.workers(ACTOR)
        home.drain(30)
        fleet.add()
        _, alive = psutil.wait_procs(actors, timeout=PATIENCE_SECONDS)
        assert not alive
        job.seconds_until_another_works(known, time.monotonic())
        job.wait_for_tokens(round(0.6 * expected.tokens_total))
        fleet.home(job.node_with_something_to_lose()).workers(ACTOR)[0].kill()
        assert job.finish() == exits.SUCCESS, job.told()
    toll = assert_nothing_is_lost(job, expected, fleet.logs())
    costs = Warehouse(job.output).rows("select * from costs where kind = 'document'")
    outcomes = Counter(row["outcome"] for row in costs)
    assert outcomes["stopped"] > 0 and outcomes["lost"] > 0
    # What the drained actor had read was not read again, but for what the kill then cost.
    assert sum(row["tokens_wasted"] for row in costs if row["outcome"] == "stopped") == 0
    assert not objects.list_files(f"{job.ledger.uri}/snapshots", ".safetensors")
    say(f"{family} ({backend}): a drain, then kill -9", time.monotonic() - began, toll)
