"""How a model fits a GPU, by calculation only: documents in flight, speed and price."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from configs.errors import ConfigError
from configs.hardware import GIGA, RESERVE_BYTES, Gpu
from configs.prices import MARKETS, Catalog, Market
from pipeline.billing.metering import SECONDS_PER_HOUR
from pipeline.billing.money import MILLION, RATIO_STEP
from pipeline.planning.planned import SIZES, Planned, Size
from pipeline.planning.speed import SHARE_OF_PEAK

CURRENCY = "USD"


@dataclass(frozen=True)
class Fit:
    """A model on a GPU, with documents of one length."""

    gpu: str
    memory_bytes: int
    num_tokens: int
    """Of a document."""
    documents: int | None
    """In flight at a time; None where not even the weights fit."""
    tokens_per_second: float | None
    """None where no document fits, or transformers runs the model."""
    per_million: Mapping[Market, Decimal]
    """Of the markets that have a price."""

    @property
    def market(self) -> Market | None:
        """The cheaper market."""
        return min(self.per_million, key=lambda market: self.per_million[market], default=None)

    @property
    def lowest(self) -> Decimal | None:
        return self.per_million[self.market] if self.market else None


@dataclass(frozen=True)
class PlanningRow:
    """A row of the planning table."""

    size: Size
    dtype: str
    vram_bytes: float
    """With the table's allowance for states, without a KV cache."""
    smallest_gpu: str | None
    """None if no GPU holds that and the libraries."""
    fits: Sequence[Fit]
    """On the smallest, at each length."""
    cheapest: Fit | None
    """Of all GPUs, at the first length."""


def fit(model: Planned, bytes_per_parameter: float, gpu: Gpu, num_tokens: int, catalog: Catalog) -> Fit:
    """How a model does on one GPU with documents of `num_tokens`, from the GPU's rated peaks and its prices in a
    catalog."""
    documents = model.documents_that_fit(gpu.memory_bytes, bytes_per_parameter, num_tokens)
    is_known = documents and not model.is_adapted
    speed = SHARE_OF_PEAK * gpu.flops / model.reading_flops(num_tokens) if is_known else None
    prices = {} if speed is None else _gpu_hours(gpu, catalog)
    per_million = {market: dollars_per_million(hour, speed) for market, hour in prices.items() if speed}
    return Fit(gpu.name, gpu.memory_bytes, num_tokens, documents, speed, per_million)


def dollars_per_million(gpu_hour: Decimal, tokens_per_second: float) -> Decimal:
    """Price of a million tokens on a GPU with this price per hour."""
    return (gpu_hour * MILLION / (Decimal(tokens_per_second) * SECONDS_PER_HOUR)).quantize(RATIO_STEP)


def cheapest(fits: Iterable[Fit]) -> Fit | None:
    """The cheapest per token, on any market; None if none of them both fits and has a price."""
    return min((each for each in fits if each.lowest is not None), key=lambda each: each.lowest or 0, default=None)


def planning_table(
    gpus: Sequence[Gpu], lengths: Sequence[int], dtypes: Iterable[str], catalog: Catalog
) -> list[PlanningRow]:
    """Rows for known sizes in each precision. `gpus` are sorted by memory, the smallest first."""
    precisions = tuple(dtypes)
    return [_row(size, dtype, gpus, lengths, catalog) for size in SIZES.values() for dtype in precisions]


def _row(size: Size, dtype: str, gpus: Sequence[Gpu], lengths: Sequence[int], catalog: Catalog) -> PlanningRow:
    width = size.model.width(dtype)
    vram = size.model.vram_bytes(width, size.states_bytes)
    smallest = next((gpu for gpu in gpus if vram + RESERVE_BYTES <= gpu.memory_bytes), None)
    return PlanningRow(
        size,
        dtype,
        vram,
        smallest.name if smallest else None,
        [fit(size.model, width, smallest, length, catalog) for length in lengths] if smallest else [],
        cheapest(fit(size.model, width, gpu, lengths[0], catalog) for gpu in gpus),
    )


def _gpu_hours(gpu: Gpu, catalog: Catalog) -> dict[Market, Decimal]:
    """The first in the catalog."""
    found: dict[Market, Decimal] = {}
    for market in MARKETS:
        try:
            price, *_ = catalog.fitting(f"{gpu.name} {gpu.memory_bytes // GIGA} GB", market, CURRENCY)
        except ConfigError:
            continue
        hour = price.gpu_hour(market)
        assert hour is not None, "fitting gives rows that have a price on this market"
        found[market] = hour
    return found
