"""Text in pictures, by tesseract where it is installed (https://tesseract-ocr.github.io)."""

import os
import shutil
import subprocess
import time
from functools import cache

import numpy as np
from numpy.typing import NDArray

from configs.errors import TimeLimitError
from configs.settings import InputSettings

PROGRAM = "tesseract"
MOST_LANGUAGES = 4
REMEDY = "install tesseract with the languages of the documents where documents are read, and set input.ocr=auto"


def is_on(settings: InputSettings) -> bool:
    """Whether pictures are read."""
    return settings.ocr == "auto" and version() is not None


def made_by(settings: InputSettings) -> str:
    """What the text of pictures depends on; empty if none are read."""
    return f"tesseract {version()} {_languages()}" if is_on(settings) else ""


@cache
def version() -> str | None:
    """Of tesseract; None if it is not installed."""
    if shutil.which(PROGRAM) is None:
        return None
    lines = _said("--version").splitlines()
    return lines[0].split()[-1] if lines and lines[0].split() else None


class Reader:
    """Reads the pictures of one document, for as long as a document may take."""

    def __init__(self, settings: InputSettings) -> None:
        self._limit = settings.max_document_seconds
        self._left = self._limit

    def text(self, picture: NDArray[np.uint8]) -> str:
        """Of a gray picture; empty if there is none or tesseract fails. Raises TimeLimitError."""
        start = time.monotonic()
        try:
            run = subprocess.run(
                [PROGRAM, "stdin", "stdout", "-l", _languages()],
                input=_pgm(picture),
                capture_output=True,
                timeout=max(self._left, 1),
                env=_environment(),
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TimeLimitError(
                f"Reading the pictures of the document took more than {self._limit:g} s, the limit that "
                "input.max_document_seconds sets."
            ) from error
        finally:
            self._left -= time.monotonic() - start
        return run.stdout.decode("utf-8", "replace").replace("\f", "").strip() if run.returncode == 0 else ""


@cache
def _languages() -> str:
    """Those that are installed, as tesseract wants them; each makes it slower."""
    found = [line.strip() for line in _said("--list-langs").splitlines()[1:]]
    chosen = [name for name in found if name and name not in ("osd", "equ", "snum")]
    if "eng" in chosen:
        chosen = ["eng", *(name for name in chosen if name != "eng")]
    return "+".join(chosen[:MOST_LANGUAGES]) or "eng"


def _said(option: str) -> str:
    try:
        run = subprocess.run([PROGRAM, option], capture_output=True, timeout=60, env=_environment(), check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (run.stdout or run.stderr).decode("utf-8", "replace")


def _environment() -> dict[str, str]:
    """One thread: a reader has one CPU."""
    return os.environ | {"OMP_THREAD_LIMIT": "1"}


def _pgm(picture: NDArray[np.uint8]) -> bytes:
    height, width = picture.shape
    return b"P5 %d %d 255\n" % (width, height) + picture.tobytes()
