"""A model's files come from a directory, a store or the hub, once for a machine, and each failure says what to do."""

import errno
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
import torch
from filelock import FileLock
from fsspec.implementations.memory import MemoryFileSystem

from configs.errors import ModelError
from models.weights import checkpoint, hub
from models.weights.tokenizer import Tokenizer
from tests import published_checkpoint
from tests.small_model import build
from tests.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[3]
ASK = """
import sys
from configs.errors import ModelError
from models.weights import hub
try:
    print(hub.model(sys.argv[1]) if len(sys.argv) == 2 else hub.tokenizer(sys.argv[2], sys.argv[1]))
except ModelError as error:
    sys.exit(str(error))
"""


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as snapshot_download asks for. Every repository has the revision `main` alone."""

    repositories: dict[str, dict[str, bytes]]
    asked: list[str]

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        parts = self.path.partition("?")[0].strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        repository, rest = "/".join(parts[2:4] if is_api else parts[:2]), parts[4:] if is_api else parts[2:]
        files = self.repositories.get(repository)
        if files is None:
            return self.refuse(404, "RepoNotFound")
        commit = sha1(repository.encode()).hexdigest()
        if not rest or rest[0] == "revision":
            if rest[1:] not in ([], ["main"]):
                return self.refuse(404, "RevisionNotFound")
            return self.answer({"id": repository, "sha": commit, "siblings": []})
        if rest[0] == "tree":
            return self.answer(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": sha1(data).hexdigest()}
                    for name, data in files.items()
                ]
            )
        if repository.endswith("gated"):
            return self.refuse(403, "GatedRepo")
        if self.command == "GET":
            self.asked.append(rest[2])
        data = files[rest[2]]
        return self.reply(200, data, {"ETag": f'"{sha1(data).hexdigest()}"', "X-Repo-Commit": commit})

    def refuse(self, status, code):
        self.reply(status, b"", {"X-Error-Code": code, "X-Error-Message": code})

    def answer(self, content):
        self.reply(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def reply(self, status, data, headers):
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *args):
        """Nothing."""


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("published")
    published_checkpoint.write(build(torch.float32), directory)
    return directory


@pytest.fixture
def server(published):
    """Gives the environment of a process that sees this hub."""
    files = {file.name: file.read_bytes() for file in published.iterdir()} | {"README.md": b"A card.", "run.py": b"!"}
    tokenizer = (hub.DEFAULT / "tokenizer.json").read_bytes()
    Hub.repositories = {
        "state-spaces/mamba3-siso-small": files,
        "someone/both": files | {"model.safetensors": b"better", "tokenizer.json": tokenizer},
        "someone/card": {"README.md": b"A card.", "config.json": b"{}"},
        "someone/nothing": {"README.md": b"A card."},
        "someone/gated": files,
    }
    Hub.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


class Asker:
    """Asks for a model in a process of its own, since the hub's client reads its environment when it is imported."""

    def __init__(self, server, home) -> None:
        self.environment = os.environ | {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def __call__(self, *arguments, **environment) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", ASK, *arguments]
        environment = self.environment | environment
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    def directory(self, *arguments, **environment) -> Path:
        finished = self(*arguments, **environment)
        assert finished.returncode == 0, finished.stderr
        return Path(finished.stdout.strip())

    def refusal(self, *arguments, **environment) -> str:
        finished = self(*arguments, **environment)
        assert finished.returncode == 1
        assert "Traceback" not in finished.stderr
        return finished.stderr


@pytest.fixture
def ask(server, tmp_path) -> Asker:
    return Asker(server, tmp_path / "hf")


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_a_hub_id_loads_as_published_and_nothing_else_is_fetched(ask):
    finished = ask("state-spaces/mamba3-siso-small")
    directory = Path(finished.stdout.strip())
    assert checkpoint.load(directory).config == build(torch.float32).config
    assert names(directory) == {"config.json", "pytorch_model.bin"}
    assert finished.stderr == ""
    assert sorted(Hub.asked) == ["config.json", "pytorch_model.bin"]


def test_a_second_process_fetches_nothing_and_needs_no_network(ask):
    directory = ask.directory("state-spaces/mamba3-siso-small@main")
    Hub.asked.clear()
    assert ask.directory("state-spaces/mamba3-siso-small") == directory
    assert ask.directory("state-spaces/mamba3-siso-small", HF_HUB_OFFLINE="1") == directory
    assert ask.directory("state-spaces/mamba3-siso-small", HF_ENDPOINT="http://127.0.0.1:9") == directory
    assert ask.directory(f"state-spaces/mamba3-siso-small@{directory.name}", HF_HUB_OFFLINE="1") == directory
    assert not Hub.asked


def test_safetensors_go_before_a_bin(ask):
    assert names(ask.directory("someone/both")) == {"config.json", "model.safetensors"}


def test_a_tokenizer_comes_without_the_weights_and_from_another_repository(ask):
    directory = ask.directory("state-spaces/mamba3-siso-small", "someone/both")
    assert names(directory) == {"tokenizer.json"}
    assert Tokenizer.load(directory).fingerprint == Tokenizer.load(hub.DEFAULT).fingerprint
    assert Hub.asked == ["tokenizer.json"]


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("someone/missing", "there is no such directory here, and as the id of a repository on the hub it does not"),
        ("someone/both@v7", "has no revision 'v7'"),
        ("someone/gated", "is gated: accept its terms"),
        ("someone/nothing", "there is no config.json in it"),
        ("someone/card", "it holds no weights"),
        ("someone/odd--name..", "cannot be fetched"),
    ],
)
def test_what_the_hub_refuses_is_said_with_the_setting_and_its_value(ask, uri, says):
    refusal = ask.refusal(uri)
    assert refusal.splitlines()[-1].startswith(f"model.uri = '{uri}': ")
    assert says in refusal


