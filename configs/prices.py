"""What GPUs cost: a catalog of dated prices with their sources, and which row applies to a GPU."""

import datetime
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self, get_args

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
"""Age in days from which the log warns of a price."""


class Price(Settings):
    """What one GPU costs at one place."""

    gpu: str = Field(min_length=1)
    """Name as in torch, as in Ray (`H100`, `A100-80G`), or with form factor and memory: `A100 SXM4 80 GB`. What a name
    leaves out matches any."""
    provider: str | None = None
    """Who rents it out, such as `aws`; null if the price holds for any provider."""
    region: str | None = None
    """The provider's name of the region; null if the price holds in all regions, or its region is not known."""
    instance_type: str | None = None
    gpus_per_instance: int = Field(1, ge=1)
    on_demand_gpu_hour: Decimal | None = Field(None, ge=0, max_digits=15, decimal_places=9)
    """Price of one GPU for an hour, not of the instance; null if it is not offered or not known."""
    spot_gpu_hour: Decimal | None = Field(None, ge=0, max_digits=15, decimal_places=9)
    """Likewise, on the spot market."""
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    """ISO 4217 code."""
    date: datetime.date | None
    """When this was the price; null if that is not known. Such a row counts only where its provider is named."""
    source: str = Field(min_length=1)
    """Where it was read."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.on_demand_gpu_hour is None and self.spot_gpu_hour is None:
            raise ValueError(f"{self.gpu}: on_demand_gpu_hour and spot_gpu_hour are both null; give one, or no row")
        return self

    def gpu_hour(self, market: Market) -> Decimal | None:
        """Price of one GPU for an hour in a market, in the price's currency; None where it is not known."""
        return self.spot_gpu_hour if market == "spot" else self.on_demand_gpu_hour

    @property
    def age_days(self) -> int | None:
        """None if it has no date."""
        return None if self.date is None else (datetime.datetime.now(datetime.UTC).date() - self.date).days

    @property
    def is_stale(self) -> bool:
        """Whether the price is old, or of nobody knows when."""
        return self.age_days is None or self.age_days > STALE_DAYS


class Where(NamedTuple):
    """What is known about where a GPU is."""

    provider: str | None = None
    region: str | None = None
    instance_type: str | None = None


NOWHERE = Where()


