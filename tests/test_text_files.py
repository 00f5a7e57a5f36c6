"""Text on disk is UTF-8 whatever the locale: no file is opened in the encoding of the machine that happens to run."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("configs", "models", "pipeline", "jobs", "benchmarks", "docs", "infra")
FILES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
TEXT_CALLS = {"read_text", "write_text"}


def without_encoding(source: str) -> Iterator[int]:
    """Lines that open text and leave its encoding to the locale."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and opens_text(node)
            and not any(each.arg == "encoding" for each in node.keywords)
        ):
            yield node.lineno


def opens_text(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Attribute) and call.func.attr in TEXT_CALLS:
        return True
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    modes = [each.value for each in (*call.args, *(word.value for word in call.keywords)) if is_mode(each)]
    is_builtin = isinstance(call.func, ast.Name)
    return name == "open" and ("b" not in modes[0] if modes else is_builtin)


def is_mode(argument: ast.expr) -> bool:
    value = argument.value if isinstance(argument, ast.Constant) else None
    return isinstance(value, str) and 0 < len(value) <= 3 and set(value) <= set("rwxab+t")


def test_what_leaves_the_encoding_to_the_locale_is_found():
    source = 'p.read_text()\np.write_text(x)\nopen(p)\np.open("w")\nopen(p, mode="r")\n'
    fine = 'p.read_text("utf-8", encoding="utf-8")\nopen(p, "rb")\np.open("xb")\nstore.open(p)\np.read_bytes()\n'
    assert list(without_encoding(source)) == [1, 2, 3, 4, 5]
    assert not list(without_encoding(fine))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_file_names_the_encoding_of_its_text(path):
    assert not list(without_encoding((ROOT / path).read_text(encoding="utf-8")))
