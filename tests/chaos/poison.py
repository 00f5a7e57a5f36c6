"""`gs://`, here the local disk with one more thing: an actor that opens a document there dies at once.

It stands for a document on which native code crashes in the actor and nowhere else. Processes that find it installed,
on PYTHONPATH, open it as fsspec opens any other.
"""

from pathlib import Path

FILE_SYSTEM = """
import os
import signal

from fsspec.implementations.local import LocalFileSystem

class Poison(LocalFileSystem):
    protocol = "gs"

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("gs://"))

    def unstrip_protocol(self, name):
        return "gs://" + self._strip_protocol(name)

    def _open(self, path, mode="rb", **options):
        with open("/proc/self/cmdline") as title:
            if "SummarizeStage" in title.read():
                os.kill(os.getpid(), signal.SIGKILL)
        return super()._open(path, mode, **options)
"""


def install(site: Path) -> None:
    """As a package that brings a file system does."""
    about = site / "poison-1.dist-info"
    about.mkdir(parents=True)
    (site / "poison.py").write_text(FILE_SYSTEM)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: poison\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[fsspec.specs]\ngs = poison:Poison\n")
