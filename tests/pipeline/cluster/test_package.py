"""What goes with a submitted job is the code that a run needs, and its settings."""

import subprocess
import sys
from pathlib import Path

from pipeline.cluster.package import ROOT, packed, sizes

CODE = {"configs", "jobs", "models", "pipeline"}


def test_the_code_goes_and_nothing_else():
    with packed({"settings.yaml": "a: 1\n"}) as folder:
        found = sizes(folder)
        assert {name.partition("/")[0] for name in found} == CODE | {"settings.yaml"}
        listed = subprocess.run(
            ["git", "ls-files", *sorted(CODE)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        tracked = {name for name in listed.stdout.splitlines() if not name.endswith(".md")}
        assert tracked - {name for name in tracked if not (ROOT / name).exists()} <= set(found)
        assert not [name for name in found if "__pycache__" in name or name.endswith(".md")]
        assert (folder / "settings.yaml").read_text() == "a: 1\n"
    assert not folder.exists()


def test_a_job_starts_from_it_alone(tmp_path):
    with packed({}) as folder:
        program = [sys.executable, "-c", "import jobs.summarize, jobs; print(jobs.__file__)"]
        done = subprocess.run(program, cwd=folder, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(str(folder))


def test_folders_that_ignore_files_name_are_not_walked(tmp_path: Path):
    for name in ("jobs/a.py", ".venv/lib/b.py", "tests/c.py", "deep/.keep/d.py", "deep/e.log", "notes.md"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "root/.gitignore").write_text(".venv/\n")
    (tmp_path / "root/.rayignore").write_text("/tests/\n*.log\n*.md\n!deep/keep.md\n")
    with packed({}, tmp_path / "root") as folder:
        assert set(sizes(folder)) == {"jobs/a.py", "deep/.keep/d.py"}


def test_an_image_without_ignore_files_goes_as_it_is(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a.py").touch()
    with packed({"b.yaml": ""}, tmp_path / "root") as folder:
        assert set(sizes(folder)) == {"a.py", "b.yaml"}
