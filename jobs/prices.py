"""`python -m jobs.prices list|check|refresh`: what GPUs cost in the catalog, for a run, and on the market today."""

import re
from pathlib import Path
from typing import Annotated

import typer

from configs.errors import ConfigError
from configs.loader import load
from configs.prices import MARKETS, Catalog, Price, Where
from configs.settings import SummarizeConfig
from jobs import command, exits, screen
from pipeline.billing import gpuhunt_catalog, skypilot_catalog, spot_prices
from pipeline.reports.quantities import UNKNOWN, count, money
from pipeline.storage import objects

COLUMNS = ("GPU", "instance", "GPUs", "from", "region", "on demand", "spot", "date", "age", "source")
NUMBERS = ("GPUs", "on demand", "spot", "age")
DEFAULT_INSTANCES = ("p4d.24xlarge", "p4de.24xlarge", "p5.48xlarge", "p5en.48xlarge", "g6e.xlarge")
HEAD = "# Per hour of one GPU; name this file as price.catalog. `python -m jobs.prices refresh` updates it.\n"
PRICES_LINE = re.compile(r"^prices:", re.MULTILINE)
KEPT = "; on demand "
UNDATED = "an unknown day"

CatalogPath = Annotated[
    str | None,
    typer.Option("--catalog", metavar="FILE", help="Your own YAML, which takes precedence over the shipped rows."),
]


def list_prices(
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="NAME", help="Only prices of this GPU, by any of its names.")
    ] = None,
    catalog: CatalogPath = None,
) -> None:
    """The catalog: prices per hour of one GPU, each with its date, age and source. A run uses the price that matches
    the place where it runs."""
    known = Catalog.load(catalog)
    every = (*known.prices, *known.shipped)
    shown = every if gpu is None else known.of_gpu(gpu)
    if not shown:
        raise ConfigError(f"--gpu {gpu}: the catalog knows {', '.join(dict.fromkeys(each.gpu for each in every))}")
    table = screen.table("Prices per GPU-hour", COLUMNS, NUMBERS)
    for price in shown:
        table.add_row(*map(screen.plain, _cells(price)))
    screen.console().print(table)


def check(
    config_path: command.ConfigPath,
    overrides: command.Overrides = None,
    gpu: Annotated[
        list[str] | None, typer.Option("--gpu", metavar="NAME", help="Of the nodes; may be repeated.")
    ] = None,
) -> int:
    """What a run with these settings would be charged for an hour of these GPUs, on each market that it may be on.

    Exit codes: 0, 2 where a price is missing or several fit, 3 where one is older than 90 days or has no date.
    """
    price = load(SummarizeConfig, config_path, overrides or []).price
    catalog, where = Catalog.load(price.catalog), Where(price.provider, price.region, price.instance_type)
    markets = MARKETS if price.market == "auto" else (price.market,)
    if not gpu:
        raise ConfigError("--gpu: name at least one, such as --gpu H100")
    asked = [(name, market) for name in gpu for market in markets]
    rows = [catalog.find(name, market, price.currency, where) for name, market in asked]
    for (name, market), row in zip(asked, rows, strict=True):
        hour = money(row.gpu_hour(market), row.currency)
        age = f"of {UNDATED}" if row.age_days is None else f"{row.age_days} days old"
        print(f"{'OLD  ' if row.is_stale else ''}{name} {market}: {hour} an hour, {age}, {row.source}")
    return exits.PARTIAL if any(row.is_stale for row in rows) else exits.SUCCESS


