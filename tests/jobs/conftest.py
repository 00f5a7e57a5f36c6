"""A small random Mamba-3 on disk, and `jobs.summarize` as a person starts it."""

import json
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch

from models import checkpoint
from models.architecture import Mamba3Config, MambaConfig
from models.language_model import MambaLM
from models.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> str:
    """Its answers mean nothing, but they depend on every token read."""
    directory = tmp_path_factory.mktemp("model")
    tokenizer = Tokenizer.train(topics.values(), 512)
    tokenizer.save(directory)
    torch.manual_seed(3)
    mixer = Mamba3Config(d_state=16, headdim=32, chunk_size=32)
    config = MambaConfig(d_model=64, d_intermediate=128, n_layer=2, vocab_size=512, ssm_cfg=mixer)
    model = MambaLM(config).initialise()
    with torch.no_grad():
        # Loud weights: a quiet random model says the same of every document.
        for parameter in model.parameters():
            parameter.mul_(6) if parameter.ndim == 2 else parameter
    checkpoint.save(model, directory)
    return str(directory)


class Summarize:
    """Runs the job in a process of its own, over an output of its own unless told otherwise."""

    def __init__(self, model: str, output: str) -> None:
        self.output = output
        self._fixed = [
            f"model.uri={model}",
            "prompts=[{name: summary, instruction: Summarise., max_tokens: 12}]",
            "engine.slots=4",
            "engine.documents_per_batch=2",
            "run.heartbeat_seconds=0.2",
        ]

    def command(self, sources: list[str], *overrides: str) -> list[str]:
        given = [f"input.sources={json.dumps(sources)}", f"output.uri={self.output}", *self._fixed, *overrides]
        return [sys.executable, "-m", "jobs.summarize", "configs/demo.yaml", *given]

    def __call__(self, sources: list[str], *overrides: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(sources, *overrides), cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
        )


@pytest.fixture
def summarize(small_model, tmp_path) -> Summarize:
    return Summarize(small_model, str(tmp_path / "output"))
