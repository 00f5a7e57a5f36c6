"""`python -m jobs.probe [MODEL] --output DIR`: what a model still knows after very many tokens.

Recall: a sentence with a secret word is put into a document at several depths, and asked for at several lengths. Loss
by position: whether the document is expected as well after a million tokens as at first, and what the carried state is
worth.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
import torch
import typer
from rich.console import Console
from rich.table import Table

from configs.errors import ConfigError
from configs.settings import EngineSettings, InputSettings, ModelSettings
from jobs import command
from jobs.sizing import number_of
from models.backends import device as devices
from models.backends import kernels, loading
from models.backends.recurrent import RecurrentBackend
from models.mamba.language_model import MambaLM
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.evaluation import needles, recall
from pipeline.evaluation.curve import curve, short
from pipeline.evaluation.haystack import Haystack
from pipeline.evaluation.heat_map import Panel, heat_map, nats
from pipeline.evaluation.recall import Recall, Row
from pipeline.reports.quantities import duration
from pipeline.telemetry import logs
from pipeline.training.positions import CARRIED, FORGETTING, MEMORY_TOKENS, loss_by_position

log = structlog.get_logger()

SAMPLE = "sample://python-reference/"
LEAST_LENGTH = 100
LEAST_TRIALS = 4
LOG_SECONDS = 10.0

Model = Annotated[str, typer.Argument(metavar="[MODEL]", help="As `model.uri`; `default` is the shipped model.")]
Output = Annotated[
    Path,
    typer.Option(file_okay=False, help="Folder for recall.parquet, recall.svg, loss.parquet, loss.svg, table.txt."),
]
Lengths = Annotated[str, typer.Option(help="Tokens of the document, separated by commas; 16K is 16,000.")]
Depths = Annotated[str, typer.Option(help="Where needles lie: percent of the length, separated by commas.")]
Trials = Annotated[
    int, typer.Option(help=f"Needles at each place: {LEAST_TRIALS} to 8, each with another word, or a multiple of 8.")
]
Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--document",
        metavar="SOURCE",
        help="File, directory or URI of any format; may be repeated. Documents are laid end to end, and again from the "
        f"first where they are too short. Default: {SAMPLE}.",
    ),
]
TokenizerUri = Annotated[str | None, typer.Option("--tokenizer", metavar="URI", help="As `model.tokenizer`.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="auto uses a GPU if there is one.")]
Loss = Annotated[bool, typer.Option("--loss/--no-loss", help="Whether to measure the loss by position too.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the needles.")]


def probe(
    output: Output,
    model: Model = "default",
    lengths: Lengths = "1K,4K,16K,64K",
    depths: Depths = "0,25,50,75,100",
    trials: Trials = 8,
    document: Sources = None,
    tokenizer: TokenizerUri = None,
    device: Device = "auto",
    loss: Loss = True,
    seed: Seed = 0,
) -> None:
    """Measure what a model recalls of a needle, by length and depth, as a table, a heat map and Parquet.

    The document is read once up to the longest length; a needle is put into forks of its state, each of which reads on,
    so that the work grows linearly with the longest length. A needle counts as found where the answer to a question
    names its word; as picked where its word gained more likelihood by it than any of seven decoys, which happens by
    chance once in eight.
    """
    logs.configure()
    if trials < LEAST_TRIALS or (trials > len(needles.VALUES) and trials % len(needles.VALUES)):
        raise ConfigError(f"--trials {trials}: give a number from {LEAST_TRIALS} to 8, or a multiple of 8.")
    places = recall.Places(_lengths(lengths), _depths(depths))
    subject = _Subject.of(model, tokenizer, device)
    haystack = Haystack.of(document or [SAMPLE], InputSettings(sources=("-",)), subject.tokenizer, max(places.lengths))
    rows = _recall(subject, haystack, places, needles.draw(trials, seed))
    output.mkdir(parents=True, exist_ok=True)
    shown = _write_recall(rows, places, output, model)
    if loss:
        shown += _write_loss(subject, haystack, output, model)
    with (output / "table.txt").open("w", encoding="utf-8") as stored:
        for console in (Console(), Console(width=100, file=stored)):
            for each in shown:
                console.print(each)


@dataclass(frozen=True)
class _Subject:
    """What is probed."""

    model: MambaLM
    kernels: kernels.Choice
    tokenizer: Tokenizer
    device: str

    @staticmethod
    def of(uri: str, tokenizer: str | None, device: str) -> "_Subject":
        """Raises ModelError."""
        if device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"--device {device}: give auto, cpu or cuda.")
        device = devices.kind_of(device)
        dtype = getattr(torch, ModelSettings().dtype_on(device))
        found = Tokenizer.find(tokenizer, uri)
        model = loading.recurrent(checkpoint.resolve(uri), dtype, device)
        found.check_fits(model.config.padded_vocab_size)
        return _Subject(model, kernels.choose(model), found, device)


@dataclass
class _Progress:
    """Tokens of documents as they are read, in the log every few seconds."""

    total: int
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)

    def add(self, tokens: int) -> None:
        self.done += tokens
        now = time.monotonic()
        if now - self.said < LOG_SECONDS:
            return
        self.said = now
        speed = self.done / (now - self.started)
        left = duration((self.total - self.done) / speed)
        log.info("probe_reading", tokens=self.done, of=self.total, tokens_per_second=round(speed), left=left)


def _recall(subject: _Subject, haystack: Haystack, places: recall.Places, asked: Sequence[needles.Needle]) -> list[Row]:
    spots = places.spots(haystack.line_ends)
    progress = _Progress(recall.tokens_to_read(spots, len(asked)))
    log.info("probe_begins", tokens=progress.total, spots=len(spots), trials=len(asked), device=subject.device)
    backend = RecurrentBackend(subject.model, recall.most_sequences(spots, len(asked)), *subject.kernels)
    step_tokens = EngineSettings().step_tokens_on(subject.device)
    reading = Recall(backend, subject.tokenizer, asked, step_tokens, progress.add)
    return list(reading.rows(haystack.tokens, spots))


def _lengths(text: str) -> list[int]:
    found = sorted({number_of("--lengths", each, "16K,128K,1M") for each in text.split(",")})
    if found[0] < LEAST_LENGTH:
        raise ConfigError(f"--lengths {text}: a document has at least {LEAST_LENGTH} tokens.")
    return found


def _depths(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) <= 100 for word in words):
        raise ConfigError(f"--depths {text}: expected whole percents from 0 to 100, as 0,50,100.")
    return sorted({int(word) for word in words})


def _write_recall(rows: Sequence[Row], places: recall.Places, output: Path, model: str) -> list[Any]:
    pq.write_table(pa.Table.from_pylist(list(rows), recall.SCHEMA), output / "recall.parquet")
    means = {name: _means(rows, name) for name in ("found", "picked", "lift")}
    most = max(1.0, *(abs(value) for value in means["lift"].values()))
    chance = f"one of {len(needles.VALUES)}; by chance {100 * needles.CHANCE:.1f} %"
    panels = [
        Panel("Found", "the answer names the word", means["found"], 0, 1, True),
        Panel("Picked", chance, means["picked"], 0, 1, True),
        Panel("Lift", "nats that the needle adds to its word", means["lift"], 0, most, False),
    ]
    (output / "recall.svg").write_text(heat_map(places.lengths, places.depths, panels), encoding="utf-8")
    return [_table(means, model), _sum(rows)]


def _means(rows: Sequence[Row], name: str) -> dict[tuple[int, int], float]:
    found: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        found.setdefault((row["length"], row["depth"]), []).append(float(row[name]))
    return {place: float(np.mean(values)) for place, values in found.items()}


def _table(means: dict[str, dict[tuple[int, int], float]], model: str) -> Table:
    table = Table(title=f"Recall of {model}: found in the answer / picked, in percent / lift in nats")
    lengths = sorted({length for length, _ in means["found"]})
    for name in ("depth", *map(short, lengths)):
        table.add_column(name, justify="right")
    for depth in sorted({depth for _, depth in means["found"]}):
        cells = []
        for length in lengths:
            found, picked, lift = (means[name][length, depth] for name in ("found", "picked", "lift"))
            cells.append(f"{100 * found:.0f} / {100 * picked:.0f} / {nats(lift)}")
        table.add_row(f"{depth} %", *cells)
    return table


def _sum(rows: Sequence[Row]) -> str:
    number, chance = len(rows), needles.CHANCE
    spread = 196 * (chance * (1 - chance) / number) ** 0.5
    found, picked = (sum(row[name] for row in rows) for name in ("found", "picked"))
    return (
        f"Of {number} readings {found} found, {100 * picked / number:.1f} % picked; by chance {100 * chance:.1f} % "
        f"(± {spread:.1f} in 95 % of probes, if readings were independent)."
    )


def _write_loss(subject: _Subject, haystack: Haystack, output: Path, name: str) -> list[Any]:
    progress = _Progress(2 * len(haystack.tokens))
    rows = loss_by_position(subject.model, subject.kernels.passes, haystack.tokens, progress.add)
    pq.write_table(pa.Table.from_pylist(rows), output / "loss.parquet")
    titles = {CARRIED: "state carried from the start", FORGETTING: f"state emptied every {MEMORY_TOKENS:,} tokens"}
    bounds = [(int(row["from"]), int(row["to"])) for row in rows]
    lines = {title: [row[key] for row in rows] for key, title in titles.items()}
    about = f"Loss by position in nats a token: {name}"
    (output / "loss.svg").write_text(curve(about, bounds, lines), encoding="utf-8")
    table = Table(title=about)
    for column in ("tokens", *titles.values()):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(f"{row['from']:,} to {row['to']:,}", *(f"{row[key]:.3f}" for key in titles))
    return [table]


if __name__ == "__main__":
    command.run(probe)
