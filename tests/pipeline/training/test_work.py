"""A training leaves a model that answers as it was taught, and one that was killed leaves the same."""

import json
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import safetensors.torch
import torch

from configs.errors import ConfigError, ModelError
from configs.loader import load
from configs.training import TrainConfig
from models.backends import engines, loading
from models.engine.feed import ArrayFeed
from models.engine.request import Prompt, Request
from models.engine.sampling import Sampling
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.prompts import template
from pipeline.storage import objects
from pipeline.training import work
from tests.training import SHAPES, SUMMARY, write_checkpoint, write_documents, write_tokenizer

ROOT = Path(__file__).parents[3]

KILLED = """
import os, signal, sys
from configs.loader import load
from configs.training import TrainConfig
from models.mamba.trainer import Trainer
from pipeline.training import work
from pipeline.training.saves import Saves

steps, saves, step, publish = 0, 0, Trainer.step, Saves.publish

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dying_step(*arguments):
    global steps
    steps += 1
    die() if (steps, sys.argv[1]) == (7, "step") else None
    return step(*arguments)

def dying_publish(*arguments):
    global saves
    saves += 1
    die() if (saves, sys.argv[1]) == (2, "save") else None
    return publish(*arguments)

Trainer.step, Saves.publish = dying_step, dying_publish
work.train(load(TrainConfig, None, sys.argv[2:]))
"""
"""Dies as by kill -9: in the seventh step, of which the third was saved, or in the second save, before it counts."""


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Path:
    """Documents, a tokenizer, and a checkpoint of each shape."""
    folder = tmp_path_factory.mktemp("training")
    write_documents(folder / "data")
    write_tokenizer(folder / "tokenizer")
    for shape in SHAPES:
        write_checkpoint(folder / shape, shape)
    return folder


def settings(places: Path, output: str, shape: str = "siso", *more: str) -> list[str]:
    return [
        *(f"output={output}", f"start_from={places / shape}", f"tokenizer={places / 'tokenizer'}", "device=cpu"),
        *(f"data.directory={places / 'data'}", "data.pair_share=1", "data.held_out_share=0.05", "max_minutes=null"),
        *("streams=3", "segment_tokens=64", "steps=10", "save_every=3", "learning_rate=0.01", "warmup_steps=2"),
        *more,
    ]


def stored(places: Path, bucket: str) -> list[str]:
    """Documents, checkpoint and tokenizer put into a store, as settings."""
    given = {"data.directory": "data", "start_from": "siso", "tokenizer": "tokenizer"}
    for folder in given.values():
        for path in (places / folder).iterdir():
            objects.publish(objects.join(bucket, folder, path.name), path.read_bytes())
    return [f"{name}={objects.join(bucket, folder)}" for name, folder in given.items()]


def train(arguments: list[str]) -> None:
    work.train(load(TrainConfig, None, arguments))


