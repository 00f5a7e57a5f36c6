"""A process that runs one job after another as `python -m` does, with the imports and the Ray of those before.

A job of its own starts a Ray of its own, and imports torch in each of its processes, which takes longer than most
tests' work. Everything else is as there: arguments, environment, files for what it prints, exit code.
"""

import json
import logging
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
NEED_RAY = {"jobs.summarize"}
NUM_CPUS = 4
"""For an actor, two readers, and one to spare."""


class Warm:
    """The other end. Leaving the context ends the process and its Ray."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            # Closes its standard input, which is its end.
            with self._process:
                pass

    def __call__(self, module: str, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        files = {name: str(self._folder / name) for name in ("stdout", "stderr")}
        call = {"module": module, "arguments": list(arguments), "environment": dict(os.environ), **files}
        process.stdin.write(json.dumps(call) + "\n")
        process.stdin.flush()
        code = process.stdout.readline()
        texts = {name: Path(file).read_text(errors="replace") for name, file in files.items()}
        assert code, f"the process ended:\n{texts['stderr']}"
        return subprocess.CompletedProcess([module, *arguments], json.loads(code), **texts)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            with (self._folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.jobs.warm"],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
        return self._process


def serve() -> None:
    """Run what each line of standard input asks for, and answer with its exit code."""
    calls, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    redirect(0, os.devnull, os.O_RDONLY)
    redirect(1, os.devnull)
    for line in calls:
        call = json.loads(line)
        os.environ.clear()
        os.environ.update(call["environment"])
        if call["module"] in NEED_RAY:
            start_ray()
        for number, name in ((1, "stdout"), (2, "stderr")):
            redirect(number, call[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        answers.write(f"{run(call['module'], call['arguments'])}\n")


def start_ray() -> None:
    """Once. Its workers keep the environment of now."""
    import ray

    if not ray.is_initialized():
        os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
        ray.init("local", num_cpus=NUM_CPUS, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)


def redirect(number: int, file: str, flags: int = os.O_WRONLY) -> None:
    opened = os.open(file, flags, 0o644)
    os.dup2(opened, number)
    os.close(opened)


def run(module: str, arguments: list[str]) -> Any:
    """The exit code of `python -m module`."""
    sys.argv = [module, *arguments]
    # Of the run before, which imported it.
    sys.modules.pop(module, None)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    serve()
