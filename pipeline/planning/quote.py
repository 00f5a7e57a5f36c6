"""What a run will take and cost: tokens, device-hours, wall time, dollars, memory.

Tokens are estimated from a sample of each kind of document. Speed is that of the newest runs with the same model on the
same device, answers included; without such a run, a typical share of the device's peak arithmetic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from configs.errors import ConfigError
from configs.hardware import gpu_named
from configs.prices import Market
from configs.settings import SummarizeConfig
from models.weights.tokenizer import Tokenizer
from pipeline.billing.rates import NO_LABELS, Labels, Rates
from pipeline.planning.footprint import WIDTHS, Footprint, Transformer, transformer_like
from pipeline.planning.speed import Speed, measured_speed, most_answer_tokens, rated_speed
from pipeline.planning.token_count import Tokens, count_tokens
from pipeline.planning.windowed import Beside, Windowed
from pipeline.schemas.document import Document

if TYPE_CHECKING:  # it brings torch, which extracts do without
    from pipeline.planning.longest import Longest

log = structlog.get_logger()

INTERRUPTIONS_PER_HOUR = 0.2 / 730
"""Interruptions of a spot node: the upper end of what was observed for H100s in a month of early 2026."""
NOTHING = Beside()
LISTED = 20
"""Documents that are too long, by name: the longest."""


@dataclass(frozen=True)
class Memory:
    """What the model takes, beside a transformer of its size."""

    weights_bytes: int
    state_bytes: int
    """Of one document."""
    slots: int
    cache_bytes: int
    """Keys and values of the longest document; none in a model without attention."""
    transformer: str
    transformer_cache_bytes: int
    """Of the longest document."""
    transformer_arithmetic_ratio: float
    """Arithmetic of reading all documents with the transformer, relative to this model."""


@dataclass(frozen=True)
class Quote:
    """What a run will read, how long that will take, and what it will cost."""

    documents: int
    size_bytes: int
    tokens: int
    longest_tokens: int
    tokens_are_counted: bool
    device: str
    workers: int
    """The most that there are to be."""
    tokens_per_second: float
    """Of one device."""
    speed_source: str
    device_seconds: float
    wall_seconds: float
    """With so many workers."""
    currency: str
    cost: Decimal
    """At the price that the run would pay."""
    cost_on_demand: Decimal | None
    cost_spot: Decimal | None
    """Including the expected waste by preemptions."""
    expected_loss_seconds: float
    memory: Memory | None
    """None where no model is asked."""
    least_workers: int | None = None
    """Where there may be fewer."""
    least_workers_seconds: float | None = None
    """Of wall time, with so few."""
    longest_possible_tokens: int | None = None
    """Of a document that the model can read as a whole on this device; None where nothing limits it."""
    longest_possible_why: str | None = None
    """The arithmetic."""
    num_too_long: int = 0
    """Documents that are longer: what becomes of them says long_documents."""
    too_long: tuple[tuple[str, int], ...] = ()
    """The longest of these by id, with their tokens."""
    num_windows: int = 0
    """In which these are read, if they are."""
    tokens_beside: int = 0
    """That are read of their prompts and, again, of their answers."""
    tokens_decoded: int = 0
    """Of all answers at most, those about sections counted once."""

    def as_row(self) -> dict[str, Any]:
        """The fields, for JSON."""
        row = asdict(self)
        row |= row.pop("memory") or {}
        return {name: str(value) if isinstance(value, Decimal) else value for name, value in row.items()}


@dataclass(frozen=True)
class Prices:
    """Prices of one device for one hour."""

    now: Decimal
    """What the run would pay."""
    on_demand: Decimal | None
    spot: Decimal | None
    currency: str
    node: Decimal = Decimal(0)
    """A node that holds no actor, while the run lasts."""

    @staticmethod
    def of(rates: Rates, device: str, labels: Labels) -> "Prices":
        """The prices on a node with these labels. Raises ConfigError if there are none."""
        now = rates.of_cpu(labels) if device == "cpu" else rates.of_gpu(device, labels)

        def hourly(market: Market) -> Decimal | None:
            # From the provider that would be paid now.
            asked = {"market": market, "provider": now.provider or None}
            try:
                found = replace(rates, price=rates.price.model_copy(update=asked)).of_gpu(device, labels)
            except ConfigError as error:
                log.debug("no_price", market=market, reason=str(error))
                return None
            return found.price_per_hour

        listed = device != "cpu" and rates.price.gpu_hour is None
        on_demand, spot = (hourly("on_demand"), hourly("spot")) if listed else (None, None)
        node = rates.price.node_hour or Decimal(0)
        return Prices(now.price_per_hour, on_demand, spot, now.currency, node)


class Reads(Protocol):
    """What reads the documents of a run: a model, or what makes extracts and needs none."""

    @property
    def revision(self) -> str:
        """A hash of its weights."""

    @property
    def tokenizer(self) -> Tokenizer:
        """Of the documents."""

    @property
    def footprint(self) -> Footprint | None:
        """None where it is no model."""

    def longest(self, config: SummarizeConfig, device: str) -> "Longest | None":
        """The longest document that it can read as a whole on a device; None where nothing limits it."""

    def timed_speed(self, config: SummarizeConfig, tokens_before: float) -> Speed:
        """Of this machine's CPU, measured just now, where so many tokens stand before one on average."""


