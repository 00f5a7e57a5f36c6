"""A document of any size is read in the memory that a small one takes."""

import json
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

ROOT = Path(__file__).parents[3]
SMALL, LARGE = 4_000_000, 64_000_000
READ = """
import json, sys, threading
from pathlib import Path
from configs.settings import InputSettings
from models.weights.tokenizer import Tokenizer
from pipeline.schemas.document import Document
from pipeline.documents.token_feed import TokenFeed

uri, tokenizer = sys.argv[1:]
news, tokens = threading.Event(), 0
inputs = InputSettings(sources=(uri,))
feed = TokenFeed(Document(uri, uri, "etag", 0), inputs, Tokenizer.load(Path(tokenizer)), news.set)
while True:
    news.clear()
    ended, count = feed.ended, feed.ready
    if count:
        tokens += len(feed.take(min(count, 2048)))
    elif ended:
        break
    else:
        news.wait()
feed.close()
status = Path("/proc/self/status").read_text()
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
print(json.dumps({"tokens": tokens, "peak_kb": peak}))
"""


def write_text(path: Path, num_bytes: int) -> None:
    """Real words, no two lines alike."""
    words = " ".join(topics.values()).split()
    with path.open("wb") as file:
        number = 0
        while file.tell() < num_bytes:
            start = number * 37 % len(words)
            file.write(f"{number} {' '.join(words[start : start + 60])}\n".encode())
            number += 1


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A quick one: words."""
    words = sorted({word for text in topics.values() for word in text.split()})
    backend = Backend(
        models.WordLevel({word: index for index, word in enumerate(["<|endoftext|>", "?", *words])}, unk_token="?")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    (tmp_path / "tokenizer.json").write_text(backend.to_str())
    return tmp_path


def read(path: Path, tokenizer: Path) -> dict[str, int]:
    command = [sys.executable, "-c", READ, str(path), str(tokenizer)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the peak of a process's memory by itself")
def test_a_large_document_takes_no_more_memory_than_a_small_one(tmp_path: Path, tokenizer: Path) -> None:
    found = []
    for size in (SMALL, LARGE):
        path = tmp_path / f"{size}.txt"
        write_text(path, size)
        found.append(read(path, tokenizer))
    small, large = found
    assert large["tokens"] > 15 * small["tokens"]
    assert large["peak_kb"] < 1.05 * small["peak_kb"], found
