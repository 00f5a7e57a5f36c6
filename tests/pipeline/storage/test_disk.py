"""What was published on the local disk is there after a power cut."""

import errno
import os
import threading
from pathlib import Path

import pytest

from pipeline.storage import disk, objects


class Trace:
    """What is asked of the system, in order, done as asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        self._thread = threading.get_ident()
        fsync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda fd: (self._note("fsync", path_of(fd)), fsync(fd))[1])
        for name in ("replace", "link", "mkdir", "unlink"):
            monkeypatch.setattr(os, name, self._noting(name, getattr(os, name)))

    def _noting(self, name, call):
        return lambda *paths: (self._note(name, paths[-1]), call(*paths))[1]

    def _note(self, name: str, path: str) -> None:
        # An actor of an earlier test may still write its heartbeats.
        if threading.get_ident() == self._thread:
            self.calls.append((name, "temporary" if path.endswith(".tmp") else path))


def path_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


@pytest.fixture
def trace(monkeypatch) -> Trace:
    return Trace(monkeypatch)


@pytest.mark.parametrize(("write", "naming"), [(objects.publish, "replace"), (objects.create, "link")])
def test_the_file_is_synced_before_it_has_its_name_and_the_folder_after(tmp_path, trace, write, naming):
    path = str(tmp_path / "object")
    write(path, b"data")
    calls = [call for call in trace.calls if call != ("unlink", "temporary")]
    assert calls == [("fsync", "temporary"), (naming, path), ("fsync", str(tmp_path))]


def test_new_folders_are_synced_too(tmp_path, trace):
    path = str(tmp_path / "a" / "b" / "object")
    objects.publish(path, b"data")
    one, two = str(tmp_path / "a"), str(tmp_path / "a" / "b")
    assert trace.calls[:4] == [("mkdir", one), ("fsync", str(tmp_path)), ("mkdir", two), ("fsync", one)]
    assert trace.calls[-1] == ("fsync", two)


@pytest.mark.parametrize(("code", "is_fine"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_file_system_that_cannot_sync_folders_is_no_failing_disk(tmp_path, monkeypatch, code, is_fine):
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        if Path(path_of(descriptor)).is_dir():
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    if is_fine:
        disk.publish(str(tmp_path / "object"), b"data")
    else:
        with pytest.raises(OSError, match="Input/output"):
            disk.publish(str(tmp_path / "object"), b"data")