class Catalog(Settings):
    """Prices of GPUs; the user's own rows take precedence over the shipped ones."""

    prices: tuple[Price, ...]
    shipped: tuple[Price, ...] = ()

    @staticmethod
    def load(path: Path | str | None = None) -> "Catalog":
        """The rows of the user's YAML, if any, followed by the shipped rows. Raises ConfigError."""
        shipped = load(Catalog, SHIPPED)
        return shipped if path is None else Catalog(prices=Catalog.read(path).prices, shipped=shipped.prices)

    @staticmethod
    def read(path: Path | str) -> "Catalog":
        """The rows of one YAML file. Raises ConfigError."""
        try:
            return load(Catalog, Path(path).expanduser())
        except ConfigError as error:
            raise ConfigError(f"price catalog {path}: {error}") from error

    def of_gpu(self, gpu: str) -> tuple[Price, ...]:
        """Rows of a GPU by any of its names."""
        return tuple(price for price in (*self.prices, *self.shipped) if same_gpu(price.gpu, gpu))

    def fitting(
        self, gpu: str, market: Market = "on_demand", currency: str = "USD", where: Where = NOWHERE
    ) -> list[Price]:
        """Rows that have a price for this GPU on this market, one for each place. What a row leaves out matches any
        place, but a row that names the place takes precedence; shipped rows count only if none of the user's matches.

        Raises ConfigError if there is none, with the lines to add.
        """
        for tier in (self.prices, self.shipped):
            rows = [row for row in tier if same_gpu(row.gpu, gpu) and row.currency == currency]
            rows = [row for row in rows if row.date is not None or row.provider in (None, where.provider)]
            if rows := _at([row for row in rows if row.gpu_hour(market) is not None], where):
                return list({(row.gpu, *_place(row)): row for row in reversed(rows)}.values())[::-1]
        raise ConfigError(_refusal(gpu, self.of_gpu(gpu), market, currency, where))

    def find(self, gpu: str, market: Market = "on_demand", currency: str = "USD", where: Where = NOWHERE) -> Price:
        """The row of this GPU's price there. Logs which one it is, once, and warns if it is stale.

        Raises ConfigError if there is none, or if several match whose prices differ.
        """
        rows = self.fitting(gpu, market, currency, where)
        if len({row.gpu_hour(market) for row in rows}) > 1:
            raise ConfigError(_question(gpu, rows, market))
        _tell(rows[0], gpu, market, where)
        if rows[0].is_stale:
            _warn(rows[0])
        return rows[0]

    def as_yaml(self) -> str:
        """The rows as YAML that `read` accepts, without defaults."""
        rows = [price.model_dump(exclude_defaults=True) for price in self.prices]
        return yaml.dump({"prices": rows}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _place(row: Price) -> Where:
    return Where(row.provider, row.region, row.instance_type)


def _at(rows: list[Price], where: Where) -> list[Price]:
    """The rows that match a place; if any of them name it, only those."""
    for field, known in where._asdict().items():
        if known is not None:
            rows = [row for row in rows if getattr(row, field) in (None, known)]
    for field, known in where._asdict().items():
        rows = [row for row in rows if known is not None and getattr(row, field) == known] or rows
    return rows


def _refusal(gpu: str, known: Sequence[Price], market: Market, currency: str, where: Where) -> str:
    wanted = where._asdict() | {"market": market, "currency": currency}
    asked = ", ".join(f"{name} {value}" for name, value in wanted.items() if value)
    there = f"; there is {', '.join(_offers(known, MARKETS))}" if known else ""
    return f"""no price for an hour of one {gpu} ({asked}) in the catalog{there}.
Add it to a file of your own and name that as price.catalog=my-prices.yaml:
prices:
  - gpu: {gpu}
    provider: {where.provider or "null"}
    region: {where.region or "null"}
    {market}_gpu_hour: PRICE
    currency: {currency}
    date: {datetime.datetime.now(datetime.UTC).date()}
    source: where you read it
Or give the price itself: price.gpu_hour=PRICE"""


def _question(gpu: str, rows: Sequence[Price], market: Market) -> str:
    """The message that asks which of several rows is meant."""
    choices = {field: sorted({str(getattr(row, field)) for row in rows} - {"None"}) for field in Where._fields}
    settings = [f"price.{field}={'|'.join(values)}" for field, values in choices.items() if len(values) > 1]
    return (
        f"several prices fit an hour of one {gpu}, and nothing says which is meant: "
        f"{', '.join(_offers(rows, [market]))}. "
        f"Set {', '.join([*settings, 'or give the price itself: price.gpu_hour=PRICE'])}"
    )


def _offers(known: Iterable[Price], markets: Iterable[Market]) -> list[str]:
    """As `aws p5.48xlarge in us-east-1 on_demand 6.88 USD`."""
    return [
        f"{' '.join(filter(None, (price.provider, price.instance_type))) or price.gpu}"
        f"{f' in {price.region}' if price.region else ''} {market} {hour} {price.currency}"
        for price in known
        for market in markets
        if (hour := price.gpu_hour(market)) is not None
    ]


@cache
def _tell(price: Price, gpu: str, market: Market, where: Where) -> None:
    """Log the price, once per row and process. It is a warning if the provider was assumed, not known."""
    is_assumed = price.provider is not None and where.provider is None
    tell, event = (log.warning, "price_assumed") if is_assumed else (log.info, "price_found")
    known = {name: value for name, value in where._asdict().items() if value}
    tell(
        event,
        gpu=gpu,
        hour=f"{price.gpu_hour(market)} {price.currency}",
        market=market,
        **{f"price_{name}": value for name, value in _place(price)._asdict().items() if value},
        **{f"node_{name}": value for name, value in known.items()},
        source=price.source,
        **(
            {"remedy": f"price.provider={price.provider} if it is theirs, else price.gpu_hour=PRICE"}
            if is_assumed
            else {}
        ),
    )


@cache
def _warn(price: Price) -> None:
    """Once per row and process."""
    log.warning(
        "price_is_old",
        gpu=price.gpu,
        provider=price.provider,
        date=price.date.isoformat() if price.date else "unknown",
        days=price.age_days,
        source=price.source,
        remedy="price.catalog=my-prices.yaml with a row of today, or python -m jobs.prices refresh",
    )


class _Dumper(yaml.SafeDumper):
    """Writes decimals with all their digits, and no aliases for repeated values."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_decimal(dumper: yaml.SafeDumper, value: Decimal) -> yaml.ScalarNode:
    text = f"{value:f}"
    return dumper.represent_scalar("tag:yaml.org,2002:float", text if "." in text else f"{text}.0")


_Dumper.add_representer(Decimal, _represent_decimal)
