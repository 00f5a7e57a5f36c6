"""`jobs.prices refresh --gpuhunt` makes rows of what gpuhunt's catalogs hold, which a folder has here."""

import csv
import sys
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from configs.errors import ConfigError
from configs.prices import Catalog, Where
from jobs import prices
from pipeline.billing import gpuhunt_catalog


class Item(NamedTuple):
    """What counts here of a `gpuhunt.CatalogItem`."""

    instance_name: str
    price: float
    spot: bool = False
    provider: str = "gcp"
    location: str = "us-central1"
    gpu_count: int = 8
    gpu_name: str | None = "H200"
    gpu_memory: float | None = 141.0
    gpu_vendor: str | None = "nvidia"


L4 = {"location": "europe-west4", "gpu_count": 1, "gpu_name": "L4", "gpu_memory": 24.0}
ITEMS = [
    Item("a3-ultragpu-8g", 84.8),
    Item("a3-ultragpu-8g", 50.4, spot=True),
    Item("a3-ultragpu-8g", 48.0, spot=True),
    Item("g2-standard-4", 0.71, **L4),
    Item("n2-standard-4", 0.2, gpu_count=0, gpu_name=None, gpu_memory=None, gpu_vendor=None),
    Item("ct6e", 10.8, gpu_count=4, gpu_name="v6e", gpu_memory=32.0, gpu_vendor="google"),
]


@pytest.fixture
def gpuhunt(monkeypatch, tmp_path) -> Any:
    """The package, with a folder instead of its network. It is in no lock, since its wheel puts a package of the name
    `tests` beside itself, which would take the place of ours."""
    try:
        import gpuhunt
    except ImportError:
        pytest.skip("gpuhunt is not installed")
    monkeypatch.setenv(gpuhunt_catalog.FOLDER, str(tmp_path))
    return gpuhunt


def test_a_row_has_both_prices_of_one_gpu_in_the_cheapest_zone():
    h200, l4 = gpuhunt_catalog.prices(ITEMS, {"gcp": gpuhunt_catalog.day_of("20260819-1234")})
    assert (h200.gpu, h200.provider, h200.region, h200.gpus_per_instance) == ("H200 141 GB", "gcp", "us-central1", 8)
    assert (h200.on_demand_gpu_hour, h200.spot_gpu_hour, h200.date) == (Decimal("10.6"), 6, date(2026, 8, 19))
    assert (l4.gpu, l4.instance_type, l4.region) == ("L4 24 GB", "g2-standard-4", "europe-west4")
    assert (l4.on_demand_gpu_hour, l4.spot_gpu_hour) == (Decimal("0.71"), None)
    assert [price.date for price in gpuhunt_catalog.prices(ITEMS, {})] == [None, None]


# The package leaves a file of the folder to the garbage collector to close.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_refresh_takes_what_the_package_knows_of_a_cloud(gpuhunt, tmp_path, capsys):
    from gpuhunt._internal import storage

    with (tmp_path / "gcp.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, storage.CATALOG_V2_FIELDS)
        writer.writeheader()
        for item in ITEMS:
            vendor = gpuhunt.AcceleratorVendor(item.gpu_vendor) if item.gpu_vendor else None
            fields = item._asdict() | {"gpu_vendor": vendor, "cpu": 8, "memory": 64.0, "disk_size": None}
            writer.writerow(storage.item_to_row(gpuhunt.CatalogItem(**fields)))
    path = tmp_path / "prices.yaml"
    prices.refresh(output=str(path), gpuhunt=["gcp"])
    found = Catalog.load(path).find("NVIDIA H200", "spot", where=Where("gcp", "us-central1"))
    assert (found.spot_gpu_hour, found.source) == (6, "gpuhunt's catalog of gcp")
    assert "L4 24 GB in europe-west4 (g2-standard-4): $0.71 on demand" in capsys.readouterr().out
    prices.refresh(["europe-west4"], output=str(tmp_path / "west.yaml"), gpuhunt=["gcp"])
    assert [row.gpu for row in Catalog.read(tmp_path / "west.yaml").prices] == ["L4 24 GB"]


def test_what_the_package_cannot_give_is_refused(gpuhunt, tmp_path, monkeypatch):
    path = str(tmp_path / "prices.yaml")
    with pytest.raises(ConfigError, match="--gpuhunt nowhere: Unknown provider: nowhere"):
        prices.refresh(output=path, gpuhunt=["nowhere"])
    with pytest.raises(ConfigError, match=r"--gpuhunt gcp: .*gcp\.csv"):
        prices.refresh(output=path, gpuhunt=["gcp"])
    monkeypatch.delenv(gpuhunt_catalog.FOLDER)
    monkeypatch.setenv("GPUHUNT_CATALOG_URL", "http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="--gpuhunt gcp: Failed to load"):
        prices.refresh(output=path, gpuhunt=["gcp"])


def test_without_the_package_the_refusal_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gpuhunt", None)
    with pytest.raises(ConfigError, match=r"pip install 'longhaul\[gpuhunt\]'"):
        prices.refresh(output=str(tmp_path / "prices.yaml"), gpuhunt=["gcp"])
    with pytest.raises(ConfigError, match="--skypilot a and --gpuhunt gcp"):
        prices.refresh(output=str(tmp_path / "prices.yaml"), gpuhunt=["gcp"], skypilot="a")
