"""What a submitted job takes along: this project's code beside the job's settings, in a folder of its own."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from pathspec import GitIgnoreSpec

ROOT = Path(__file__).parents[2]
IGNORE_FILES = (".gitignore", ".rayignore")


@contextmanager
def packed(files: Mapping[str, str], root: Path = ROOT) -> Iterator[Path]:
    """A copy of `root` without what its ignore files name, with `files` (texts by name) in it; gone in the end."""
    ignored = _ignored(root)

    def left_behind(folder: str, names: list[str]) -> list[str]:
        below = Path(folder).relative_to(root)
        return [name for name in names if ignored.match_file(_named(root, below / name))]

    with TemporaryDirectory(prefix="longhaul-job-") as scratch:
        folder = Path(scratch) / "job"
        shutil.copytree(root, folder, ignore=left_behind)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        yield folder


def _ignored(root: Path) -> GitIgnoreSpec:
    """Of the image, which has no such files, nothing."""
    texts = [(root / name).read_text(encoding="utf-8") for name in IGNORE_FILES if (root / name).exists()]
    return GitIgnoreSpec.from_lines([line for text in texts for line in text.splitlines()] + list(IGNORE_FILES))


def _named(root: Path, below: Path) -> str:
    """As patterns of folders match it."""
    return f"{below.as_posix()}/" if (root / below).is_dir() else below.as_posix()


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file below a folder, by its path there."""
    found = (Path(where) / name for where, _, names in os.walk(folder) for name in names)
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(found)}
