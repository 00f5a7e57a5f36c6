"""What ends a run in its middle is said in a sentence, with how to resume."""

import importlib
from pathlib import Path

import pytest

from configs.errors import DeviceError, LedgerError, LonghaulError, StorageError
from jobs import exits
from pipeline.driver.prepare import Prepared

job = importlib.import_module("jobs.summarize")


@pytest.mark.parametrize("kind", [StorageError, LedgerError, DeviceError])
def test_a_run_that_cannot_go_on_says_why_and_how(
    kind: type[LonghaulError],
    small_model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def execute(prepared: Prepared) -> None:
        raise kind("the device failed under 3 actors in a row")

    (tmp_path / "a.txt").write_text("Some text.")
    monkeypatch.setattr(job, "execute", execute)
    monkeypatch.setattr(job.signal, "signal", lambda number, handler: None)
    # Loggers are configured once in a process, and this one's are the other tests' too.
    monkeypatch.setattr(job.logs, "configure", lambda: None)
    overrides = [f"input.sources=[{tmp_path}/a.txt]", f"output.uri={tmp_path}/out", f"model.uri={small_model}"]
    code = job.summarize(Path("configs/demo.yaml"), [*overrides, "run.id=night"])
    assert code == exits.CRASH
    told = capsys.readouterr().err
    assert told.startswith("stopped: the device failed under 3 actors in a row\nrun the same command again to resume")
