"""What README.md says is so: its commands exist, and its file tree names the files there are."""

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.errors import ConfigError
from configs.loader import Settings, load
from configs.settings import SummarizeConfig
from configs.training import TrainConfig

ROOT = Path(__file__).parents[1]
LAYERS = ("configs", "models", "pipeline", "jobs")
SETTINGS: dict[str, type[Settings]] = {"train": TrainConfig}
"""Of the jobs that take a config file; any other that does takes SummarizeConfig."""
WITHOUT_CONFIG = {"query", "report", "demo", "states", "prices", "sizing"}
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
TREE_LINE = re.compile(rf"^((?:{'|'.join(LAYERS)})/\S+)(?:\s{{2,}}(\S.*))?$", re.MULTILINE)
ENVIRONMENT = re.compile(r"[A-Z][A-Z0-9_]*=")


@pytest.fixture(scope="module")
def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def commands(text: str) -> Iterator[list[str]]:
    """Words of each command in a `console` block (after `$`) or `sh` block, continued lines joined, comments gone."""
    for language, block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            if language in ("console", "sh") and (language == "sh" or line.startswith("$ ")):
                words = shlex.split(line.removeprefix("$ "), comments=True)
                while words and ENVIRONMENT.match(words[0]):
                    words = words[1:]
                if words:
                    yield words


def wrong_make(words: list[str], makefile: str) -> str | None:
    """Why a `make` command of the README does not run, if so."""
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) \?=", makefile, re.MULTILINE))
    for word in words[1:]:
        name, assigns, _ = word.partition("=")
        if name not in (variables if assigns else targets):
            return f"{' '.join(words)}: the Makefile has no {name}"
    return None


def wrong_job(words: list[str], root: Path) -> str | None:
    """Why a `python -m jobs.X ...` command of the README does not run, if so."""
    place = words.index("-m")
    module, arguments = words[place + 1], words[place + 2 :]
    if importlib.util.find_spec(module) is None:
        return f"{' '.join(words)}: there is no module {module}"
    name = module.removeprefix("jobs.")
    if name in WITHOUT_CONFIG or {"-h", "--help"} & set(arguments):
        return None
    if not arguments:
        return f"{' '.join(words)}: a config file is missing"
    path, overrides = root / arguments[0], [word for word in arguments[1:] if "=" in word]
    try:
        load(SETTINGS.get(name, SummarizeConfig), path, overrides)
    except ConfigError as error:
        return f"{' '.join(words)}: {error}"
    return None


def wrong_commands(text: str, makefile: str, root: Path) -> list[str]:
    found = []
    for words in commands(text):
        if words[0] == "make":
            found.append(wrong_make(words, makefile))
        elif "-m" in words and words[words.index("-m") + 1].startswith("jobs."):
            found.append(wrong_job(words, root))
    return [reason for reason in found if reason]


def tree(text: str) -> dict[str, str]:
    """Path to clause, from the fenced blocks whose lines begin with a path of a layer."""
    blocks = [block for language, block in FENCE.findall(text) if language in ("", "text")]
    return {path: clause for block in blocks for path, clause in TREE_LINE.findall(block)}


def wrong_tree(text: str, tracked: set[str]) -> dict[str, list[str]]:
    named = tree(text)
    return {
        "in the tree, not in git": sorted(named.keys() - tracked),
        "in git, not in the tree": sorted(tracked - named.keys()),
        "without a clause": sorted(path for path, clause in named.items() if not clause),
    }


def tracked_files() -> set[str]:
    listing = subprocess.run(["git", "ls-files", "-z", *LAYERS], cwd=ROOT, capture_output=True, text=True, check=True)
    return {path for path in listing.stdout.split("\0") if path and not path.endswith("/__init__.py")}


def test_commands_run(readme):
    assert wrong_commands(readme, (ROOT / "Makefile").read_text(encoding="utf-8"), ROOT) == []


def test_the_file_tree_names_exactly_the_files_in_git(readme):
    assert not any((wrong := wrong_tree(readme, tracked_files())).values()), wrong


SCRATCH = """
```console
$ make demo SOURCES=docs/   # your own
demo finished
$ AWS_PROFILE=me python -m jobs.train configs/train_default.yaml \\
    steps=4 data.weights={}
$ python -m jobs.report output --run night
```
```sh
make deom
make demo SUORCES=x
python -m jobs.tarin configs/train_default.yaml
.venv/bin/python -m jobs.train configs/missing.yaml
python -m jobs.train configs/train_default.yaml setps=4
python -m jobs.train
```
```python
make nothing_of_this
```
```
configs/errors.py     every error
configs/gone.py       was here
jobs/train.py
README.md             this page
```
"""


def test_the_checks_find_what_is_wrong_in_a_readme():
    wrong = wrong_commands(SCRATCH, "demo: setup  ## x\nSOURCES ?=\n", ROOT)
    reasons = ["no deom", "no SUORCES", "no module jobs.tarin", "missing.yaml", "did you mean steps?", "is missing"]
    assert len(wrong) == len(reasons)
    assert all(reason in line for reason, line in zip(reasons, wrong, strict=True))


def test_the_checks_find_what_is_wrong_in_a_tree():
    assert list(wrong_tree(SCRATCH, {"configs/errors.py", "jobs/train.py", "models/new.py"}).values()) == [
        ["configs/gone.py"],
        ["models/new.py"],
        ["jobs/train.py"],
    ]