def for_run(
    documents: Sequence[Document],
    config: SummarizeConfig,
    reads: Reads,
    rates: Rates,
    device: str,
    *,
    read_before: Mapping[str, int],
    labels: Labels = NO_LABELS,
    other_nodes: int = 1,
    exact: bool = False,
    may_time: bool = True,
) -> Quote | None:
    """Quote a run over these documents. `device` is `cpu` or a GPU's name, on a node with these `labels`. `exact`
    tokenizes all documents. `other_nodes` is the number of nodes without an actor, at least the head. `read_before` are
    tokens that need not be read again, by document.

    If the speed of a CPU is not known, `may_time` permits loading the model here to time it; otherwise there is no
    quote. Raises ConfigError for an unknown GPU, one without a price, or one that would have nothing to do.
    """
    size = reads.footprint
    longest = reads.longest(config, device) if size is not None else None
    if size is None and device != "cpu":
        raise ConfigError(f"{device}: prompts asks for extracts alone, which are made on CPUs")
    speed = measured_speed(config.output.uri, reads.revision, device, config)
    if speed is None and device == "cpu" and not may_time:
        return None
    limit = longest.num_tokens if longest else inf
    tokens = count_tokens(documents, config, reads.tokenizer, exact, read_before, limit)
    if speed is None and size is not None and device != "cpu":
        speed = rated_speed(gpu_named(device), size, tokens.before)
    elif speed is None:
        speed = reads.timed_speed(config, tokens.before)
    prices = Prices.of(rates, device, labels)
    beside = _beside(config, reads.tokenizer, longest, tokens)
    found = quote(documents, tokens, config, size, speed, device, prices, other_nodes, *beside)
    if longest is None:
        return found
    return replace(
        found,
        longest_possible_tokens=longest.num_tokens,
        longest_possible_why=longest.why,
        num_too_long=len(tokens.longer),
        too_long=tokens.longer[:LISTED],
    )


