"""`jobs.sizing` says which GPUs hold a model and where a token is cheapest, and refuses what makes no sense."""

import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from configs.errors import ConfigError, LonghaulError, ModelError
from jobs.sizing import sizing
from models.backends import adapted
from models.mamba.architecture import MambaConfig
from pipeline.planning.model import footprint
from pipeline.telemetry import logs
from tests import adapted_models, published_checkpoint
from tests.pipeline.planning.test_hybrids import GRANITE_350M


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Shipped prices grow old, which is told once in a process; and this one's logging is the other tests' too."""
    monkeypatch.setattr(logs, "configure", lambda: None)
    with capture_logs():
        yield


@pytest.fixture
def told(capsys):
    """What the command prints, as JSON."""

    def tell(*arguments, **options) -> dict:
        sizing(*arguments, as_json=True, **options)
        return json.loads(capsys.readouterr().out)

    return tell


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """As published, without its weights."""
    (tmp_path / "config.json").write_text(json.dumps(published_checkpoint.config("mamba3-siso-1.5b")))
    return tmp_path


def test_without_a_model_it_is_the_planning_table(told):
    sizes = {(row["model"], row["dtype"]): row for row in told()["sizes"]}
    published = {
        ("mamba3-7b", "bfloat16"): 19,
        ("mamba3-7b", "float8"): 11,
        ("mamba3-34b", "bfloat16"): 76,
        ("mamba3-34b", "float8"): 39,
        ("mamba3-70b", "float8"): 78,
        ("transformer-7b", "bfloat16"): 16,
        ("transformer-34b", "bfloat16"): 78,
    }
    assert {key: round(sizes[key]["vram_bytes"] / 1e9) for key in published} == published
    assert sizes["transformer-7b", "bfloat16"]["documents"] == {"16000": 14, "32000": 7, "128000": 1, "1000000": 0}


def test_of_a_checkpoint_the_config_is_enough(told, checkpoint):
    found = told(str(checkpoint), lengths="16K,1M")
    exact = footprint(MambaConfig.model_validate(published_checkpoint.config("mamba3-siso-1.5b")))
    model, transformer = found["model"], found["transformer"]
    assert (model["parameters"], model["state_bytes"]) == (exact.parameters, exact.state_bytes)
    assert model["weights_bytes"] == 2 * exact.parameters
    assert transformer["attention_of"] == "Llama-3.2-1B"
    assert transformer["cache_bytes"]["1000000"] / 2**30 == pytest.approx(30.5, abs=0.1)
    assert [(each["gpu"], each["num_tokens"]) for each in model["fits"]] == [
        (gpu, length) for length in (16_000, 1_000_000) for gpu in ("L40S", "A100", "H100", "H200")
    ]
    assert model["cheapest"] == {"16000": "H100", "1000000": "H100"}
    assert "nothing of it measured" in found["basis"]


def test_a_hybrid_is_sized_with_its_own_attention_and_never_beyond_its_context(told, tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps(GRANITE_350M))
    model = told(str(tmp_path), lengths="1K,32000,100K", gpu=["L40S"])["model"]
    assert (model["max_context"], model["attention_of"]) == (32768, "its own")
    assert model["cache_bytes"] == {"1000": 4096 * 1000, "32000": 4096 * 32_000, "100000": 4096 * 100_000}
    assert [each["documents"] > 0 for each in model["fits"]] == [True, True, False]
    sizing(str(tmp_path), lengths="1K,32000")
    text = " ".join(capsys.readouterr().out.split())
    assert "4.1 KB of keys and values for each token, a context of 32.8K tokens" in text


def test_of_a_model_that_transformers_runs_memory_is_known_and_speed_is_not(told, tmp_path, capsys):
    adapted_models.config("qwen3_next").save_pretrained(tmp_path)
    sizes = adapted.sizes(tmp_path)
    model = told(str(tmp_path), lengths="1K,32000", gpu=["L40S"])["model"]
    assert model["parameters"] == sizes.parameters == adapted_models.build("qwen3_next").num_parameters()
    assert model["weights_bytes"] == 2 * sizes.parameters and model["state_bytes"] == sizes.state_bytes > 0
    # For the document, and for the copy that answers.
    assert model["cache_bytes"] == {"1000": 2 * 1000 * sizes.token_bytes, "32000": 2 * 32_000 * sizes.token_bytes}
    assert [each["documents"] > 0 for each in model["fits"]] == [True, True]
    assert [each["tokens_per_second"] for each in model["fits"]] == [None, None]
    assert model["attention_share"] is None and "Not known before a run" in model["note"]
    sizing(str(tmp_path), lengths="1K")
    assert "Run by transformers (model.backend)" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--dtype int8: is of models that run natively"):
        sizing(str(tmp_path), dtype="int8")


def test_a_model_that_transformers_cannot_carry_is_refused(tmp_path):
    adapted_models.config("jamba").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="forgets what it read between two pieces"):
        sizing(str(tmp_path))


def test_a_size_that_nobody_has_made_is_planned(told):
    options = {"parameters": "7B", "state": "100MiB", "hybrid": 0.1, "dtype": "float8", "lengths": "1M"}
    found = told(gpu=["NVIDIA H100 80GB HBM3"], **options)
    model = found["model"]
    assert (model["parameters"], model["state_bytes"], model["weights_bytes"]) == (7e9, 100 * 2**20, 7e9)
    assert model["cache_bytes"]["1000000"] == found["transformer"]["cache_bytes"]["1000000"] / 10
    assert [each["gpu"] for each in model["fits"]] == ["H100"]
    assert "transformer" not in told(parameters="7B", hybrid=1.0)


def test_tables_name_the_cheapest_and_say_what_they_are(checkpoint, capsys):
    sizing(str(checkpoint), lengths="16K,1M")
    text = capsys.readouterr().out
    for words in ("1.5B parameters", "any length", "cheapest", "Llama-3.2-1B", "32.8 GB", "nothing of it measured"):
        assert words in text
    sizing("default", gpu=["L40S"])
    assert "No published transformer is near that size" in capsys.readouterr().out
    sizing()
    assert "16 GB + cache" in capsys.readouterr().out


def test_ones_own_prices_go_first(told, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text("prices: [{gpu: H200, on_demand_gpu_hour: 0.01, date: 2100-01-01, source: a friend}]")
    assert told("mamba3-7b", lengths="1M", catalog=str(prices))["model"]["cheapest"] == {"1000000": "H200"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"gpu": ["B9000"]}, "'B9000'"),
        ({"lengths": "16K,banana"}, "--lengths 'banana'"),
        ({"lengths": "0"}, "--lengths '0'"),
        ({"lengths": "-5"}, "--lengths '-5'"),
        ({"lengths": "1.5"}, "--lengths '1.5'"),
        ({"lengths": ""}, "--lengths ''"),
        ({"lengths": "9" * 400}, "--lengths '999"),
        ({"state": "50MiB"}, "--state 50MiB"),
        ({"hybrid": 0.1}, "--hybrid 0.1"),
        ({"model": "default", "parameters": "1B"}, "give one of them"),
        ({"parameters": "many"}, "--parameters 'many'"),
        ({"parameters": "1B", "state": "50 foo"}, "--state '50 foo'"),
        ({"parameters": "1B", "state": "9" * 400 + "MiB"}, "--state '999"),
        ({"parameters": "5M"}, "0.005B parameters"),
    ],
)
def test_nonsense_is_refused_by_name_and_value(options, says):
    with pytest.raises(ConfigError) as refused:
        sizing(**options)
    assert says in str(refused.value)


def test_a_model_that_is_not_there_is_refused_with_what_there_is(tmp_path):
    with pytest.raises(ModelError, match=r"MODEL = 'mamba3-8b'.*mamba3-7b"):
        sizing("mamba3-8b")
    with pytest.raises(LonghaulError, match=r"there is no config\.json"):
        sizing(str(tmp_path))


def test_the_command_runs_and_refuses(warm):
    fine = warm("jobs.sizing", ["mamba3-7b", "--lengths", "32K,1M", "--gpu", "L40S"])
    assert fine.returncode == 0 and "on L40S" in fine.stdout
    refused = warm("jobs.sizing", ["--gpu", "B9000"])
    assert (refused.returncode, refused.stdout) == (2, "") and refused.stderr.startswith("refused: GPU 'B9000'")
