"""What a run will take and cost, said before it starts: tokens, device-hours, wall time, dollars, memory.

Tokens are counted in a sample of each kind of document. Speed is that of the newest runs with the same model on the
same device, which holds answers too; without one, that of the device's arithmetic at a share that others have reached.
"""

import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any

import structlog
import torch

from configs.errors import ConfigError, DocumentError
from configs.hardware import Gpu, gpu_named, same_gpu
from configs.prices import Market
from configs.settings import SummarizeConfig
from models.mamba.architecture import MambaConfig
from models.weights import checkpoint
from models.weights.tokenizer import Tokenizer
from pipeline.billing.metering import SECONDS_PER_HOUR
from pipeline.billing.rates import NO_LABELS, Labels, Rates
from pipeline.documents import tokenize
from pipeline.documents.content import compression_of
from pipeline.documents.extract import Extractor, is_plain_by_name, parsed_whole
from pipeline.documents.reader import ReaderSettings
from pipeline.documents.reader_process import ReaderProcess
from pipeline.planning.footprint import Footprint, Transformer, footprint, transformer_like
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.document import Document

log = structlog.get_logger()

SAMPLED_BYTES = 2 * 2**20
"""Of text, of each kind of document."""
SAMPLED_SECONDS = 10.0
"""Of CPU time, after which a document of a sample counts nothing."""
SHARE_OF_PEAK = 0.3
"""Of a GPU's dense bf16 peak that reading is thought to reach: the paper's 1.5B model on an H100 has 0.32."""
UNMEASURED_STARTUP_SECONDS = 60.0
INTERRUPTIONS_PER_HOUR = 0.2 / 730
"""Of a spot node: the upper end of what was seen of H100s in a month, early in 2026."""
RUNS_LOOKED_AT = 5
TIMED_TOKENS = 4096
LARGEST_PARSED_BYTES = 8 * 2**20
"""Of what must be parsed whole, larger documents are not sampled."""

MEASURED = """
    with marked as (
        select *, kind = 'document' and coalesce(outcome, 'finished') = 'finished' as is_finished from costs
        where gpu_type = $device
    ), spent as (
        select run_id, count(distinct actor_id) as actors,
            count(*) filter (is_finished) as documents, sum(tokens_read) filter (is_finished)::bigint as tokens,
            sum(gpu_seconds - coalesce(decode_seconds, 0)) filter (is_finished or kind = 'snapshot')::double as reading,
            coalesce(sum(decode_seconds) filter (is_finished), 0)::double as answering,
            sum(gpu_seconds) filter (kind in ('startup', 'load', 'idle'))::double as starting
        from marked group by run_id having tokens > 0 and reading > 0
    )
    select spent.*, config from spent join jobs on spent.run_id = jobs.run_id
    where model_revision = $revision order by started_at desc limit $most
"""
"""The newest runs with a model on a device, by the attempts that finished: what was lost says nothing of speed."""
DEVICES = """
    select costs.gpu_type from costs join jobs on costs.run_id = jobs.run_id
    where model_revision = $revision and kind = 'document' and coalesce(outcome, 'finished') = 'finished'
        and costs.tokens_read > 0
    group by costs.gpu_type order by max(jobs.started_at) desc
"""
"""As meters name them, what was used last first."""


@dataclass(frozen=True)
class Speed:
    """What reading takes on one device."""

    seconds_per_token: float
    """Of reading."""
    seconds_per_answered: float
    """Document: of its answers."""
    startup_seconds: float
    """Of an actor, until it reads."""
    source: str
    """Where the figures come from, as a clause."""


@dataclass(frozen=True)
class Tokens:
    total: int
    """To be read."""
    longest: int
    """Of one document."""
    is_counted: bool
    """Rather than judged by a sample."""


@dataclass(frozen=True)
class Quote:
    documents: int
    size_bytes: int
    tokens: int
    longest_tokens: int
    tokens_are_counted: bool
    device: str
    workers: int
    tokens_per_second: float
    """Of one device."""
    speed_source: str
    device_seconds: float
    wall_seconds: float
    currency: str
    cost: Decimal
    """At the price that the run would pay."""
    cost_on_demand: Decimal | None
    cost_spot: Decimal | None
    """With what preemptions are expected to waste."""
    expected_loss_seconds: float
    weights_bytes: int
    state_bytes: int
    slots: int
    transformer: str
    transformer_cache_bytes: int
    """Of the longest document."""
    transformer_arithmetic_ratio: float
    """Of what reading all documents would take, against this model; over 1 where the transformer needs more."""

    def as_row(self) -> dict[str, Any]:
        """For JSON."""
        return {name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(self).items()}


