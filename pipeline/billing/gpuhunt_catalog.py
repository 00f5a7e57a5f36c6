"""Rows of gpuhunt's catalogs of clouds, as rows of the price catalog. The package is optional and brings no prices: it
downloads them, or reads those in the folder that GPUHUNT_CATALOG_DIR names.

A price there is that of the instance, on demand or spot, and each cloud's catalog is named by the day that it was made
on. A folder's files are not, so their prices have no date. Of an instance type's zones the cheapest counts, in each
region.
"""

import datetime
import os
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from configs.errors import ConfigError
from configs.prices import Price
from pipeline.billing.spot_prices import HOUR_STEP

FOLDER = "GPUHUNT_CATALOG_DIR"
GPU_VENDORS = ("nvidia", "amd")
"""Other accelerators run no model here."""


def fetch(providers: Sequence[str]) -> list[Price]:
    """A row for each instance type with GPUs and region of these clouds, as gpuhunt spells them.

    Raises ConfigError without the package, where it cannot download, and for a cloud whose catalog it has not.
    """
    try:
        import gpuhunt
    except ImportError as error:
        raise ConfigError(
            "--gpuhunt: needs the package gpuhunt, which is not installed: pip install 'longhaul[gpuhunt]'"
        ) from error
    catalog = gpuhunt.Catalog(auto_reload=False)
    try:
        if FOLDER not in os.environ:
            catalog.load()
        items = catalog.query(provider=list(providers))
    except (OSError, ValueError, KeyError, gpuhunt.GPUHuntError) as error:
        raise ConfigError(f"--gpuhunt {', '.join(providers)}: {error or repr(error)}") from error
    return prices(items, {name: day_of(loaded.version) for name, loaded in catalog.catalog.items()})


def prices(items: Iterable[Any], days: dict[str, datetime.date]) -> list[Price]:
    """Rows of gpuhunt's items, with the days that are known of their providers' catalogs."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for item in items:
        if not item.gpu_count or item.gpu_vendor not in GPU_VENDORS:
            continue
        row = rows.setdefault((item.provider, item.location, item.instance_name, item.gpu_name), _row(item, days))
        name, hour = "spot_gpu_hour" if item.spot else "on_demand_gpu_hour", _hour(item)
        row[name] = min(hour, row.get(name, hour))
    return [Price.model_validate(row) for row in rows.values()]


def _row(item: Any, days: dict[str, datetime.date]) -> dict[str, Any]:
    return {
        "gpu": f"{item.gpu_name} {item.gpu_memory:g} GB" if item.gpu_memory else item.gpu_name,
        "provider": item.provider,
        "region": item.location or None,
        "instance_type": item.instance_name or None,
        "gpus_per_instance": item.gpu_count,
        "date": days.get(item.provider),
        "source": f"gpuhunt's catalog of {item.provider}",
    }


def _hour(item: Any) -> Decimal:
    """Of one GPU."""
    return (Decimal(str(item.price)) / item.gpu_count).quantize(HOUR_STEP).normalize()


def day_of(version: str) -> datetime.date:
    """Of a version such as `20260819-1234`."""
    return datetime.datetime.strptime(version[:8], "%Y%m%d").date()
