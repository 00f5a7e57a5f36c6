"""A quote says what a run will take; a second run keeps to it."""

import json
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from configs.hardware import gpu_named
from jobs import exits
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.reports.warehouse import Warehouse

TEXTS = [text for text in topics.values() if len(text) > 4000]


@pytest.fixture
def plan(warm):
    return lambda *arguments: warm("jobs.plan", ["configs/demo.yaml", *arguments])


@pytest.fixture
def library(tmp_path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for index, text in enumerate(TEXTS):
        (folder / f"{index}.txt").write_text(text)
    (folder / "page.html").write_text(f"<html><body><p>{TEXTS[0]}</p></body></html>")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    return folder


def test_a_quote_for_a_gpu_names_its_sources_and_the_transformer(library, small_model, tmp_path, plan):
    given = [f"input.sources=[{library}]", f"model.uri={small_model}", f"output.uri={tmp_path / 'out'}"]
    quoted = plan(*given, "--gpu", "H100", "--json")
    assert quoted.returncode == exits.SUCCESS, quoted.stderr
    quote = json.loads(quoted.stdout)
    tokenizer = Tokenizer.load(Path(small_model))
    counts = [len(tokenize.tokens([text], tokenizer)) for text in TEXTS]
    # The page is one more, its heading and paragraph marks aside; the broken one counts nothing.
    assert sum(counts) < quote["tokens"] <= sum(counts) + counts[0] + 10
    assert quote["longest_tokens"] == max(counts) and quote["tokens_are_counted"]
    assert (quote["device"], quote["documents"]) == ("H100", len(TEXTS) + 2)
    assert float(quote["cost_spot"]) < float(quote["cost_on_demand"])
    assert "not measured" in quote["speed_source"]
    assert not (tmp_path / "out").exists()

    text = plan(*given, "--gpu", "H100")
    for words in ("per million tokens", "on spot", "weights", "a transformer", "Llama-3.2-1B"):
        assert words in text.stdout
    unknown = plan(*given, "--gpu", "B9000")
    assert unknown.returncode == exits.REFUSED and "B9000" in unknown.stderr and "Traceback" not in unknown.stderr


def test_a_second_runs_quote_is_within_a_tenth_of_what_it_takes(summarize, library, tmp_path):
    """Of tokens; and of device-seconds it says what the first run's speed gives."""
    first = summarize([str(library)], "price.cpu_hour=3.6")
    assert first.returncode == exits.PARTIAL, first.stderr
    more = tmp_path / "more"
    more.mkdir()
    for index, text in enumerate(TEXTS):
        (more / f"more {index}.txt").write_text(text + "\n" + TEXTS[index - 1])
    second = summarize([str(more)], "price.cpu_hour=3.6")
    assert second.returncode == exits.SUCCESS, second.stderr
    assert "quoted" in second.stderr
    runs = Warehouse(summarize.output).rows("select * from jobs order by started_at")
    assert runs[0]["quote"] is None
    quote = json.loads(runs[1]["quote"])
    assert quote["tokens"] == pytest.approx(runs[1]["tokens_read"], rel=0.1)
    assert "measured in 1 run" in quote["speed_source"]
    # What the second run really took depends on who else works on this machine meanwhile.
    (spent,) = Warehouse(summarize.output).rows(
        """
        select sum(device_seconds - coalesce(decode_seconds, 0)) filter (kind in ('document', 'snapshot')) as reading,
               sum(decode_seconds) filter (kind = 'document') as answering,
               sum(device_seconds) filter (kind in ('startup', 'load', 'idle')) as starting,
               count(*) filter (kind = 'document' and outcome = 'finished') as documents, sum(tokens_read) as tokens
        from costs where run_id = $run and coalesce(outcome, '') <> 'failed'
        """,
        run=runs[0]["run_id"],
    )
    assert 1 / quote["tokens_per_second"] == pytest.approx(float(spent["reading"]) / int(spent["tokens"]))
    assert spent["answering"] > 0
    answers = float(spent["answering"]) / spent["documents"] * quote["documents"]
    reading = quote["tokens"] / quote["tokens_per_second"]
    assert quote["device_seconds"] == pytest.approx(reading + answers + float(spent["starting"]), rel=0.01)


@pytest.mark.parametrize(
    ("name", "known"), [("NVIDIA H100 80GB HBM3", "H100"), ("A100-80G", "A100"), ("l40s", "L40S"), ("H200", "H200")]
)
def test_gpus_have_many_names(name, known):
    assert gpu_named(name).name == known