def refresh(
    region: Annotated[
        list[str] | None, typer.Option(metavar="REGION", help="May be repeated. Default: AWS_REGION.")
    ] = None,
    instance: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPE", help=f"May be repeated. Default: {', '.join(DEFAULT_INSTANCES)}."),
    ] = None,
    output: Annotated[
        str, typer.Option(metavar="FILE", help="Created or updated; its other rows stay.")
    ] = "prices.yaml",
    skypilot: Annotated[
        str | None,
        typer.Option(
            metavar="PROVIDER/vms.csv", help="A file of SkyPilot's catalog instead; its folder is the provider."
        ),
    ] = None,
    gpuhunt: Annotated[
        list[str] | None,
        typer.Option(metavar="PROVIDER", help="A cloud of gpuhunt's catalogs instead, such as gcp. May be repeated."),
    ] = None,
) -> None:
    """Fetch today's spot prices from AWS, for the cheapest zone of each region, and write them to a catalog.

    Uses the AWS credentials of the environment, which need only ec2:DescribeSpotPriceHistory and
    ec2:DescribeInstanceTypes. With --skypilot nothing is fetched: that file's prices, on demand and spot, are written
    without a date, since it has none. With --gpuhunt the package gpuhunt fetches a cloud's prices, on demand and spot.
    Of both, --region and --instance choose among them.
    """
    if skypilot and gpuhunt:
        raise ConfigError(f"--skypilot {skypilot} and --gpuhunt {', '.join(gpuhunt)}: give one of them")
    path = Path(output).expanduser()
    kept = Catalog.read(path).prices if path.exists() else ()
    if skypilot:
        file = Path(skypilot).expanduser()
        fresh = _chosen(f"--skypilot {skypilot}", skypilot_catalog.read(file), region, instance)
    elif gpuhunt:
        fresh = _chosen(f"--gpuhunt {', '.join(gpuhunt)}", gpuhunt_catalog.fetch(gpuhunt), region, instance)
    else:
        fresh = _of_aws(region, instance)
    _write(path, Catalog(prices=merged(kept, fresh)))
    for price in fresh:
        on_demand, spot = (money(price.gpu_hour(market), price.currency) for market in MARKETS)
        where = f"{price.region or 'any region'} ({price.instance_type})"
        print(f"{price.gpu} in {where}: {on_demand} on demand, {spot} spot, an hour")
    print(f"wrote {len(fresh)} to {path}; use it as price.catalog={path}")


def _chosen(option: str, known: list[Price], region: list[str] | None, instance: list[str] | None) -> list[Price]:
    """Raises ConfigError."""
    found = [
        price
        for price in known
        if (not region or price.region in region) and (not instance or price.instance_type in instance)
    ]
    if not found:
        raise ConfigError(f"{option}: has no GPU of these --region and --instance")
    return found


def _of_aws(region: list[str] | None, instance: list[str] | None) -> list[Price]:
    """Raises ConfigError."""
    fresh: list[Price] = []
    for each in region or [spot_prices.default_region()]:
        instances = list(dict.fromkeys(instance or DEFAULT_INSTANCES))
        found = spot_prices.fetch(each, instances)
        fresh.extend(found)
        for missing in sorted(set(instances) - {price.instance_type for price in found}):
            print(f"not offered on the spot market: {missing} in {each}")
    if not fresh:
        raise ConfigError("AWS offers none of these on the spot market there: try other --region or --instance")
    return fresh


def merged(kept: tuple[Price, ...], fresh: list[Price]) -> tuple[Price, ...]:
    """The old rows, those with a fresh price replaced in place, followed by the new ones.

    A row's price on demand stays where there is no fresh one, and its source says how old that is.
    """
    rows = {_key(price): price for price in fresh}
    places = {_key(price) for price in kept}
    updated = tuple(_updated(price, rows[_key(price)]) if _key(price) in rows else price for price in kept)
    return updated + tuple(price for key, price in rows.items() if key not in places)


def _updated(old: Price, new: Price) -> Price:
    if old.on_demand_gpu_hour is None or new.on_demand_gpu_hour is not None:
        return new.model_copy(update={"gpu": old.gpu})
    _, already, before = old.source.partition(KEPT)
    source = f"{new.source}{KEPT}{before if already else f'as of {old.date or UNDATED}, {old.source}'}"
    on_demand = {"gpu": old.gpu, "on_demand_gpu_hour": old.on_demand_gpu_hour, "source": source}
    return new.model_copy(update=on_demand)


def _key(price: Price) -> tuple[str | None, ...]:
    return price.provider, price.region, price.instance_type, price.currency


def _write(path: Path, catalog: Catalog) -> None:
    """The catalog as text, below the comment that the earlier file begins with."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    start = PRICES_LINE.search(before)
    head = before[: start.start()] if start else HEAD
    objects.publish(str(path), (head + catalog.as_yaml()).encode())


def _cells(price: Price) -> list[str]:
    return [
        price.gpu,
        price.instance_type or UNKNOWN,
        count(price.gpus_per_instance) if price.instance_type else UNKNOWN,
        price.provider or UNKNOWN,
        price.region or UNKNOWN,
        money(price.on_demand_gpu_hour, price.currency),
        money(price.spot_gpu_hour, price.currency),
        price.date.isoformat() if price.date else "undated",
        UNKNOWN if price.age_days is None else f"{price.age_days}d{' old' if price.is_stale else ''}",
        price.source,
    ]


if __name__ == "__main__":
    command.run_several(
        {"list": list_prices, "check": check, "refresh": refresh},
        "The price catalog: what is in it, and today's spot prices of AWS for it.",
    )