def weights(output: str) -> dict[str, torch.Tensor]:
    return safetensors.torch.load(objects.read_bytes(objects.join(output, "model.safetensors")))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize(
    ("where", "at", "more"),
    [
        ("disk", "step", ()),
        ("disk", "save", ("gradient_checkpointing=true", "precision=bf16")),
        ("s3", "step", ("lora.rank=4", "lora.dropout=0.3")),
    ],
    ids=["disk", "disk-in-a-save", "s3-lora"],
)
def test_a_killed_training_resumes_and_gives_the_same_bits(places, tmp_path, request, where, at, more):
    place = str(tmp_path) if where == "disk" else request.getfixturevalue("bucket")
    if where == "s3":
        more = (*more, *stored(places, place))
    whole, killed = objects.join(place, "whole"), objects.join(place, "killed")
    train(settings(places, whole, "siso", *more))
    arguments = settings(places, killed, "siso", *more)
    died = subprocess.run([sys.executable, "-c", KILLED, at, *arguments], cwd=ROOT, capture_output=True, check=False)
    assert died.returncode == -9, died.stderr
    saved = json.loads(objects.read_bytes(objects.join(killed, "resume.json")))
    assert saved["steps"] == (6 if at == "step" else 3)

    train(arguments)
    assert same(weights(killed), weights(whole))
    figures = [json.loads(objects.read_bytes(objects.join(output, "training.json"))) for output in (killed, whole)]
    for name in ("steps", "tokens", "train_answer_loss", "held_out_answer_loss"):
        assert figures[0][name] == figures[1][name]
    left = {uri.removeprefix(killed + "/") for uri in objects.list_files(killed)}
    adapter = {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"} if where == "s3" else set()
    assert left == {"config.json", "model.safetensors", "tokenizer.json", "training.json"} | adapter


def test_resuming_depends_on_what_was_saved(places, tmp_path):
    """Another seed gives other weights: the test above compares what could differ."""
    train(settings(places, str(tmp_path / "one")))
    train(settings(places, str(tmp_path / "other"), "siso", "seed=1"))
    assert not same(weights(str(tmp_path / "one")), weights(str(tmp_path / "other")))


@pytest.mark.parametrize("shape", sorted(SHAPES))
@pytest.mark.parametrize("more", [("steps=150",), ("steps=250", "lora.rank=16")], ids=["full", "lora"])
def test_what_comes_out_answers_as_it_was_taught(places, tmp_path, shape, more):
    output = tmp_path / "model"
    taught = ("streams=4", "text_weight=0", "data.max_pair_tokens=300", "learning_rate=0.02", *more)
    train(settings(places, str(output), shape, *taught))
    figures = json.loads((output / "training.json").read_text())
    assert figures["held_out_answer_loss"] < 0.5
    assert (figures["trained_parameters"] < figures["parameters"]) == ("lora.rank=16" in more)
    assert checkpoint.check(output) == checkpoint.check(places / shape)
    assert answer(output) == SUMMARY


def answer(model: Path) -> str:
    """What a run's engine makes of a document of the training's."""
    tokenizer = Tokenizer.load(model)
    engine = engines.around(loading.loaded(model, torch.float32, "cpu"), {tokenizer.end_id}, 2, 256)
    document = tokenize.tokens([topics["assert"]], tokenizer)
    prompt = Prompt(tuple(tokenizer.encode(template.render(template.ONE_SENTENCE_INSTRUCTION))), Sampling(60))
    engine.submit(Request("one", ArrayFeed(document), (prompt,)))
    while engine.busy:
        for finished in engine.step().finished:
            return tokenizer.decode(finished.answers[0].tokens)
    raise AssertionError("no answer")


def test_a_training_that_goes_astray_says_so(places, tmp_path):
    with pytest.raises(ConfigError, match=r"learning_rate = 1e\+30: in step \d+ the gradients' norm is"):
        train([*settings(places, str(tmp_path / "model")), "learning_rate=1e+30"])


def test_another_training_is_not_resumed(places, tmp_path):
    arguments = settings(places, str(tmp_path / "model"))
    subprocess.run([sys.executable, "-c", KILLED, "step", *arguments], cwd=ROOT, capture_output=True, check=False)
    for more, name in (
        ("seed=5", "seed = 0"),
        ("data.pair_share=0.5", "data.pair_share = 1.0"),
        ("streams=2", "workers times streams = 3"),
        ("lora.rank=4", "lora = None"),
        (f"start_from={places / 'mimo'}", "model = "),
    ):
        with pytest.raises(ConfigError, match=f"holds an unfinished training with {name}"):
            train([*arguments, more])


def test_what_does_not_fit_is_refused_before_it_starts(places, tmp_path):
    arguments = settings(places, str(tmp_path / "model"))
    larger = tmp_path / "larger"
    larger.mkdir()
    Tokenizer.train(topics.values(), 700).save(larger)
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "one.jsonl").write_text('{"id": "a", "text": "b"}\n{"id": "c"}\n')
    for more, error, message in (
        ("start_from=/nowhere", ModelError, "start_from = '/nowhere': no such directory"),
        (f"tokenizer={places / 'siso'}", ModelError, "there is no tokenizer.json in it; set tokenizer to"),
        (f"tokenizer={larger}", ModelError, "they do not belong together; set tokenizer to"),
        (f"data.directory={places / 'tokenizer'}", ConfigError, "there is no file there that ends in .jsonl"),
        (f"data.directory={bad}", ConfigError, "object 2: `id` and `text` are needed"),
        ("data.weights={topic: 2}", ConfigError, "data.weights names 'topic', but .* holds topics"),
        ("data.min_summary_chars=4000", ConfigError, "holds no document with a summary"),
        ("data.long_document=/nowhere", ConfigError, "data.long_document = '/nowhere' is no readable text"),
        ("lora.targets=[x_proj]", ConfigError, "lora.targets names 'x_proj'"),
    ):
        with pytest.raises(error, match=message):
            train([*arguments, more])
    assert not (tmp_path / "model").exists()
