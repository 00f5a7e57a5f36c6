"""A document that kills the process which reads it, or would never end, is a failure, and its neighbors are read."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest

from configs.settings import InputSettings, ModelSettings
from models.weights.tokenizer import Tokenizer
from pipeline.documents.handover import READ_ROW, read_rows
from pipeline.documents.reader import ReaderSettings
from pipeline.documents.reader_process import ReaderProcess
from pipeline.schemas.document import Document
from pipeline.schemas.tables import Row
from tests.pdf import operators

ROOT = Path(__file__).parents[3]
MIB = 1024 * 1024
PATIENCE_SECONDS = 60
POISON = """
import ctypes, os, signal, time
from fsspec import AbstractFileSystem

class Poison(AbstractFileSystem):
    protocol = "poison"

    def _open(self, path, mode="rb", **options):
        with open(os.environ["POISON_LOG"], "a") as log:
            log.write(path + "\\n")
        what = path.partition("/")[2]
        if what == "segfault":
            ctypes.string_at(0)
        if what == "killed" or what == "killed-once" and len(open(os.environ["POISON_LOG"]).readlines()) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "bug":
            raise ZeroDivisionError("a bug of ours")
        while what == "loop":
            pass
        while what == "hang":
            time.sleep(1)
        if what == "hungry":
            held = [bytes(1 << 20) for _ in range(1 << 20)]
        if what == "exit":
            os._exit(3)
        return open(os.environ["POISON_HEALTHY"], "rb")
"""
READ = """
import json, sys
from configs.settings import SummarizeConfig
from pipeline.driver import dataset
from pipeline.schemas.document import Document

model, *uris = sys.argv[1:]
values = {"input": {"sources": ["unused"]}, "output": {"uri": "unused"}, "model": {"uri": model}, "citations": False}
config = SummarizeConfig.model_validate(values)
with dataset.cluster(config):
    tables = dataset.blocks([dataset.Todo(Document(uri, uri, "etag", 1)) for uri in uris], 4)
    print(json.dumps(dataset._read(tables, config, False, lambda: False).take_all()))
"""
LOOP = """
import sys
from configs.settings import InputSettings, ModelSettings
from pipeline.schemas.document import Document
from pipeline.documents.reader import ReaderSettings
from pipeline.documents.reader_process import ReaderProcess

process = ReaderProcess()
process._start()
print(process.pid, flush=True)
row = Document("poison://a/loop", "poison://a/loop", "etag", 1).as_row() | {"state_uri": None}
process.read([row], ReaderSettings(InputSettings(sources=("unused",)), ModelSettings(uri=sys.argv[1])))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents")


