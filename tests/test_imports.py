"""The shape that the folders promise: configs <- models <- pipeline <- jobs, with Ray at the edge."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("configs", "models", "pipeline", "jobs")
"""Each may import itself and those before it."""
RAY_FILES = {
    *(f"pipeline/cluster/{name}.py" for name in ("connection", "mailbox", "node", "preemption", "room", "submitted")),
    *(f"pipeline/driver/{name}.py" for name in ("dataset", "metrics", "pool")),
    "pipeline/training/workers.py",
}
FOLDERS = {
    "models": (("transfer",), ("state",), ("mamba", "engine"), ("hybrid",), ("weights", "kernels"), ("backends",)),
    "pipeline": (
        ("storage", "prompts", "billing", "telemetry", "cluster"),
        ("schemas",),
        ("formats", "ledger", "sentences"),
        ("documents",),
        ("reports",),
        ("states", "planning", "training"),
        ("actor", "evaluation"),
        ("driver",),
    ),
}
"""By level: each folder may import itself and those of the levels before its own. A module beside them is one."""
NAMELESS = {"utils", "util", "common", "helpers", "helper", "base", "misc"}

FILES = sorted(path.relative_to(ROOT) for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def imported(source: str, package: str) -> Iterator[str]:
    """Dotted names of every module that a source imports, inside functions and `if TYPE_CHECKING` too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{package}.{node.module or ''}" if node.level else node.module or ""


def tops(path: Path) -> set[str]:
    source = (ROOT / path).read_text(encoding="utf-8")
    return {name.partition(".")[0] for name in imported(source, path.parts[0])}


def test_imports_are_found_wherever_they_stand():
    source = "import a.b, c as d\nfrom e.f import g\nfrom . import h\ndef late():\n    from i import j\n"
    assert set(imported(source, "jobs")) == {"a.b", "c", "e.f", "jobs.", "i"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_one_way(path):
    later = LAYERS[LAYERS.index(path.parts[0]) + 1 :]
    assert not tops(path) & {*later, "tests", "benchmarks"}


def folders_imported(path: Path) -> set[str]:
    """Of the same layer."""
    source = (ROOT / path).read_text(encoding="utf-8")
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == path.parts[0]:
            # `from pipeline import x` would be a module of the layer itself.
            found |= {(node.module or "").split(".")[1]} if "." in (node.module or "") else {""}
    return found


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parts[0] in FOLDERS and path.parts[1] != "__init__.py"], ids=str
)
def test_folders_import_only_those_below(path):
    folder, levels = path.parts[1].removesuffix(".py"), FOLDERS[path.parts[0]]
    level = next(level for level, names in enumerate(levels) if folder in names)
    assert folders_imported(path) <= {folder, *(name for names in levels[:level] for name in names)}


@pytest.mark.parametrize("layer", FOLDERS)
def test_nothing_lies_beside_the_folders(layer):
    found = {path.parts[1].removesuffix(".py") for path in FILES if path.parts[0] == layer}
    assert found == {"__init__", *sum(FOLDERS[layer], ())}


def test_ray_is_imported_in_few_files():
    assert {path.as_posix() for path in FILES if "ray" in tops(path)} <= RAY_FILES


def test_settings_need_neither_torch_nor_ray():
    heavy = {"torch", "ray"}
    assert not [path for path in FILES if path.parts[0] == "configs" and tops(path) & heavy]


def test_each_layer_is_a_package_and_tests_are_none():
    assert all((ROOT / layer / "__init__.py").exists() for layer in LAYERS)
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_no_job_bears_the_name_of_a_standard_module():
    assert not {path.stem for path in FILES if path.parts[0] == "jobs"} & (sys.stdlib_module_names - {"__init__"})


def test_every_file_is_about_something():
    tests = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py")]
    assert not [path for path in [*FILES, *tests] if NAMELESS & {part.removesuffix(".py") for part in path.parts}]