def count_tokens(
    documents: Sequence[Document],
    config: SummarizeConfig,
    tokenizer: Tokenizer,
    exact: bool,
    read_before: Mapping[str, int],
) -> Tokens:
    """The tokens per byte of some documents of a kind hold for the rest. Those that cannot be read count nothing, nor
    do those of a document that were `read_before`."""
    by_kind: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        by_kind[_kind(document.source_uri)].append(document)
    sampler, total, longest, is_counted = _Sampler(config, tokenizer, exact), 0, 0, True
    for group in by_kind.values():
        known = sampler.counts(group, sys.maxsize if exact else SAMPLED_BYTES)
        counts = [known.get(each.document_id, round(each.size_bytes * sampler.tokens_per_byte)) for each in group]
        before = [read_before.get(document.document_id, 0) for document in group]
        total += sum(max(0, count - had) for count, had in zip(counts, before, strict=True))
        longest = max(longest, *counts)
        is_counted &= len(known) == len(group)
    return Tokens(total, longest, is_counted)


def _kind(uri: str) -> str:
    """A format and its compression, by the name. What holds a digit is a date or a number, which is no kind."""
    *_, format, compression = ("", "", *PurePosixPath(uri).suffixes)
    if compression_of(uri) is None:
        format, compression = compression, ""
    return f"{format if format[1:].isalpha() else ''}{compression}".lower()


class _Sampler:
    """Reads some documents of a kind, the same ones each time. What must be parsed is read as a run's readers do it, in
    a process that can be killed: a document that hangs or crashes a parser must not do that to the driver."""

    def __init__(self, config: SummarizeConfig, tokenizer: Tokenizer, exact: bool) -> None:
        self._extractor, self._tokenizer = Extractor(config.input), tokenizer
        most = config.input.max_document_seconds
        limits = {"max_document_seconds": most if exact else min(most, SAMPLED_SECONDS)}
        self._process = ReaderProcess()
        self._settings = ReaderSettings(config.input.model_copy(update=limits), config.model)
        self.tokens_per_byte = tokenize.TOKENS_PER_BYTE
        """Of the last group."""

    def counts(self, group: Sequence[Document], most_bytes: int) -> dict[str, int]:
        """Tokens of the documents that were read whole, of so many bytes altogether."""
        known: dict[str, int] = {}
        tokens, size, left = 0, 0, most_bytes
        for document in random.Random(0).sample(group, len(group)):
            if left <= 0:
                break
            if parsed_whole(document.source_uri) and LARGEST_PARSED_BYTES < document.size_bytes < most_bytes:
                continue
            count, text_bytes, is_whole = self._read(document, left)
            if is_whole:
                known[document.document_id] = count
            tokens, size = tokens + count, size + (document.size_bytes if is_whole else text_bytes)
            left -= text_bytes
        self.tokens_per_byte = tokens / size if size else tokenize.TOKENS_PER_BYTE
        return known

    def _read(self, document: Document, most_bytes: int) -> tuple[int, int, bool]:
        """Tokens and bytes of a document's text, up to about so many bytes, and whether that is all of it. What has
        come from the readers' process is whole, and its bytes are what so many tokens take elsewhere."""
        if is_plain_by_name(document):
            return self._streamed(document, most_bytes)
        (read,) = self._process.read([document.as_row() | {"state_uri": None}], self._settings)
        if read["error_class"] is not None:
            return 0, 0, True
        if read["tokens"] is None:
            # Plain text after all, or too long to travel: then the process has been through it, and lives.
            return self._streamed(document, most_bytes)
        tokens = len(read["tokens"])
        return tokens, round(tokens / tokenize.TOKENS_PER_BYTE), True

    def _streamed(self, document: Document, most_bytes: int) -> tuple[int, int, bool]:
        tokens, size = 1, 0
        try:
            extracted = self._extractor.read(document)
            with closing(extracted):
                for part in tokenize.cut(extracted.text):
                    tokens, size = tokens + len(self._tokenizer.encode(part)), size + len(part.encode())
                    if size >= most_bytes:
                        break
        except DocumentError:
            return 0, 0, True
        return tokens, size, size < most_bytes


