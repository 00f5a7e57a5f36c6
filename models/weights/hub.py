"""Where a model's files come from: a directory, a store that fsspec opens, or the Hugging Face hub.

What is remote is brought to a cache on this machine: the hub's own, or `longhaul/models` in XDG_CACHE_HOME. Many
processes of a node may ask at once; one downloads, and files appear there whole or not at all. Nothing that comes from
elsewhere is run.
"""

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
from filelock import FileLock
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from configs.errors import ModelError

DEFAULT = Path(__file__).parents[1] / "default"
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
GENERATION, TOKENIZER_CONFIG = "generation_config.json", "tokenizer_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
"""How answers end, the tokenizer's special tokens, and how a model is asked: it may have these."""
SAFETENSORS, TORCH_BIN = "model.safetensors", "pytorch_model.bin"
SHARDS = ".index.json"
WEIGHTS = (
    (SAFETENSORS, SAFETENSORS + SHARDS, "model-*-of-*.safetensors"),
    (TORCH_BIN, TORCH_BIN + SHARDS, "pytorch_model-*-of-*.bin"),
)
"""Patterns of names, the better format first; the other one is not fetched."""


class Named(NamedTuple):
    """The settings that name a model's two places, for errors to name them."""

    model: str
    tokenizer: str

    @property
    def advice(self) -> str:
        """Where a tokenizer is to be had."""
        return (
            f"set {self.tokenizer} to a directory or hub id that has one: NousResearch/Meta-Llama-3.1-8B for "
            "state-spaces/mamba3-*, EleutherAI/gpt-neox-20b for state-spaces/mamba-* and mamba2-*"
        )


OF_A_RUN = Named("model.uri", "model.tokenizer")
OF_A_TRAINING = Named("start_from", "tokenizer")

SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?", re.ASCII)


def model(uri: str, setting: str = OF_A_RUN.model) -> Path:
    """The local directory with config.json and weights of what `model.uri` names; `setting` is what an error names.

    Raises ModelError where there is no such place, it cannot be reached, or it holds no model.
    """
    for patterns in WEIGHTS:
        directory = _directory(setting, uri, (CONFIG, GENERATION, *patterns))
        if not (directory / CONFIG).exists():
            raise ModelError(f"{setting} = {uri!r}: there is no {CONFIG} in it: is it a model?")
        if any((directory / name).exists() for name in patterns[:2]):
            return directory
    raise ModelError(f"{setting} = {uri!r}: it holds no weights, neither {SAFETENSORS} nor {TORCH_BIN}")


def config(uri: str, setting: str = OF_A_RUN.model) -> Path:
    """The local config.json of a model, without its weights; `setting` is what an error names.

    Raises ModelError where there is none.
    """
    path = _directory(setting, uri, (CONFIG,)) / CONFIG
    if not path.exists():
        raise ModelError(f"{setting} = {uri!r}: there is no {CONFIG} in it: is it a model?")
    return path


def tokenizer(uri: str | None, model_uri: str, named: Named = OF_A_RUN) -> Path:
    """The local directory with the tokenizer.json of `model.tokenizer`, or where that is unset, of the model.

    Raises ModelError where there is none.
    """
    setting, place = (named.model, model_uri) if uri is None else (named.tokenizer, uri)
    directory = _directory(setting, place, (TOKENIZER, TOKENIZER_CONFIG, CHAT_TEMPLATE))
    if not (directory / TOKENIZER).exists():
        raise ModelError(f"{setting} = {place!r}: there is no {TOKENIZER} in it; {named.advice}")
    return directory


def cache() -> Path:
    """What may be deleted whenever nothing runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "longhaul"


def publish(path: Path, text: str) -> None:
    """Write a small file that appears whole or not at all. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(text.encode())
    Path(file.name).replace(path)


