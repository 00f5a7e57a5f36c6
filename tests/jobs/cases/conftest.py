"""The public cases, each as `jobs.extract --json` shows it; one command for all of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.warm import Warm

CASES = Path(__file__).parents[4] / "shared" / "cases"
Read = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="session")
def shown(tmp_path_factory) -> dict[str, dict[str, Any]]:
    """By the path below the folder of the cases, behind it `#` and the record's or member's name."""
    if not CASES.is_dir():
        pytest.skip("../shared is absent")
    folders = [str(folder) for folder in sorted(CASES.iterdir())]
    with Warm(tmp_path_factory.mktemp("warm")) as process:
        lines = process("jobs.extract", [*folders, "--json"]).stdout.splitlines()
    return {line["document_id"].removeprefix(f"{CASES}/"): line for line in map(json.loads, lines)}


@pytest.fixture
def case(shown) -> Read:
    """What is shown of one case."""
    return lambda name: shown[name]
