"""Rows of SkyPilot's catalog (`vms.csv`, one file a cloud), as rows of the price catalog.

A price there is that of the instance, and carries no date. Of an instance type's zones the cheapest counts, in each
region.
"""

import csv
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path

from configs.errors import ConfigError
from configs.prices import Price
from pipeline.billing.spot_prices import HOUR_STEP

COLUMNS = {"InstanceType", "AcceleratorName", "AcceleratorCount", "Price", "SpotPrice", "Region"}


def read(path: Path) -> list[Price]:
    """A row for each instance type with GPUs and region; the folder's name is the provider. Raises ConfigError."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if missing := COLUMNS - set(rows.fieldnames or ()):
                raise ConfigError(f"--skypilot {path}: has no columns {', '.join(sorted(missing))}")
            found = list(_prices(rows, path.resolve().parent.name))
    except (OSError, UnicodeDecodeError, csv.Error, InvalidOperation) as error:
        raise ConfigError(f"--skypilot {path}: is no file of SkyPilot's catalog: {error!r}") from error
    cheapest: dict[tuple[str | None, str | None], Price] = {}
    for price in sorted(found, key=lambda each: each.spot_gpu_hour or Decimal("Infinity")):
        cheapest.setdefault((price.instance_type, price.region), price)
    return list(cheapest.values())


def _prices(rows: Iterator[dict[str, str]], provider: str) -> Iterator[Price]:
    for row in rows:
        if not row["AcceleratorName"] or not (row["Price"] or row["SpotPrice"]):
            continue
        # A part of a GPU is no GPU of one's own.
        if (number := float(row["AcceleratorCount"])) < 1:
            continue
        yield Price(
            gpu=row["AcceleratorName"],
            provider=provider,
            region=row["Region"] or None,
            instance_type=row["InstanceType"] or None,
            gpus_per_instance=int(number),
            on_demand_gpu_hour=_hour(row["Price"], number),
            spot_gpu_hour=_hour(row["SpotPrice"], number),
            date=None,
            source=f"SkyPilot catalog of {provider}",
        )


def _hour(price: str, gpus: float) -> Decimal | None:
    """Of one GPU."""
    return (Decimal(price) / int(gpus)).quantize(HOUR_STEP).normalize() if price else None
