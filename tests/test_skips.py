"""What skips in CI fails there, but for want of a GPU or of ../shared."""

import os
import subprocess
import sys
from pathlib import Path

from tests.skips import ALLOWED

TESTS = """
import pytest
from tests.skips import ALLOWED

@pytest.mark.parametrize("reason", ALLOWED)
def test_allowed(reason):
    pytest.skip(reason)

@pytest.mark.skipif(True, reason="no Chromium")
def test_by_a_mark(): ...

@pytest.fixture
def browser():
    pytest.skip("no browser")

def test_by_a_fixture(browser): ...

@pytest.mark.xfail(strict=True)
def test_that_fails_as_it_should():
    assert False

def test_that_passes(): ...
"""
SKIPPED_WHOLE = "import pytest\npytest.importorskip('no_such_package')\n"


def run(folder: Path, ci: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_some.py").write_text(TESTS)
    (folder / "test_whole.py").write_text(SKIPPED_WHOLE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    options = ["-p", "tests.skips", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    environment = os.environ | {"CI": ci, "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", *options, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], env=environment)


def test_a_skip_in_ci_fails_and_says_why(tmp_path):
    done = run(tmp_path, ci="true")
    assert done.returncode == 1
    assert f" 1 passed, {len(ALLOWED)} skipped, 1 xfailed, 3 errors in " in done.stdout
    reasons = ("Skipped: no Chromium", "Skipped: no browser", "No module named 'no_such_package'")
    assert all(reason in done.stdout for reason in reasons)


def test_elsewhere_a_skip_is_a_skip(tmp_path):
    done = run(tmp_path, ci="")
    assert done.returncode == 0, done.stdout
    assert f" 1 passed, {len(ALLOWED) + 3} skipped, 1 xfailed in " in done.stdout
