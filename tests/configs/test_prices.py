"""A GPU's price is found by any of its names, dated and with its source, or its lack says what to add."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from configs import prices
from configs.errors import ConfigError
from configs.loader import load
from configs.prices import SHIPPED, STALE_DAYS, Catalogue, Price
from configs.settings import SummarizeConfig

TODAY = datetime.now(UTC).date()


def price(gpu: str, **values: object) -> Price:
    return Price.model_validate(
        {"gpu": gpu, "on_demand_gpu_hour": "3", "date": TODAY, "source": "a test"} | values, strict=False
    )


def catalogue(*rows: Price) -> Catalogue:
    return Catalogue(prices=rows)


def test_the_shipped_prices_are_found_by_the_names_that_torch_gives():
    shipped = Catalogue.load()
    assert shipped.find("NVIDIA H100 80GB HBM3", market="spot").spot_gpu_hour == Decimal("0.8")
    assert shipped.find("NVIDIA A100-SXM4-80GB").on_demand_gpu_hour == Decimal("1.64")
    aws = shipped.find("NVIDIA H100 80GB HBM3", provider="aws", market="spot")
    assert (aws.instance_type, aws.gpus_per_instance) == ("p5.48xlarge", 8)


def test_provider_region_market_and_currency_choose_and_the_first_wins():
    rows = catalogue(
        price("H100", provider="a", region="east", currency="EUR"),
        price("H100", provider="a", region="east"),
        price("H100", provider="a", region="west", on_demand_gpu_hour=None, spot_gpu_hour="1"),
        price("H100", provider="b", spot_gpu_hour="2"),
    )
    assert rows.find("H100") is rows.prices[1]
    assert rows.find("H100", currency="EUR") is rows.prices[0]
    assert rows.find("H100", market="spot") is rows.prices[2]
    assert rows.find("H100", provider="b") is rows.prices[3]
    with pytest.raises(ConfigError, match="region west, market on_demand"):
        rows.find("H100", region="west")


def test_a_row_of_the_nodes_region_or_of_none_goes_before_others():
    rows = catalogue(price("H100", region="east"), price("H100", region="west"), price("H100"))
    assert rows.find("H100", near="west") is rows.prices[1]
    assert rows.find("H100", near="north") is rows.prices[2]
    assert rows.find("H100") is rows.prices[0]


def test_rows_of_ones_own_go_before_the_shipped_ones(tmp_path):
    own = tmp_path / "my-prices.yaml"
    own.write_text("prices:\n  - {gpu: H100, on_demand_gpu_hour: 2.10, date: 2026-01-02, source: our contract}\n")
    known = Catalogue.load(own)
    assert known.find("NVIDIA H100 80GB HBM3").source == "our contract"
    assert known.find("NVIDIA L40S").on_demand_gpu_hour == Decimal("0.72")


def test_what_an_unknown_gpu_says_to_add_is_enough(tmp_path):
    with pytest.raises(ConfigError, match=r"price\.catalogue=my-prices\.yaml") as refused:
        Catalogue.load().find("NVIDIA H200", market="spot")
    lines = str(refused.value).splitlines()
    added = "\n".join(lines[lines.index("prices:") : -1])
    own = tmp_path / "my-prices.yaml"
    own.write_text(added)
    with pytest.raises(ConfigError, match=r"my-prices\.yaml: prices\.0\.spot_gpu_hour = 'PRICE'"):
        Catalogue.load(own)
    own.write_text(added.replace("PRICE", "1.25"))
    assert Catalogue.load(own).find("NVIDIA H200", market="spot").spot_gpu_hour == Decimal("1.25")


def test_a_gpu_that_is_not_offered_so_says_how_it_is(tmp_path):
    with pytest.raises(ConfigError, match=r"there is gpu-cloud on_demand 0\.72 USD"):
        Catalogue.load().find("NVIDIA L40S", market="spot")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file"),
        ("prices:\n  - {gpu: H100, date: 2026-01-01, source: s}\n", "give one, or no row"),
        ("prices:\n  - {gpu: H100, on_demand_gpu_hour: 1, source: s}\n", r"prices\.0\.date: is required"),
        ("prices:\n  - {gpu: H100, on_demand: 1, date: 2026-01-01, source: s}\n", "on_demand_gpu_hour"),
    ],
)
def test_a_wrong_catalogue_is_refused_with_its_name(tmp_path, text, says):
    path = tmp_path / "my-prices.yaml"
    if text:
        path.write_text(text)
    with pytest.raises(ConfigError, match=f"my-prices.yaml.*{says}"):
        Catalogue.load(path)


def test_a_stale_price_is_warned_of_once():
    prices._warn.cache_clear()
    fresh = price("H100", date=TODAY - timedelta(days=STALE_DAYS))
    stale = price("H200", date=TODAY - timedelta(days=STALE_DAYS + 1))
    with capture_logs() as logs:
        for _ in range(2):
            catalogue(fresh, stale).find("H100")
            catalogue(fresh, stale).find("H200")
    assert [(each["event"], each["log_level"], each["gpu"]) for each in logs] == [("price_is_old", "warning", "H200")]


def test_a_catalogue_is_what_it_was_after_it_was_written(tmp_path):
    rows = catalogue(
        price("H100", on_demand_gpu_hour=None, spot_gpu_hour="0.000001250", gpus_per_instance=8),
        price("H200", on_demand_gpu_hour="2", currency="EUR", source="so: #1 of 'all'"),
    )
    path = tmp_path / "prices.yaml"
    path.write_text(rows.as_yaml())
    assert Catalogue.read(path) == rows


def test_settings_name_a_catalogue_and_a_market():
    config = load(SummarizeConfig, None, ["input.sources=[a]", "price.catalogue=my.yaml", "price.market=spot"])
    assert (config.price.catalogue, config.price.market) == ("my.yaml", "spot")
    with pytest.raises(ConfigError, match=r"price\.market"):
        load(SummarizeConfig, None, ["input.sources=[a]", "price.market=cheap"])


def test_every_shipped_price_has_a_source_and_is_not_of_the_future():
    for row in Catalogue.read(SHIPPED).prices:
        assert row.source and row.age_days >= 0
