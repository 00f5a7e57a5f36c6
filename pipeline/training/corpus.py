"""Training documents as token streams: plain text, and documents followed by the prompt and their summary."""

import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import structlog

from configs.errors import ConfigError
from configs.training import DataSettings
from models.mamba.trainer import Example
from models.weights.tokenizer import Tokenizer
from pipeline.documents import tokenize
from pipeline.prompts import template
from pipeline.storage import objects
from pipeline.training import summarized

log = structlog.get_logger()

SUFFIXES = (".jsonl", ".jsonl.zst", ".jsonl.gz")
SUMMARIES = ("oneline", "summaries", "summary", "references", "reference")
"""Fields with a summary or a list of them, the first that a line has counts."""
QUERIES = ("query", "instruction")
SHORT_SUMMARY_CHARS = 300
EXTRACTIVE_KEEP = 0.3
CHARS_PER_TOKEN = 3.5


@dataclass(frozen=True)
class Record:
    """One line of a training file."""

    id: str
    text: str
    summaries: tuple[str, ...]
    """Those that people wrote; there may be none."""
    query: str | None

    def instruction(self, summary: str) -> str:
        """What that summary answers."""
        if self.query:
            return self.query
        is_short = len(summary) < SHORT_SUMMARY_CHARS
        return template.ONE_SENTENCE_INSTRUCTION if is_short else template.DEFAULT_INSTRUCTION


class Corpus:
    """All records of a data directory, and endless sequences of examples drawn from them."""

    def __init__(self, settings: DataSettings) -> None:
        """Reads all of them. Raises ConfigError where there are none, or a file is not what it should be."""
        self.settings = settings
        self.held_out: list[Record] = []
        self._by_file: dict[str, list[Record]] = {}
        digest = sha256()
        for name, uri in _files(settings):
            self._by_file[name] = []
            for record in _records(uri, settings.min_summary_chars):
                digest.update(json.dumps([name, record.id, len(record.text), record.summaries]).encode())
                held_out = _unit_hash(record.id) < settings.held_out_share
                (self.held_out if held_out else self._by_file[name]).append(record)
        self.digest = digest.hexdigest()
        """Of all that is drawn from."""
        longest = settings.max_pair_tokens * CHARS_PER_TOKEN
        self._pairs = {
            name: [record for record in records if record.summaries and len(record.text) < longest]
            for name, records in self._by_file.items()
        }
        self._check()

    def sample_texts(self, total_chars: int, seed: int) -> Iterator[str]:
        """Texts and summaries from every file alike, for training a tokenizer."""
        rng = random.Random(seed)
        share = total_chars // len(self._by_file)
        for records in self._by_file.values():
            taken = 0
            for record in rng.sample(records, len(records)):
                text = record.text[: share // 8]
                yield text
                yield from record.summaries[:1]
                taken += len(text)
                if taken > share:
                    break

    def example(self, tokenizer: Tokenizer, seed: int, stream: int, number: int) -> Example:
        """The document number `number` of a stream: a pair or a window of plain text, in the configured shares.

        It follows from the arguments alone, so that a training resumes with the documents that it would have read.
        """
        rng = random.Random(f"{seed}/{stream}/{number}")
        if rng.random() < self.settings.pair_share:
            record = self._draw(self._pairs, rng)
            return pair(record, rng.choice(record.summaries), tokenizer, self.settings.preamble)
        return self._window(self._draw(self._by_file, rng), tokenizer, rng)

    def _check(self) -> None:
        num_pairs, settings = sum(map(len, self._pairs.values())), self.settings
        log.info(
            "training_data",
            files=len(self._by_file),
            documents=sum(map(len, self._by_file.values())),
            pairs=num_pairs,
            held_out=len(self.held_out),
        )
        if settings.pair_share and not num_pairs:
            raise ConfigError(
                f"data.directory = {settings.directory!r} holds no document with a summary of at least "
                f"data.min_summary_chars = {settings.min_summary_chars} characters and at most data.max_pair_tokens = "
                f"{settings.max_pair_tokens} tokens: change those, or set data.pair_share=0"
            )
        if not any(self._by_file.values()):
            raise ConfigError(f"data.directory = {settings.directory!r} holds no documents to train on")

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


def pair(record: Record, summary: str, tokenizer: Tokenizer, preamble: str | None = None) -> Example:
    """A document, the prompt and one of its summaries, just as a run lays them out."""
    before = [] if preamble is None else [tokenizer.begin_id, *tokenizer.encode(preamble)]
    document = tokenize.tokens([record.text], tokenizer)
    prompt = tokenizer.encode(template.render(record.instruction(summary)))
    answer = [*tokenizer.encode(summary.strip()), tokenizer.end_id]
    parts = [np.array(part, tokenize.TOKEN_DTYPE) for part in (before, document, prompt + answer)]
    return Example(np.concatenate(parts), len(answer))


def _files(settings: DataSettings) -> list[tuple[str, str]]:
    """Name without suffix, by which data.weights names it, and URI of each file that is drawn from."""
    given = f"data.directory = {settings.directory!r}"
    found = [
        (uri.rpartition("/")[2].removesuffix(suffix), uri)
        for uri in objects.list_files(settings.directory)
        for suffix in SUFFIXES
        if uri.endswith(suffix)
    ]
    if not found:
        raise ConfigError(f"{given}: there is no file there that ends in {', '.join(SUFFIXES)}")
    names = [name for name, _ in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"{given} holds several files of the name {twice[0]!r}: rename one")
    if unknown := sorted(settings.weights.keys() - set(names)):
        raise ConfigError(f"data.weights names {unknown[0]!r}, but {given} holds {', '.join(names)}")
    return [(name, uri) for name, uri in found if settings.weights.get(name, 1.0)]


def _records(uri: str, min_summary_chars: int) -> Iterator[Record]:
    for number, fields in enumerate(summarized.lines(uri), start=1):
        if not all(isinstance(fields.get(name), str) and fields[name] for name in ("id", "text")):
            raise ConfigError(f"{uri}, object {number}: `id` and `text` are needed, both strings that are not empty")
        # A summary that is copied from the text teaches copying: keep few of them.
        copied = fields.get("extractive") and _unit_hash(fields["id"] + "/extractive") > EXTRACTIVE_KEEP
        summaries = [] if copied else _summaries(fields, f"{uri}, object {number}")
        query = next((str(fields[name]) for name in QUERIES if fields.get(name)), None)
        usable = tuple(summary for summary in summaries if len(summary) >= min_summary_chars)
        yield Record(fields["id"], fields["text"], usable, query)


def _summaries(fields: Mapping[str, Any], where: str) -> Iterable[str]:
    name = next((name for name in SUMMARIES if fields.get(name)), None)
    if name is None:
        return ()
    given = [fields[name]] if isinstance(fields[name], str) else fields[name]
    if not isinstance(given, list) or not all(isinstance(summary, str) for summary in given):
        raise ConfigError(f"{where}: `{name}` must be a string or a list of strings")
    return given


def _unit_hash(text: str) -> float:
    return int.from_bytes(sha256(text.encode()).digest()[:8]) / 2**64
