"""What GPUs cost: a dated catalogue with a source for each price, and which row of it a GPU has."""

import datetime
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self, get_args

import structlog
import yaml
from pydantic import Field, model_validator

from configs.errors import ConfigError
from configs.hardware import same_gpu
from configs.loader import Settings, load

log = structlog.get_logger()

Market = Literal["on_demand", "spot"]
MARKETS: tuple[Market, ...] = get_args(Market)

SHIPPED = Path(__file__).with_name("prices.yaml")
STALE_DAYS = 90
"""A price that is older is warned of."""


class Price(Settings):
    """What one GPU costs somewhere."""

    gpu: str = Field(min_length=1)
    """As torch names it, as Ray does (`H100`, `A100-80G`), or with form and memory: `A100 SXM4 80 GB`. What a name
    leaves out fits any."""
    provider: str | None = None
    """Who rents it out, as `aws`."""
    region: str | None = None
    """As the provider names it; null where the price holds in all, or it is not known where."""
    instance_type: str | None = None
    gpus_per_instance: int = Field(1, ge=1)
    on_demand_gpu_hour: Decimal | None = Field(None, ge=0, max_digits=15, decimal_places=9)
    """Of one GPU for an hour, not of the instance; null where it is not offered or not known."""
    spot_gpu_hour: Decimal | None = Field(None, ge=0, max_digits=15, decimal_places=9)
    """Likewise, on the spot market."""
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    """ISO 4217 code."""
    date: datetime.date
    """When this was the price."""
    source: str = Field(min_length=1)
    """Where it was read."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.on_demand_gpu_hour is None and self.spot_gpu_hour is None:
            raise ValueError(f"{self.gpu}: on_demand_gpu_hour and spot_gpu_hour are both null; give one, or no row")
        return self

    def gpu_hour(self, market: Market) -> Decimal | None:
        return self.spot_gpu_hour if market == "spot" else self.on_demand_gpu_hour

    @property
    def age_days(self) -> int:
        return (datetime.datetime.now(datetime.UTC).date() - self.date).days

    @property
    def is_stale(self) -> bool:
        return self.age_days > STALE_DAYS


class Catalogue(Settings):
    """Prices, of which the first that fits is taken."""

    prices: tuple[Price, ...]

    @staticmethod
    def load(path: Path | str | None = None) -> "Catalogue":
        """The shipped rows, after those of a YAML of one's own. Raises ConfigError."""
        shipped = load(Catalogue, SHIPPED)
        if path is None:
            return shipped
        return Catalogue(prices=(*Catalogue.read(path).prices, *shipped.prices))

    @staticmethod
    def read(path: Path | str) -> "Catalogue":
        """The rows of one YAML alone. Raises ConfigError."""
        try:
            return load(Catalogue, Path(path).expanduser())
        except ConfigError as error:
            raise ConfigError(f"price catalogue {path}: {error}") from error

    def of_gpu(self, gpu: str) -> tuple[Price, ...]:
        """Rows of a GPU by any of its names."""
        return tuple(price for price in self.prices if same_gpu(price.gpu, gpu))

    def find(
        self,
        gpu: str,
        provider: str | None = None,
        region: str | None = None,
        market: Market = "on_demand",
        currency: str = "USD",
        near: str | None = None,
    ) -> Price:
        """The first row that has a price for this GPU on this market. `provider` and `region` must fit where they are
        given; without a `region`, rows of the region `near` and of none go before others.

        Warns of a stale one. Raises ConfigError where there is none, with the lines to add.
        """
        known = self.of_gpu(gpu)
        fitting = [
            price
            for price in known
            if price.gpu_hour(market) is not None
            and price.currency == currency
            and provider in (None, price.provider)
            and region in (None, price.region)
        ]
        if not fitting:
            wanted = {"provider": provider, "region": region, "market": market, "currency": currency}
            raise ConfigError(_refusal(gpu, known, wanted))
        price = min(fitting, key=lambda price: near is not None and price.region not in (None, near))
        if price.is_stale:
            _warn(price)
        return price

    def as_yaml(self) -> str:
        """The rows as a YAML to read back; what has its default is left out."""
        rows = [price.model_dump(exclude_defaults=True) for price in self.prices]
        return yaml.dump({"prices": rows}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _refusal(gpu: str, known: Sequence[Price], wanted: dict[str, str | None]) -> str:
    asked = ", ".join(f"{name} {value}" for name, value in wanted.items() if value)
    there = f"; there is {', '.join(_offers(known))}" if known else ""
    return f"""no price for an hour of one {gpu} ({asked}) in the catalogue{there}.
Add it to a file of your own and name that as price.catalogue=my-prices.yaml:
prices:
  - gpu: {gpu}
    provider: {wanted["provider"] or "null"}
    region: {wanted["region"] or "null"}
    {wanted["market"]}_gpu_hour: PRICE
    currency: {wanted["currency"]}
    date: {datetime.datetime.now(datetime.UTC).date()}
    source: where you read it
Or give the price itself: price.gpu_hour=PRICE"""


def _offers(known: Iterable[Price]) -> list[str]:
    """As `aws in us-east-1 on_demand 6.88 USD`."""
    return [
        f"{price.provider or 'a price'}{f' in {price.region}' if price.region else ''} {market} {hour} {price.currency}"
        for price in known
        for market in MARKETS
        if (hour := price.gpu_hour(market)) is not None
    ]


@cache
def _warn(price: Price) -> None:
    """Once per row and process."""
    log.warning(
        "price_is_old",
        gpu=price.gpu,
        provider=price.provider,
        date=price.date.isoformat(),
        days=price.age_days,
        source=price.source,
        remedy="price.catalogue=my-prices.yaml with a row of today, or python -m jobs.prices refresh",
    )


class _Dumper(yaml.SafeDumper):
    """Writes decimals as the digits that they have, and what occurs twice twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_decimal(dumper: yaml.SafeDumper, value: Decimal) -> yaml.ScalarNode:
    text = f"{value:f}"
    return dumper.represent_scalar("tag:yaml.org,2002:float", text if "." in text else f"{text}.0")


_Dumper.add_representer(Decimal, _represent_decimal)
