"""`python -m jobs.prices list|refresh`: what GPUs cost in the catalog, and on AWS's spot market today."""

import re
from pathlib import Path
from typing import Annotated

import typer

from configs.errors import ConfigError
from configs.prices import Catalog, Price
from jobs import command, screen
from pipeline.billing import spot_prices
from pipeline.reports.quantities import UNKNOWN, count, money
from pipeline.storage import objects

COLUMNS = ("GPU", "instance", "GPUs", "from", "region", "on demand", "spot", "date", "age", "source")
NUMBERS = ("GPUs", "on demand", "spot", "age")
DEFAULT_INSTANCES = ("p4d.24xlarge", "p4de.24xlarge", "p5.48xlarge", "p5en.48xlarge", "g6e.xlarge")
HEAD = "# Per hour of one GPU; name this file as price.catalog. `python -m jobs.prices refresh` updates it.\n"
PRICES_LINE = re.compile(r"^prices:", re.MULTILINE)
KEPT = "; on demand "

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
) -> None:
    """Fetch today's spot prices from AWS, for the cheapest zone of each region, and write them to a catalog.

    Uses the AWS credentials of the environment, which need only ec2:DescribeSpotPriceHistory and
    ec2:DescribeInstanceTypes.
    """
    path = Path(output).expanduser()
    kept = Catalog.read(path).prices if path.exists() else ()
    fresh: list[Price] = []
    for each in region or [spot_prices.default_region()]:
        instances = list(dict.fromkeys(instance or DEFAULT_INSTANCES))
        found = spot_prices.fetch(each, instances)
        fresh.extend(found)
        for missing in sorted(set(instances) - {price.instance_type for price in found}):
            print(f"not offered on the spot market: {missing} in {each}")
    if not fresh:
        raise ConfigError("AWS offers none of these on the spot market there: try other --region or --instance")
    _write(path, Catalog(prices=merged(kept, fresh)))
    for price in fresh:
        print(f"{price.gpu} in {price.region} ({price.instance_type}): {price.spot_gpu_hour} {price.currency} an hour")
    print(f"wrote {len(fresh)} to {path}; use it as price.catalog={path}")


def merged(kept: tuple[Price, ...], fresh: list[Price]) -> tuple[Price, ...]:
    """The old rows, those with a fresh price replaced in place, followed by the new ones.

    A row's price on demand stays, and its source says how old that is.
    """
    rows = {_key(price): price for price in fresh}
    places = {_key(price) for price in kept}
    updated = tuple(_updated(price, rows[_key(price)]) if _key(price) in rows else price for price in kept)
    return updated + tuple(price for key, price in rows.items() if key not in places)


def _updated(old: Price, new: Price) -> Price:
    if old.on_demand_gpu_hour is None:
        return new.model_copy(update={"gpu": old.gpu})
    _, already, before = old.source.partition(KEPT)
    source = f"{new.source}{KEPT}{before if already else f'as of {old.date}, {old.source}'}"
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
        price.date.isoformat(),
        f"{price.age_days}d{' old' if price.is_stale else ''}",
        price.source,
    ]


if __name__ == "__main__":
    command.run_several(
        {"list": list_prices, "refresh": refresh},
        "The price catalog: what is in it, and today's spot prices of AWS for it.",
    )