def measured_speed(output_uri: str, model_revision: str, device: str, config: SummarizeConfig) -> Speed | None:
    """Of the newest runs into an output that read anything with this model on this device, by any of its names."""
    try:
        tables = Warehouse(output_uri)
    except ConfigError:
        return None
    metered = [row["gpu_type"] for row in tables.rows(DEVICES, revision=model_revision)]
    # `H100` fits one of PCIe and one of SXM; the figures of two devices are not mixed.
    named = device if device in metered else next((name for name in metered if same_gpu(name, device)), None)
    if named is None:
        return None
    runs = tables.rows(MEASURED, revision=model_revision, device=named, most=RUNS_LOOKED_AT)
    if not runs:
        return None
    read = sum(run["tokens"] for run in runs)
    starting = sum(run["starting"] or 0 for run in runs) / sum(run["actors"] for run in runs)
    # Answers are as long as is allowed, or as their number is large.
    asked = sum(run["documents"] * _most_answer_tokens(json.loads(run["config"])) for run in runs)
    answering = sum(run["answering"] for run in runs) / asked if asked else 0.0
    return Speed(
        seconds_per_token=sum(run["reading"] for run in runs) / read,
        seconds_per_answered=answering * _most_answer_tokens(config.model_dump()),
        startup_seconds=starting,
        source=f"measured in {len(runs)} run{'s' * (len(runs) > 1)} on {named}, the latest {runs[0]['run_id']}",
    )


def _most_answer_tokens(config: Mapping[str, Any]) -> int:
    """That a document may get, sections counted once."""
    prompts = [*config["prompts"], *((config.get("sections") or {}).get("prompts") or ())]
    return sum(prompt["max_tokens"] for prompt in prompts)


def rated_speed(gpu: Gpu, model: Footprint) -> Speed:
    """By arithmetic alone."""
    return Speed(
        model.flops_per_token / (gpu.flops * SHARE_OF_PEAK),
        0.0,
        UNMEASURED_STARTUP_SECONDS,
        f"not measured: {SHARE_OF_PEAK:.0%} of an {gpu.name}'s arithmetic, answers left out",
    )


def timed_speed(config: SummarizeConfig) -> Speed:
    """Of this machine's CPU, by reading some tokens that mean nothing."""
    torch.set_num_threads(config.engine.cpus_per_actor)
    started = time.perf_counter()
    model = checkpoint.load(checkpoint.resolve(config.model.uri))
    loading = time.perf_counter() - started
    tokens, state = torch.zeros(TIMED_TOKENS, dtype=torch.long), model.empty_state(1)
    with torch.inference_mode():
        for _ in range(2):
            started = time.perf_counter()
            model.prefill_(tokens, [0, TIMED_TOKENS], state, [0], tokens[:1])
    seconds = (time.perf_counter() - started) / TIMED_TOKENS
    return Speed(seconds, 0.0, loading, "timed on this machine just now, answers left out")


@dataclass(frozen=True)
class Prices:
    """Of one device for one hour."""

    now: Decimal
    """What the run would pay."""
    on_demand: Decimal | None
    spot: Decimal | None
    currency: str
    node: Decimal = Decimal(0)
    """A node that holds no actor, while the run lasts."""

    @staticmethod
    def of(rates: Rates, device: str, labels: Labels) -> "Prices":
        """On a node with these labels. Raises ConfigError where there is none."""
        now = rates.of_cpu(labels) if device == "cpu" else rates.of_gpu(device, labels)

        def hourly(market: Market) -> Decimal | None:
            # Of whoever is paid now.
            asked = {"market": market, "provider": now.provider or None}
            try:
                found = replace(rates, price=rates.price.model_copy(update=asked)).of_gpu(device, labels)
            except ConfigError as error:
                log.debug("no_price", market=market, reason=str(error))
                return None
            return found.price_per_second * SECONDS_PER_HOUR

        listed = device != "cpu" and rates.price.gpu_hour is None
        on_demand, spot = (hourly("on_demand"), hourly("spot")) if listed else (None, None)
        node = rates.price.node_hour or Decimal(0)
        return Prices(now.price_per_second * SECONDS_PER_HOUR, on_demand, spot, now.currency, node)


@dataclass(frozen=True)
class Model:
    """What would read."""

    revision: str
    architecture: MambaConfig
    tokenizer: Tokenizer


