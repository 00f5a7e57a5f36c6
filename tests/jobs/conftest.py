"""A small random Mamba-3 on disk, and `jobs.summarize` as a person starts it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch

from models.mamba.architecture import Mamba3Config, MambaConfig
from models.mamba.language_model import MambaLM
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from tests.jobs.warm import Warm

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
    model = MambaLM(config).initialize()
    with torch.no_grad():
        # Loud weights: a quiet random model says the same of every document.
        for parameter in model.parameters():
            parameter.mul_(6) if parameter.ndim == 2 else parameter
    checkpoint.save(model, directory)
    return str(directory)


@pytest.fixture(scope="session")
def warm(s3, tmp_path_factory) -> Iterator[Warm]:
    """The store comes first: the environment leads to it, and workers of Ray have that of their Ray's start."""
    with Warm(tmp_path_factory.mktemp("warm")) as process:
        yield process


class Summarize:
    """Runs the job over an output of its own unless told otherwise: in a process that is warm, or in one of its own."""

    def __init__(self, model: str, output: str, warm: Warm) -> None:
        self.output = output
        self._warm = warm
        self._fixed = [
            f"model.uri={model}",
            "prompts=[{name: summary, instruction: Summarize., max_tokens: 12}]",
            "engine.slots=4",
            "engine.documents_per_batch=2",
            "run.heartbeat_seconds=0.2",
        ]

    def __call__(self, sources: list[str], *overrides: str) -> subprocess.CompletedProcess[str]:
        return self._warm("jobs.summarize", self._arguments(sources, *overrides))

    def command(self, sources: list[str], *overrides: str) -> list[str]:
        """As a person types it."""
        return [sys.executable, "-m", "jobs.summarize", *self._arguments(sources, *overrides)]

    def alone(self, sources: list[str], *overrides: str) -> subprocess.CompletedProcess[str]:
        """In a process and with a Ray of its own, whose environment is that of now."""
        return subprocess.run(self.command(sources, *overrides), cwd=ROOT, capture_output=True, text=True, check=False)

    def _arguments(self, sources: list[str], *overrides: str) -> list[str]:
        given = [f"input.sources={json.dumps(sources)}", f"output.uri={self.output}", *self._fixed, *overrides]
        return ["configs/demo.yaml", *given]


@pytest.fixture
def summarize(small_model, tmp_path, warm) -> Summarize:
    return Summarize(small_model, str(tmp_path / "output"), warm)
