"""`jobs.train` makes a model that the pipeline loads, and goes on after an interruption."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics

import psutil
import pytest
import zstandard

from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from tests.training import write_checkpoint, write_tokenizer
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def corpus(tmp_path) -> Path:
    lines = io.StringIO()
    for name, text in topics.items():
        summary = f"How Python treats {name}, told in one sentence."
        lines.write(json.dumps({"id": name, "text": text, "summary": summary}) + "\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/topics.jsonl.zst").write_bytes(zstandard.compress(lines.getvalue().encode()))
    (tmp_path / "long.txt").write_text("\n".join(topics.values())[:60_000])
    return tmp_path


def command(corpus: Path, steps: int) -> list[str]:
    return [
        *(sys.executable, "-m", "jobs.train", "configs/train_default.yaml", f"output={corpus / 'model'}"),
        *(f"data.directory={corpus / 'data'}", f"data.long_document={corpus / 'long.txt'}", f"steps={steps}"),
        *("data.weights={}", "data.held_out_share=0.05", "model.vocab_size=320", "model.d_model=32"),
        *("model.n_layer=2", "model.d_intermediate=64", "model.d_state=16", "model.headdim=32"),
        *("streams=2", "segment_tokens=64", "save_every=2", "log_every=1"),
    ]


def test_an_interrupted_training_goes_on_and_leaves_a_model_with_its_figures(corpus):
    first = subprocess.Popen(command(corpus, 100_000), cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for((corpus / "model/resume.json").exists, "training saves what it goes on from")
    os.kill(first.pid, signal.SIGKILL)
    first.wait()

    again = subprocess.run(command(corpus, 1), cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "training_resumed" in again.stderr
    directory = corpus / "model"
    assert not list(directory.glob("resume*"))
    assert checkpoint.load(directory).config.vocab_size == Tokenizer.load(directory).vocab_size == 320
    figures = json.loads((directory / "training.json").read_text())
    assert figures["steps"] >= 2
    assert figures["tokens"] == figures["steps"] * 2 * 64
    assert figures["loss_by_position"][0]["from"] == 0
    assert figures["held_out_answer_loss"] > 0

    written = (directory / "model.safetensors").stat().st_mtime_ns
    once_more = subprocess.run(command(corpus, 1), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (once_more.returncode, "training_is_done" in once_more.stderr) == (0, True)
    assert (directory / "model.safetensors").stat().st_mtime_ns == written


def started_workers(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if "RayTrainWorker" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_two_workers_of_which_one_is_lost_leave_what_one_leaves_alone(corpus):
    """To rounding: two workers of three streams are one of six, and go on from the last save when one is killed."""
    write_checkpoint(corpus / "start", "siso")
    write_tokenizer(corpus / "start")
    common = [
        *(sys.executable, "-m", "jobs.train", "configs/train_finetune.yaml", f"start_from={corpus / 'start'}"),
        *(f"data.directory={corpus / 'data'}", "tokenizer=null", "device=cpu", "precision=fp32", "data.preamble=null"),
        *("steps=60", "save_every=10", "log_every=10", "segment_tokens=64", "learning_rate=0.003"),
        *("data.max_pair_tokens=4096", "data.held_out_share=0.05", "gradient_checkpointing=false"),
    ]
    alone = subprocess.run(
        [*common, f"output={corpus / 'one'}", "streams=6"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert alone.returncode == 0, alone.stderr
    log = corpus / "log"
    with log.open("w") as written:
        several = subprocess.Popen(
            [*common, f"output={corpus / 'two'}", "workers=2", "streams=3", "ray_address=local"],
            cwd=ROOT,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
        wait_for((corpus / "two/resume.json").exists, "workers save", log.read_text)
        started_workers(psutil.Process(several.pid))[0].kill()
        assert several.wait(600) == 0, log.read_text()
    assert "training_resumed" in log.read_text()
    one, two = (checkpoint.load(corpus / name).state_dict() for name in ("one", "two"))
    start = checkpoint.load(corpus / "start").state_dict()
    for name, tensor in one.items():
        assert (two[name] - tensor).abs().max() <= 0.02 * (start[name] - tensor).abs().max() + 2**-9, name