def quote(
    documents: Sequence[Document],
    tokens: Tokens,
    config: SummarizeConfig,
    model: Footprint | None,
    speed: Speed,
    device: str,
    prices: Prices,
    other_nodes: int = 0,
    beside: Beside = NOTHING,
    beside_longest: Beside = NOTHING,
) -> Quote:
    """Put together what is known. `beside` is what is read and answered of documents in windows, and that of the
    longest."""
    actors = config.engine.actors
    most = most_answer_tokens(config.model_dump())
    whole = len(documents) - (len(tokens.longer) if beside.num_windows else 0)
    decoded = whole * most + beside.tokens_decoded
    answering = decoded / most * speed.seconds_per_answered if most else 0.0
    working = (tokens.total + beside.tokens_read) * speed.seconds_per_token + answering
    seconds = working + actors.max * speed.startup_seconds
    lost = _expected_loss(seconds, config, speed)
    # One document is read by one actor.
    longest = (min(tokens.longest, tokens.total) + beside_longest.tokens_read) * speed.seconds_per_token
    wall, wall_of_least = (max(working / of, longest) + speed.startup_seconds for of in (actors.max, actors.min))
    nodes = _cost(other_nodes * wall, prices.node)
    return Quote(
        documents=len(documents),
        size_bytes=sum(document.size_bytes for document in documents),
        tokens=tokens.total,
        longest_tokens=tokens.longest,
        tokens_are_counted=tokens.is_counted,
        device=device,
        workers=actors.max,
        tokens_per_second=1 / speed.seconds_per_token,
        speed_source=speed.source,
        device_seconds=seconds,
        wall_seconds=wall,
        currency=prices.currency,
        cost=_cost(seconds, prices.now) + nodes,
        cost_on_demand=None if prices.on_demand is None else _cost(seconds, prices.on_demand) + nodes,
        cost_spot=None if prices.spot is None else _cost(seconds + lost, prices.spot) + nodes,
        expected_loss_seconds=lost,
        memory=None if model is None else _memory(model, tokens, len(documents), config, device),
        num_windows=beside.num_windows,
        tokens_beside=beside.tokens_read,
        tokens_decoded=decoded,
        least_workers=actors.min if actors.min < actors.max else None,
        least_workers_seconds=wall_of_least if actors.min < actors.max else None,
    )


def _beside(
    config: SummarizeConfig, tokenizer: Tokenizer, longest: "Longest | None", tokens: Tokens
) -> tuple[Beside, Beside]:
    """Of all documents that are read in windows, and of the longest of them."""
    if longest is None or longest.num_tokens < 1 or not tokens.longer or config.long_documents == "fail":
        return NOTHING, NOTHING
    windowed = Windowed(config, tokenizer, longest.num_tokens)
    lengths = [length for _, length in tokens.longer]
    return windowed.all(lengths), windowed.of(max(lengths))


def _memory(model: Footprint, tokens: Tokens, documents: int, config: SummarizeConfig, device: str) -> Memory:
    kind = "cpu" if device == "cpu" else "cuda"
    rival, dtype = transformer_like(model.parameters), config.model.dtype_on(kind)
    return Memory(
        weights_bytes=model.weights_bytes(dtype),
        state_bytes=model.state_bytes,
        slots=config.engine.slots_on(kind),
        cache_bytes=model.cache_bytes(tokens.longest, WIDTHS[dtype]),
        transformer=rival.name,
        transformer_cache_bytes=rival.kv_cache_bytes(tokens.longest),
        transformer_arithmetic_ratio=_against(rival, model, tokens, documents),
    )


def _expected_loss(seconds: float, config: SummarizeConfig, speed: Speed) -> float:
    """On average, a preemption loses half of what may be at stake, and one start of an actor."""
    interruptions = INTERRUPTIONS_PER_HOUR * seconds / 3600
    return interruptions * (config.snapshot.max_lost_device_seconds / 2 + speed.startup_seconds)


def _cost(seconds: float, price_per_hour: Decimal) -> Decimal:
    return (Decimal(round(seconds * 1e6)) * price_per_hour / 3_600_000_000).quantize(Decimal("0.000001"))


def _against(rival: Transformer, model: Footprint, tokens: Tokens, documents: int) -> float:
    """Arithmetic per parameter relative to a transformer, so that the nearest size suffices. Documents other than the
    longest are assumed to be equally long."""
    if not tokens.total:
        return 1.0
    others = max(0, documents - 1)
    usual = (tokens.total - tokens.longest) / others if others else 0
    scale = model.parameters / rival.parameters
    needed = scale * (rival.flops(tokens.longest) + others * rival.flops(round(usual)))
    return needed / (tokens.total * model.reading_flops(tokens.before))
