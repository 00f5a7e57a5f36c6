"""What is run first on a GPU needs no more than a bare PyTorch image and two small packages."""

import ast
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OURS = ("benchmarks", "configs", "models", "pipeline")
BARE = {"numpy", "pydantic", "structlog", "torch", "triton", "typing_extensions"}


def modules_of(name: str, seen: set[str]) -> Iterator[str]:
    """Others' modules that one of ours imports when it is loaded, itself or through others of ours."""
    if name in seen:
        return
    seen.add(name)
    path = ROOT / Path(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not path.exists():
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Import | ast.ImportFrom) or node.col_offset:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            names = [alias.name for alias in node.names]
        for each in names:
            top = each.partition(".")[0]
            if top in OURS:
                yield from modules_of(each, seen)
            elif top not in sys.stdlib_module_names:
                yield top


@pytest.mark.parametrize("program", ["benchmarks.first_light", "benchmarks.gpu"])
def test_programs_for_a_gpu_need_torch_triton_pydantic_and_structlog_alone(program):
    needed = set(modules_of(program, set()))
    assert needed <= BARE
    assert "torch" in needed and all(find_spec(name) for name in needed)