def _directory(setting: str, uri: str, patterns: Sequence[str]) -> Path:
    """The local directory of a place, into which the files of those names were brought where they exist."""
    scheme = SCHEME.match(uri)
    if scheme and scheme[0].lower() != "file://":
        return _from_store(setting, uri, patterns)
    directory = DEFAULT if uri == "default" else Path(uri[scheme.end() :] if scheme else uri).expanduser()
    if directory.is_dir():
        return directory
    if HUB_ID.fullmatch(uri):
        return _from_hub(setting, uri, patterns)
    raise ModelError(
        f"{setting} = {uri!r}: no such directory; give one, a URI such as s3://bucket/models/mine, or a hub id such as "
        "state-spaces/mamba3-siso-1.5b"
    )


def _from_hub(setting: str, uri: str, patterns: Sequence[str]) -> Path:
    repository, _, revision = uri.partition("@")
    problem = f"{setting} = {uri!r}: there is no such directory here, and as the id of a repository on the hub it"
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(patterns)))
    except GatedRepoError as error:
        raise ModelError(
            f"{problem} is gated: accept its terms on its page, and set HF_TOKEN wherever the run's processes start"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{problem} does not exist, or is private: correct it, or set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{problem} has no revision {revision!r}") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{problem} is not in the cache and cannot be fetched: check the network, HF_ENDPOINT and HF_HUB_OFFLINE, "
            "or copy its files here and give their directory"
        ) from error
    except Exception as error:  # its HTTP client, which has been another in each major version, and the disk
        raise ModelError(f"{problem} cannot be fetched ({type(error).__name__}: {error})") from error


def _from_store(setting: str, uri: str, patterns: Sequence[str]) -> Path:
    try:
        return _cached(uri.rstrip("/"), patterns)
    except FileNotFoundError as error:
        raise ModelError(f"{setting} = {uri!r}: there is nothing there, or no such bucket") from error
    except Exception as error:  # each file system has errors of its own
        raise ModelError(
            f"{setting} = {uri!r}: it cannot be brought to {cache()} ({type(error).__name__}: {error}); "
            "check the name, the network, the credentials in the environment and the room on the disk"
        ) from error


def _cached(uri: str, patterns: Sequence[str]) -> Path:
    """A directory whose name tells the remote files' versions, downloaded if there is none yet."""
    files, root = _filesystem(uri)
    listed = _listing(files, root, patterns)
    versions = [sorted((key, str(value)) for key, value in info.items()) for info in listed]
    digest = sha256(json.dumps([uri, versions]).encode()).hexdigest()
    target = cache() / "models" / f"{uri.rpartition('/')[2][:64]}-{digest[:24]}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(target):
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
                complete = _download(files, listed, Path(scratch) / "files")
                if _listing(files, root, patterns) != listed:
                    raise OSError("it was changed while it was read; start again")
                _move(complete, target)
    return target


def _filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    options: dict[str, Any] = {"use_listings_cache": False}
    if uri.startswith("s3") and (os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")):
        # As in pipeline/storage/objects.py: another store than AWS takes the bucket in the path.
        options["config_kwargs"] = {"s3": {"addressing_style": "path"}}
    files = fsspec.filesystem(uri.partition("://")[0], **options)
    return files, files._strip_protocol(uri)


def _listing(files: fsspec.AbstractFileSystem, root: str, patterns: Sequence[str]) -> list[dict[str, Any]]:
    found = [info for info in files.ls(root, detail=True) if info["type"] == "file"]
    return [info for info in found if any(fnmatchcase(_name(info), pattern) for pattern in patterns)]


def _name(info: dict[str, Any]) -> str:
    return str(info["name"]).rpartition("/")[2]


def _download(files: fsspec.AbstractFileSystem, listed: Sequence[dict[str, Any]], directory: Path) -> Path:
    directory.mkdir()
    for info in listed:
        files.get_file(info["name"], str(directory / _name(info)))
        if (size := (directory / _name(info)).stat().st_size) != info["size"]:
            raise OSError(f"{info['name']} came with {size:,} bytes of {info['size']:,}")
    return directory


def _move(complete: Path, target: Path) -> None:
    try:
        complete.rename(target)
    except OSError:
        if not target.is_dir():
            raise


@contextmanager
def _one_at_a_time(target: Path) -> Iterator[None]:
    """Other processes of this machine wait, so that one downloads for all."""
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    # Where a file system has no locks, each downloads, and the first to rename wins.
    with suppress(OSError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
