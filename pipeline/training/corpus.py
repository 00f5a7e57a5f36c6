"""Training documents as token streams: plain text, and documents followed by the prompt and their summary."""

import io
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import zstandard

from configs.errors import ConfigError
from configs.training import DataSettings
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.prompts import template

SHORT_SUMMARY_CHARS = 300
MIN_SUMMARY_CHARS = 40
EXTRACTIVE_KEEP = 0.3
CHARS_PER_TOKEN = 3.5


@dataclass(frozen=True)
class Example:
    """One document for training."""

    tokens: np.ndarray
    """(L,) int32"""
    answer_tokens: int
    """How many of the last tokens are the answer, zero for plain text."""


@dataclass(frozen=True)
class Record:
    """One line of a training file."""

    id: str
    text: str
    summary: str | None
    query: str | None

    @property
    def instruction(self) -> str:
        if self.query:
            return self.query
        short = self.summary is not None and len(self.summary) < SHORT_SUMMARY_CHARS
        return template.ONE_SENTENCE_INSTRUCTION if short else template.DEFAULT_INSTRUCTION


class Corpus:
    """All records of a data directory, and an endless seeded stream of examples drawn from them."""

    def __init__(self, settings: DataSettings) -> None:
        self.settings = settings
        files = sorted(Path(settings.directory).glob("*.jsonl.zst"))
        if not files:
            raise ConfigError(f"data.directory = {settings.directory!r}: no *.jsonl.zst files there")
        self.held_out: list[Record] = []
        self._by_file: dict[str, list[Record]] = {}
        for path in files:
            name = path.name.removesuffix(".jsonl.zst")
            self._by_file[name] = []
            for record in _read(path):
                held_out = _unit_hash(record.id) < settings.held_out_share
                (self.held_out if held_out else self._by_file[name]).append(record)

    def sample_texts(self, total_chars: int, seed: int) -> Iterator[str]:
        """Texts and summaries from every file alike, for training a tokenizer."""
        rng = random.Random(seed)
        share = total_chars // len(self._by_file)
        for records in self._by_file.values():
            taken = 0
            for record in rng.sample(records, len(records)):
                text = record.text[: share // 8]
                yield text
                if record.summary:
                    yield record.summary
                taken += len(text)
                if taken > share:
                    break

    def examples(self, tokenizer: Tokenizer, seed: int) -> Iterator[Example]:
        """Endless: pairs and windows of plain text in the configured shares."""
        rng = random.Random(seed)
        longest = self.settings.max_pair_tokens * CHARS_PER_TOKEN
        pairs = {
            name: [record for record in records if record.summary and len(record.text) < longest]
            for name, records in self._by_file.items()
        }
        while True:
            if rng.random() < self.settings.pair_share:
                yield pair(self._draw(pairs, rng), tokenizer)
            else:
                yield self._window(self._draw(self._by_file, rng), tokenizer, rng)

    def _draw(self, by_file: dict[str, list[Record]], rng: random.Random) -> Record:
        names = [name for name, records in by_file.items() if records]
        weights = [self.settings.weights.get(name, 1.0) for name in names]
        return rng.choice(by_file[rng.choices(names, weights)[0]])

    def _window(self, record: Record, tokenizer: Tokenizer, rng: random.Random) -> Example:
        """A stretch of a document of log-uniform length, from anywhere in it."""
        limit = math.exp(rng.uniform(math.log(512), math.log(self.settings.max_text_tokens)))
        chars = int(limit * CHARS_PER_TOKEN)
        start = rng.randrange(max(1, len(record.text) - chars // 2))
        tokens = tokenize.tokens([record.text[start : start + chars]], tokenizer)
        return Example(np.append(tokens, np.int32(tokenizer.end_id)), 0)


def pair(record: Record, tokenizer: Tokenizer) -> Example:
    """A document, the prompt and the summary, just as the pipeline lays them out."""
    assert record.summary is not None
    document = tokenize.tokens([record.text], tokenizer)
    prompt = tokenizer.encode(template.render(record.instruction))
    answer = [*tokenizer.encode(record.summary.strip()), tokenizer.end_id]
    return Example(np.concatenate([document, np.array(prompt + answer, tokenize.TOKEN_DTYPE)]), len(answer))


def _read(path: Path) -> Iterator[Record]:
    with path.open("rb") as raw, zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(raw) as stream:
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            fields = json.loads(line)
            summary = fields.get("oneline") or fields.get("summary")
            # A summary that is copied from the text teaches copying: keep few of them.
            copied = fields.get("extractive") and _unit_hash(fields["id"] + "/extractive") > EXTRACTIVE_KEEP
            usable = summary and len(summary) >= MIN_SUMMARY_CHARS and not copied
            yield Record(fields["id"], fields["text"], summary if usable else None, fields.get("query"))


def _unit_hash(text: str) -> float:
    return int.from_bytes(sha256(text.encode()).digest()[:8]) / 2**64
