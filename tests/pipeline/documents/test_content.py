"""What is compressed is read as far as it is worth its size, and no further."""

import bz2
import gzip
import lzma
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
import zstandard

from configs.errors import DocumentError, TooLargeError
from configs.settings import InputSettings
from pipeline.documents.extract import Extractor
from pipeline.documents.sources import list_documents
from pipeline.schemas.document import Document
from tests.cpu_limit import cpu_limit

MIB = 1024 * 1024
PACK: dict[str, Any] = {
    **{".gz": gzip.compress, ".zst": zstandard.compress},
    **{".bz2": bz2.compress, ".xz": lzma.compress, ".lz4": lz4.frame.compress},
}
FILLERS = {"NULs": b"\0", "zeros": b"0", "short lines": b"a\n"}


def bomb(path: Path, filler: bytes, mib: int) -> Path:
    """So much content in a few bytes: 16 MiB of it, packed, again and again."""
    assert mib % 16 == 0
    member = PACK[path.suffix](filler * (16 * MIB // len(filler)))
    path.write_bytes(member * (mib // 16))
    assert path.stat().st_size < mib * 5000
    return path


def settings(path: Path, **values: Any) -> InputSettings:
    return InputSettings(sources=(str(path),), **values)


def go_through(path: Path, inputs: InputSettings) -> None:
    with closing(Extractor(inputs).open(Document(str(path), str(path), "e", path.stat().st_size))) as opened:
        deque(opened.pieces(), maxlen=0)


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("filler", FILLERS.values(), ids=FILLERS)
@pytest.mark.parametrize("name", ["a.txt", "a.html", "a"])
def test_a_bomb_of_two_gigabytes_is_a_failure_at_once(tmp_path: Path, name: str, filler: bytes, suffix: str) -> None:
    path = bomb(tmp_path / f"{name}{suffix}", filler, 2048)
    with cpu_limit(5), pytest.raises(DocumentError) as caught:
        go_through(path, settings(path))
    if filler != b"\0" or name == "a.html":
        assert isinstance(caught.value, TooLargeError)
        assert "more than 200 times its size, the limit that input.max_expansion sets" in str(caught.value)


@pytest.mark.parametrize("suffix", PACK)
def test_a_bomb_of_json_lines_is_one_failure_of_the_listing(tmp_path: Path, suffix: str) -> None:
    path = bomb(tmp_path / f"a.jsonl{suffix}", b"0", 2048)
    with cpu_limit(5):
        (document,) = list_documents(settings(path))
    assert document.error_class == "TooLargeError" and "input.max_expansion" in str(document.error_message)


@pytest.mark.parametrize("suffix", PACK)
def test_the_limit_is_the_users_and_small_content_has_none(tmp_path: Path, suffix: str) -> None:
    small, large = tmp_path / f"small{suffix}", bomb(tmp_path / f"large{suffix}", b"0", 16)
    small.write_bytes(PACK[suffix](b"0" * 4 * MIB))
    go_through(small, settings(small))
    with pytest.raises(TooLargeError):
        go_through(large, settings(large))
    go_through(large, settings(large, max_expansion=1_000_000))