@pytest.mark.parametrize("environment", [{"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HF_HUB_OFFLINE": "1"}])
def test_without_a_network_it_says_so(ask, environment):
    refusal = ask.refusal("someone/both", **environment)
    assert "model.uri = 'someone/both'" in refusal
    assert "check the network, HF_ENDPOINT and HF_HUB_OFFLINE" in refusal


def test_importing_asks_nothing_of_the_network(ask):
    """The client is there, and no name is looked up."""
    code = "import socket; socket.socket.connect = socket.getaddrinfo = None; import models.weights.hub"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=ask.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class Counted(MemoryFileSystem):
    """`counted://` remembers what was read, and can be slow or broken."""

    protocol = "counted"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    read: ClassVar[list[str]] = []
    on_read = staticmethod(lambda path, local: None)

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.replace("counted://", "memory://"))

    def get_file(self, path, local, *args, **kwargs):
        Path(local).write_bytes(self.store[path].getvalue())
        self.read.append(path.rpartition("/")[2])
        type(self).on_read(path, local)


fsspec.register_implementation("counted", Counted)


@pytest.fixture
def store(published, tmp_path, monkeypatch) -> str:
    """The URI of the published model in a store, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(Counted, "on_read", staticmethod(lambda path, local: None))
    Counted.store.clear()
    Counted.read.clear()
    for file in published.iterdir():
        Counted().pipe_file(f"/models/small/{file.name}", file.read_bytes())
    Counted().pipe_file("/models/small/optimizer.pt", b"large")
    return "counted://models/small"


def cached(tmp_path) -> list[Path]:
    return [path for path in (tmp_path / "cache/longhaul/models").iterdir() if not path.name.endswith(".lock")]


def test_a_model_in_a_store_loads_and_stays_until_it_changes(store, published):
    first = hub.model(store)
    assert checkpoint.fingerprint(first) == checkpoint.fingerprint(published)
    assert names(first) == {"config.json", "pytorch_model.bin"}
    assert hub.model(store) == hub.model(f"{store}/") == first
    assert Counted.read.count("pytorch_model.bin") == 1
    Counted().pipe_file("/models/small/pytorch_model.bin", b"other")
    assert (hub.model(store) / "pytorch_model.bin").read_bytes() == b"other"
    assert Counted.read.count("pytorch_model.bin") == 2


def test_a_tokenizer_in_a_store_comes_without_the_weights(store):
    Counted().pipe_file("/models/small/tokenizer.json", (hub.DEFAULT / "tokenizer.json").read_bytes())
    assert Tokenizer.find(None, store).vocab_size == Tokenizer.find(store, "/nowhere").vocab_size == 4096
    assert Counted.read == ["tokenizer.json"]


def test_a_config_in_a_store_comes_without_the_weights(store):
    assert hub.config(store).name == "config.json"
    assert Counted.read == ["config.json"]
    with pytest.raises(ModelError, match=r"MODEL = 'counted://models': there is no config\.json"):
        hub.config("counted://models", "MODEL")


def test_of_many_that_ask_at_once_one_downloads(store, tmp_path):
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(hub.model, [store] * 8))
    assert len(found) == 1
    assert Counted.read.count("pytorch_model.bin") == 1


def test_where_locks_do_not_work_the_first_that_is_done_wins(store, tmp_path, monkeypatch):
    def no_locks(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    together = threading.Barrier(4)
    monkeypatch.setattr(Counted, "on_read", staticmethod(lambda path, local: together.wait(PATIENCE_SECONDS)))
    with ThreadPoolExecutor(4) as threads:
        found = set(threads.map(hub.model, [store] * 4))
    assert len(found) == 1
    assert Counted.read.count("pytorch_model.bin") == 4
    assert names(found.pop()) == {"config.json", "pytorch_model.bin"}
    assert len(cached(tmp_path)) == 2


def shorten(path, local):
    os.truncate(local, 3)


def change(path, local):
    Counted().pipe_file("/models/small/config.json", b"{ }")


@pytest.mark.parametrize(("happens", "says"), [(shorten, "came with 3 bytes of"), (change, "it was changed while")])
def test_what_does_not_come_whole_is_refused_and_leaves_nothing(store, tmp_path, monkeypatch, happens, says):
    monkeypatch.setattr(Counted, "on_read", staticmethod(happens))
    with pytest.raises(ModelError, match=says):
        hub.model(store)
    assert cached(tmp_path) == []


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("counted://models/none", "there is nothing there"),
        ("counted://models", "there is no config.json in it"),
        ("nosuch://models/small", "nosuch"),
        ("/nowhere", "no such directory"),
        ("file:///nowhere", "no such directory"),
        ("nowhere", "or a hub id such as state-spaces/mamba3-siso-1.5b"),
    ],
)
def test_a_place_that_holds_no_model_is_named(store, uri, says):
    for ask, setting in ((hub.model, "model.uri"), (lambda uri: hub.tokenizer(uri, "default"), "model.tokenizer")):
        if uri == "counted://models" and setting == "model.tokenizer":
            says = "there is no tokenizer.json in it"
        with pytest.raises(ModelError, match=f"{setting} = '{uri}': .*{says}"):
            ask(uri)


def test_a_cache_that_cannot_be_written_is_named(store, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"it cannot be brought to .*/file/longhaul .*the room on the disk"):
        hub.model(store)


def test_a_model_without_a_tokenizer_says_what_to_set(store, published):
    for uri in (store, str(published)):
        with pytest.raises(ModelError, match=r"no tokenizer\.json in it; set model\.tokenizer to .*Meta-Llama-3\.1-8B"):
            hub.tokenizer(None, uri)


def test_directories_are_used_as_they_are(published, monkeypatch):
    monkeypatch.chdir(published.parent)
    (published.parent / "state-spaces").mkdir(exist_ok=True)
    (published.parent / "state-spaces/mamba3-siso-small").symlink_to(published)
    assert hub.model(str(published)) == hub.model(published.as_uri()) == published
    assert hub.model("state-spaces/mamba3-siso-small") == Path("state-spaces/mamba3-siso-small")
    assert hub.model("default") == hub.tokenizer(None, "default") == checkpoint.DEFAULT


def test_a_model_on_s3_loads(s3, bucket, published, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for file in published.iterdir():
        s3.client().put_object(
            Bucket=bucket.removeprefix("s3://"), Key=f"models/a b/{file.name}", Body=file.read_bytes()
        )
    directory = checkpoint.resolve(f"{bucket}/models/a b")
    assert checkpoint.fingerprint(directory) == checkpoint.fingerprint(published)
    assert checkpoint.resolve(f"{bucket}/models/a b") == directory
    for uri in (f"{bucket}/models/none", "s3://there-is-no-such-bucket/model"):
        with pytest.raises(ModelError, match="there is nothing there, or no such bucket"):
            checkpoint.resolve(uri)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(ModelError, match="the credentials in the environment"):
        checkpoint.resolve(f"{bucket}/models/a b")
    fsspec.filesystem("s3").clear_instance_cache()
