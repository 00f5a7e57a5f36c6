"""A document that kills the process which reads it is a failure, and its neighbours are read."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configs.errors import ProcessKilledError
from configs.settings import InputSettings, ModelSettings
from models.tokenizer import Tokenizer
from pipeline import plan
from pipeline.assignment import READ_ROW, read_rows
from pipeline.documents import Document
from pipeline.read_stage import read_batch

ROOT = Path(__file__).parents[2]
POISON = """
import ctypes, os, signal
from fsspec import AbstractFileSystem

class Poison(AbstractFileSystem):
    protocol = "poison"

    def _open(self, path, mode="rb", **options):
        with open(os.environ["POISON_LOG"], "a") as log:
            log.write(path + "\\n")
        if path.endswith("segfault"):
            ctypes.string_at(0)
        if path.endswith("memory"):
            os.kill(os.getpid(), signal.SIGKILL)
        if path.endswith("bug"):
            raise ZeroDivisionError("a bug of ours")
        os._exit(3)
"""
READ = """
import json, sys
from configs.settings import SummarizeConfig
from pipeline import plan
from pipeline.documents import Document

model, *uris = sys.argv[1:]
values = {"input": {"sources": ["unused"]}, "output": {"uri": "unused"}, "model": {"uri": model}}
config = SummarizeConfig.model_validate(values)
with plan.cluster(config):
    plan._configure_ray_data()
    tables = plan.blocks([(Document(uri, uri, "etag", 1), None) for uri in uris], config.engine.documents_per_batch)
    print(json.dumps(plan._read(tables, config, lambda: False).take_all()))
"""


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log of what was opened in `poison://`, a file system that processes started from here find installed."""
    site = tmp_path / "site"
    (site / "poison-1.dist-info").mkdir(parents=True)
    (site / "poison.py").write_text(POISON)
    (site / "poison-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: poison\nVersion: 1\n")
    (site / "poison-1.dist-info" / "entry_points.txt").write_text("[fsspec.specs]\npoison = poison:Poison\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("POISON_LOG", str(tmp_path / "opened"))
    (tmp_path / "opened").touch()
    return tmp_path / "opened"


@pytest.fixture
def model(tmp_path: Path) -> ModelSettings:
    (tmp_path / "model").mkdir()
    Tokenizer.train(["some words of the documents below"], vocab_size=270).save(tmp_path / "model")
    return ModelSettings(uri=str(tmp_path / "model"))


def documents(tmp_path: Path, *poisons: str) -> list[tuple[Document, None]]:
    paths = [tmp_path / "healthy.txt", tmp_path / "empty.txt"]
    paths[0].write_text("some words " * 1000)
    paths[1].touch()
    return [(Document(str(uri), str(uri), "etag", 1), None) for uri in (*poisons, *paths)]


def assert_only_the_poisons_failed(rows: list[dict[str, Any]], poisons: dict[str, str], tmp_path: Path) -> None:
    found = {row["document_id"]: row for row in rows}
    for uri, how in poisons.items():
        assert (found[uri]["error_class"], found[uri]["tokens"]) == (ProcessKilledError.__name__, None)
        assert how in found[uri]["error_message"]
    assert found[str(tmp_path / "empty.txt")]["error_class"] == "EmptyDocumentError"
    healthy = found[str(tmp_path / "healthy.txt")]
    assert healthy["error_class"] is None and len(healthy["tokens"]) > 1000 and len(healthy["cuts"]) == 1
    assert len(found) == len(poisons) + 2


@pytest.mark.slow
def test_each_document_dies_alone_and_says_how(tmp_path: Path, model: ModelSettings, opened: Path) -> None:
    poisons = {
        "poison://a/exit": "exit code 3",
        "poison://a/segfault": signal.SIGSEGV.name,
        "poison://a/memory": "SIGKILL, which is what a process gets that takes too much memory",
    }
    (batch,) = plan.blocks(documents(tmp_path, *poisons), 8)
    table = read_batch(batch, InputSettings(sources=("unused",)), model, isolated=True)
    assert table.schema == READ_ROW
    assert_only_the_poisons_failed(read_rows(table), poisons, tmp_path)
    assert len(opened.read_text().splitlines()) == len(poisons)


def test_what_is_no_fault_of_the_document_is_raised(tmp_path: Path, model: ModelSettings, opened: Path) -> None:
    (batch,) = plan.blocks([(Document("poison://a/bug", "poison://a/bug", "etag", 1), None)], 1)
    with pytest.raises(ZeroDivisionError, match="a bug of ours"):
        read_batch(batch, InputSettings(sources=("unused",)), model, isolated=True)
    assert opened.read_text().split() == ["a/bug"]


@pytest.mark.slow
def test_a_reader_of_ray_that_dies_reads_again_with_care(tmp_path: Path, model: ModelSettings, opened: Path) -> None:
    poisons = {"poison://a/segfault": signal.SIGSEGV.name}
    uris = [document.document_id for document, _ in documents(tmp_path, *poisons)]
    command = [sys.executable, "-c", READ, model.uri, *uris]
    rows = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout.splitlines()[-1])
    assert_only_the_poisons_failed(rows, poisons, tmp_path)
    assert len(opened.read_text().splitlines()) == 2
