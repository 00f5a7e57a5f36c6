"""`jobs.train` makes a model that the pipeline loads, and goes on after an interruption."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import zstandard

from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
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