@pytest.fixture(scope="module")
def log(folder: Path) -> Iterator[Path]:
    """Of what is opened in `poison://`, a file system that processes started from here find installed."""
    site = folder / "site"
    (site / "poison-1.dist-info").mkdir(parents=True)
    (site / "poison.py").write_text(POISON)
    (site / "poison-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: poison\nVersion: 1\n")
    (site / "poison-1.dist-info" / "entry_points.txt").write_text("[fsspec.specs]\npoison = poison:Poison\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("POISON_LOG", str(folder / "opened"))
        patch.setenv("POISON_HEALTHY", str(folder / "healthy.txt"))
        yield folder / "opened"


@pytest.fixture
def opened(log: Path) -> Path:
    log.write_text("")
    return log


@pytest.fixture(scope="module")
def model(folder: Path) -> ModelSettings:
    (folder / "model").mkdir()
    Tokenizer.train(["some words of the documents below"], vocab_size=270).save(folder / "model")
    return ModelSettings(uri=str(folder / "model"))


@pytest.fixture(scope="module")
def process(log: Path) -> Iterator[ReaderProcess]:
    """One of the tests' own: it finds the file system."""
    process = ReaderProcess()
    yield process
    process.close()


@pytest.fixture(scope="module")
def healthy(folder: Path) -> Path:
    path = folder / "healthy.txt"
    path.write_text("some words " * 1000)
    return path


@pytest.fixture(scope="module")
def empty(folder: Path) -> Path:
    path = folder / "empty.txt"
    path.touch()
    return path


def read(process: ReaderProcess, model: ModelSettings, *uris: object, **limits: Any) -> list[Row]:
    rows = [Document(str(uri), str(uri), "etag", 1).as_row() | {"state_uri": None} for uri in uris]
    read = process.read(rows, ReaderSettings(InputSettings(sources=("unused",), **limits), model))
    return read_rows(pa.Table.from_pylist(read, READ_ROW))


def opened_paths(opened: Path) -> list[str]:
    return opened.read_text().split()


def assert_healthy(row: Row) -> None:
    assert row["error_class"] is None and len(row["tokens"]) > 1000 and len(row["cuts"]) == 1


def test_each_document_dies_alone_and_says_how(
    process: ReaderProcess, model: ModelSettings, opened: Path, healthy: Path, empty: Path
) -> None:
    poisons = {
        "poison://a/exit": "exit code 3",
        "poison://a/segfault": signal.SIGSEGV.name,
        "poison://a/killed": "SIGKILL, which is what a process gets that takes too much memory",
    }
    found = read(process, model, healthy, *poisons, healthy, empty)
    assert_healthy(found[0])
    assert_healthy(found[-2])
    assert found[-1]["error_class"] == "EmptyDocumentError"
    for row, how in zip(found[1:-2], poisons.values(), strict=True):
        assert (row["error_class"], row["tokens"]) == ("ProcessKilledError", None)
        assert how in row["error_message"]
    # The first of them died in a process that had read another document before it.
    assert opened_paths(opened) == ["a/exit", *(uri.removeprefix("poison://") for uri in poisons)]


def test_a_document_whose_process_was_killed_for_another_is_read_again(
    process: ReaderProcess, model: ModelSettings, opened: Path, healthy: Path
) -> None:
    found = read(process, model, healthy, "poison://a/killed-once")
    assert opened_paths(opened) == ["a/killed-once"] * 2
    for row in found:
        assert_healthy(row)


def test_a_bug_of_ours_is_the_failure_of_one_document(
    process: ReaderProcess, model: ModelSettings, healthy: Path
) -> None:
    bug, after = read(process, model, "poison://a/bug", healthy)
    assert bug["error_class"] == "UnexpectedError"
    assert bug["error_message"].startswith("ZeroDivisionError: a bug of ours (at pipeline/storage/remote.py:")
    assert_healthy(after)


def test_the_process_is_kept_from_batch_to_batch_until_it_dies(
    process: ReaderProcess, model: ModelSettings, healthy: Path
) -> None:
    process.close()
    assert process.pid is None
    assert_healthy(*read(process, model, healthy))
    first = process.pid
    assert_healthy(*read(process, model, healthy))
    assert process.pid == first is not None
    # Between two batches, by whoever: no document's fault.
    psutil.Process(first).kill()
    assert_healthy(*read(process, model, healthy))
    assert process.pid != first


@pytest.mark.parametrize(
    ("what", "seconds", "reason"), [("loop", 0.5, "0.5 s of CPU time"), ("hang", 0.3, "10 times 0.3 s on the clock")]
)
def test_a_document_that_does_not_end_is_given_up(
    process: ReaderProcess,
    model: ModelSettings,
    opened: Path,
    healthy: Path,
    what: str,
    seconds: float,
    reason: str,
) -> None:
    read(process, model, healthy)
    never, after = read(process, model, f"poison://a/{what}", healthy, max_document_seconds=seconds)
    assert never["error_class"] == "TimeLimitError"
    assert f"{reason}, the limit that input.max_document_seconds sets" in never["error_message"]
    assert opened_paths(opened) == [f"a/{what}"]
    assert_healthy(after)


def test_waiting_between_documents_and_those_before_are_not_counted(
    process: ReaderProcess, model: ModelSettings, tmp_path: Path
) -> None:
    """CPU time of many documents is more than the limit, of each is less."""
    path = tmp_path / "long.txt"
    path.write_text("some words of a document\n" * 20_000)
    read(process, model, path)
    about = psutil.Process(process.pid)
    before = about.cpu_times().user
    read(process, model, path)
    once = about.cpu_times().user - before
    rows = read(process, model, *[path] * 12, max_document_seconds=max(0.2, 5 * once))
    assert [row["error_class"] for row in rows] == [None] * 12


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_a_document_that_takes_too_much_memory_is_a_failure(
    process: ReaderProcess, model: ModelSettings, tmp_path: Path, healthy: Path
) -> None:
    """By our code, and by native code that says so or ends the process."""
    (tmp_path / "a.html").write_bytes(b"<p>a</p>" * 500_000)
    (tmp_path / "a.json").write_bytes(b'{"text": "' + b"a" * 60 * MIB + b'"}')
    (tmp_path / "a.pdf").write_bytes(operators(5_000_000, b"(a) Tj "))
    poisons = ["poison://a/hungry", *(tmp_path / f"a.{kind}" for kind in ("html", "json", "pdf"))]
    found = read(process, model, *poisons, healthy, max_document_memory=64 * MIB)
    assert_healthy(found.pop())
    # PDFium ends the process that gets no more memory.
    killed = found.pop()
    assert killed["error_class"] == "ProcessKilledError" and "input.max_document_memory" in killed["error_message"]
    assert [row["error_class"] for row in found] == ["TooLargeError"] * 3
    for row in found:
        assert f"more than {64 * MIB} bytes of memory, the limit that input.max_document_memory" in row["error_message"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_what_earlier_documents_took_is_not_held_against_later_ones(
    process: ReaderProcess, model: ModelSettings, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_bytes(b'{"text": "' + b"a " * 5 * MIB + b'"}')
    rows = read(process, model, *[tmp_path / "a.json"] * 12, max_document_memory=96 * MIB, inline_bytes=1)
    assert [(row["error_class"], row["is_streamed"]) for row in rows] == [(None, True)] * 12


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the process ends after its document")
def test_the_process_ends_when_its_parent_is_killed_in_the_middle_of_a_document(
    model: ModelSettings, opened: Path
) -> None:
    command = [sys.executable, "-c", LOOP, model.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not opened.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        parent.kill()
        parent.wait()
        child.wait(PATIENCE_SECONDS)


def test_a_process_that_cannot_start_is_no_fault_of_any_document(
    process: ReaderProcess, model: ModelSettings, healthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "numpy.py").write_text("raise SystemExit(9)")
    monkeypatch.syspath_prepend(tmp_path / "broken")
    process.close()
    with pytest.raises(RuntimeError, match=r"before it read any, with the exit codes \[9, 9, 9\]"):
        read(process, model, healthy)


def test_the_process_loads_neither_torch_nor_ray() -> None:
    code = "import sys, pipeline.documents.reader_process; print(sorted({'torch', 'ray'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True) == "[]\n"


@pytest.mark.slow
def test_a_reader_of_ray_outlives_what_kills_its_process(
    model: ModelSettings, opened: Path, healthy: Path, empty: Path
) -> None:
    uris = ["poison://a/segfault", "poison://a/bug", str(healthy), str(empty)]
    command = [sys.executable, "-c", READ, model.uri, *uris]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT, timeout=300).stdout
    found = {row["document_id"]: row["error_class"] for row in json.loads(output.splitlines()[-1])}
    assert found == dict(zip(uris, ["ProcessKilledError", "UnexpectedError", None, "EmptyDocumentError"], strict=True))
    assert sorted(set(opened_paths(opened))) == ["a/bug", "a/segfault"]