def for_run(
    documents: Sequence[Document],
    config: SummarizeConfig,
    model: Model,
    rates: Rates,
    device: str,
    *,
    read_before: Mapping[str, int],
    labels: Labels = NO_LABELS,
    other_nodes: int = 1,
    exact: bool = False,
    may_time: bool = True,
) -> Quote | None:
    """Of these documents. `device` is `cpu` or a GPU's name, on a node with these `labels`. `exact` tokenises all of
    them. `other_nodes` of the cluster hold no actor; there is a head at least. `read_before` are tokens that need not
    be read again, by document.

    `may_time` permits loading the model here to time a CPU that nothing is known of; else there is no quote then.
    Raises ConfigError where nothing is known of the GPU or its price.
    """
    speed = measured_speed(config.output.uri, model.revision, device, config)
    if speed is None and device == "cpu" and not may_time:
        return None
    size = footprint(model.architecture)
    tokens = count_tokens(documents, config, model.tokenizer, exact, read_before)
    if speed is None:
        speed = timed_speed(config) if device == "cpu" else rated_speed(gpu_named(device), size)
    width = getattr(torch, config.model.dtype_on("cpu" if device == "cpu" else "cuda")).itemsize
    return quote(documents, tokens, config, size, speed, device, Prices.of(rates, device, labels), width, other_nodes)


def quote(
    documents: Sequence[Document],
    tokens: Tokens,
    config: SummarizeConfig,
    model: Footprint,
    speed: Speed,
    device: str,
    prices: Prices,
    bytes_per_parameter: int,
    other_nodes: int = 0,
) -> Quote:
    """Put together what is known."""
    workers = config.engine.actors
    working = tokens.total * speed.seconds_per_token + len(documents) * speed.seconds_per_answered
    seconds = working + workers * speed.startup_seconds
    lost = _expected_loss(seconds, config, speed)
    rival = transformer_like(model.parameters)
    # One document is read by one actor.
    longest = min(tokens.longest, tokens.total) * speed.seconds_per_token
    wall = max(working / workers, longest) + speed.startup_seconds
    nodes = _cost(other_nodes * wall, prices.node)
    return Quote(
        documents=len(documents),
        size_bytes=sum(document.size_bytes for document in documents),
        tokens=tokens.total,
        longest_tokens=tokens.longest,
        tokens_are_counted=tokens.is_counted,
        device=device,
        workers=workers,
        tokens_per_second=1 / speed.seconds_per_token,
        speed_source=speed.source,
        device_seconds=seconds,
        wall_seconds=wall,
        currency=prices.currency,
        cost=_cost(seconds, prices.now) + nodes,
        cost_on_demand=None if prices.on_demand is None else _cost(seconds, prices.on_demand) + nodes,
        cost_spot=None if prices.spot is None else _cost(seconds + lost, prices.spot) + nodes,
        expected_loss_seconds=lost,
        weights_bytes=round(model.weights_bytes(bytes_per_parameter)),
        state_bytes=model.state_bytes,
        slots=config.engine.slots_on("cpu" if device == "cpu" else "cuda"),
        transformer=rival.name,
        transformer_cache_bytes=rival.kv_cache_bytes(tokens.longest),
        transformer_arithmetic_ratio=_against(rival, model, tokens, len(documents)),
    )


def _expected_loss(seconds: float, config: SummarizeConfig, speed: Speed) -> float:
    """A preemption loses half of what may be at stake, on average, and one start of an actor."""
    interruptions = INTERRUPTIONS_PER_HOUR * seconds / 3600
    return interruptions * (config.snapshot.max_lost_gpu_seconds / 2 + speed.startup_seconds)


def _cost(seconds: float, price_per_hour: Decimal) -> Decimal:
    return (Decimal(round(seconds * 1e6)) * price_per_hour / 3_600_000_000).quantize(Decimal("0.000001"))


def _against(rival: Transformer, model: Footprint, tokens: Tokens, documents: int) -> float:
    """Per parameter, so that the nearest size need not be the same; documents are taken for equally long, but for the
    longest."""
    if not tokens.total:
        return 1.0
    others = max(0, documents - 1)
    usual = (tokens.total - tokens.longest) / others if others else 0
    scale = model.parameters / rival.parameters
    needed = scale * (rival.flops(tokens.longest) + others * rival.flops(round(usual)))
    return needed / (tokens.total * model.flops_per_token)
