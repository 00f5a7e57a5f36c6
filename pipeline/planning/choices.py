"""Which nodes a run's actors are asked for, in order of preference."""

from collections.abc import Sequence
from decimal import Decimal

import structlog

from configs.errors import ConfigError
from configs.hardware import GIGA, RESERVE_BYTES, Gpu, gpu_named
from configs.labels import MARKET_LABEL
from configs.placement import Selector, selector
from configs.prices import Market
from configs.settings import SummarizeConfig
from pipeline.billing.rates import NO_LABELS, Rates
from pipeline.planning.footprint import Footprint
from pipeline.planning.quote import Reads
from pipeline.planning.speed import measured_speed, rated_speed

log = structlog.get_logger()


def choices(config: SummarizeConfig, reads: Reads, rates: Rates, on_gpu: bool) -> tuple[Selector, ...]:
    """Labels of nodes that actors may run on, the best first: one choice without labels if any will do.

    Raises ConfigError where GPUs are to be chosen by price, and no price is known of any that holds the model.
    """
    found: list[Selector] = []
    for market in config.placement.markets:
        found += [selector(market, gpu) for gpu in (_gpus(config, reads, rates, market) if on_gpu else (None,))]
    return tuple(found)


def _gpus(config: SummarizeConfig, reads: Reads, rates: Rates, market: Market | None) -> Sequence[str | None]:
    if not config.placement.cheapest_first:
        return config.placement.gpus or (None,)
    size = reads.footprint
    assert size is not None, "settings refuse GPUs where no model is asked"
    weights = size.weights_bytes(config.model.dtype_on("cuda"))
    costs: dict[str, Decimal] = {}
    left_out: dict[str, str] = {}
    for name in config.placement.gpus:
        gpu = gpu_named(name)
        if weights + RESERVE_BYTES > gpu.memory_bytes:
            left_out[name] = f"does not hold the {weights} bytes of the model"
            continue
        try:
            costs[name] = _cost_per_token(gpu, config, reads.revision, size, rates, market)
        except ConfigError as error:
            left_out[name] = str(error)
    if not costs:
        raise ConfigError(
            f"placement.cheapest_first = True: no dollars per token are known on the market {market or 'any'}: "
            + "; ".join(f"{name}: {why}" for name, why in left_out.items())
        )
    order = sorted(costs, key=lambda name: costs[name])
    per_million = {name: f"{costs[name] * 1_000_000:.4f}" for name in order}
    log.info(
        "gpus_by_price",
        market=market or "any",
        per_million_tokens=per_million,
        left_out=left_out or None,
        currency=rates.price.currency,
    )
    return order


def _cost_per_token(
    gpu: Gpu, config: SummarizeConfig, revision: str, size: Footprint, rates: Rates, market: Market | None
) -> Decimal:
    """In the currency of prices, answers left out. Raises ConfigError without a price."""
    labels = {MARKET_LABEL: "spot"} if market == "spot" else NO_LABELS
    rate = rates.of_gpu(f"{gpu.name} {gpu.memory_bytes // GIGA} GB", labels)
    speed = measured_speed(config.output.uri, revision, gpu.name, config) or rated_speed(gpu, size)
    return rate.price_per_second * Decimal(speed.seconds_per_token)
