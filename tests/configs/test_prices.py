"""A GPU's price is found by any of its names, dated and with its source, or its lack says what to add."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from structlog.testing import capture_logs

from configs import prices
from configs.errors import ConfigError
from configs.loader import load
from configs.prices import SHIPPED, STALE_DAYS, Catalog, Price, Where
from configs.settings import SummarizeConfig

TODAY = datetime.now(UTC).date()


def price(gpu: str, **values: object) -> Price:
    return Price.model_validate(
        {"gpu": gpu, "on_demand_gpu_hour": "3", "date": TODAY, "source": "a test"} | values, strict=False
    )


def catalog(*rows: Price) -> Catalog:
    return Catalog(prices=rows)


def test_the_shipped_prices_are_found_by_the_names_that_torch_gives():
    shipped = Catalog.load()
    cloud = shipped.find("NVIDIA H100 80GB HBM3", "spot", where=Where("gpu-cloud"))
    assert cloud.spot_gpu_hour == Decimal("0.8")
    assert shipped.find("NVIDIA A100-SXM4-80GB").on_demand_gpu_hour == Decimal("1.64")
    aws = shipped.find("NVIDIA H100 80GB HBM3", "spot", where=Where("aws"))
    assert (aws.instance_type, aws.gpus_per_instance) == ("p5.48xlarge", 8)


def test_a_price_is_that_of_the_row_which_fits_provider_region_market_and_currency():
    rows = catalog(
        price("H100", provider="a", region="east", currency="EUR"),
        price("H100", provider="a", region="east"),
        price("H100", provider="a", region="west", on_demand_gpu_hour=None, spot_gpu_hour="1"),
        price("H100", provider="b", on_demand_gpu_hour="4", spot_gpu_hour="2"),
    )
    assert rows.find("H100", currency="EUR") is rows.prices[0]
    assert rows.find("H100", where=Where("a")) is rows.prices[1]
    assert rows.find("H100", "spot", where=Where("a", "west")) is rows.prices[2]
    assert rows.find("H100", where=Where("b", "west")) is rows.prices[3]
    with pytest.raises(ConfigError, match="provider a, region west, market on_demand"):
        rows.find("H100", where=Where("a", "west"))
    with pytest.raises(ConfigError, match="provider c, market on_demand"):
        rows.find("H100", where=Where("c"))


def test_a_row_that_names_the_place_goes_before_one_that_holds_anywhere():
    rows = catalog(
        price("H100", on_demand_gpu_hour="1"),
        price("H100", region="west", on_demand_gpu_hour="2"),
        price("H100", provider="a", on_demand_gpu_hour="3"),
        price("H100", provider="a", instance_type="large", on_demand_gpu_hour="4"),
    )
    found = {
        where: rows.find("H100", where=where).on_demand_gpu_hour
        for where in (
            Where("b", "north"),
            Where("b", "west"),
            Where("a", "north", "small"),
            Where("a", "north", "large"),
        )
    }
    assert list(found.values()) == [1, 2, 3, 4]


def test_prices_that_differ_where_nothing_says_which_is_meant_are_refused():
    """One spot H100 of AWS was billed at another cloud's price."""
    with pytest.raises(ConfigError) as refused:
        Catalog.load().find("NVIDIA H100 80GB HBM3", "spot")
    assert "gpu-cloud spot 0.8 USD, aws p5.48xlarge spot 2.25 USD" in str(refused.value)
    assert "Set price.provider=aws|gpu-cloud, or give the price itself: price.gpu_hour=PRICE" in str(refused.value)
    rows = catalog(
        price("H100", provider="a", region="east"), price("H100", provider="a", region="west", on_demand_gpu_hour="4")
    )
    with pytest.raises(ConfigError, match=r"Set price\.region=east\|west, or"):
        rows.find("H100", where=Where("a"))


def test_what_differs_in_nothing_but_the_place_needs_no_answer_and_the_first_of_one_place_wins():
    rows = catalog(
        price("H100", provider="a", source="newer"),
        price("H100", provider="a", on_demand_gpu_hour="9", source="older"),
        price("H100", provider="b"),
    )
    assert rows.find("H100").source == "newer"


def test_it_is_told_once_whose_price_is_taken_and_warned_of_where_that_is_a_guess():
    prices._tell.cache_clear()
    rows = catalog(price("H100", provider="a", instance_type="large"))
    with capture_logs() as logs:
        for where in (Where("a", "west", "large"), Where(), Where()):
            rows.find("H100", where=where)
    known, guessed = logs
    assert (known["event"], known["log_level"], known["node_provider"]) == ("price_found", "info", "a")
    assert (known["price_instance_type"], known["hour"], known["source"]) == ("large", "3 USD", "a test")
    assert (guessed["event"], guessed["log_level"]) == ("price_assumed", "warning")
    assert guessed["remedy"] == "price.provider=a if it is theirs, else price.gpu_hour=PRICE"


def test_rows_of_ones_own_go_before_the_shipped_ones(tmp_path):
    own = tmp_path / "my-prices.yaml"
    own.write_text("prices:\n  - {gpu: H100, on_demand_gpu_hour: 2.10, date: 2026-01-02, source: our contract}\n")
    known = Catalog.load(own)
    # Of whoever it is, and though it says less of where it holds.
    for where in (Where(), Where("gpu-cloud")):
        assert known.find("NVIDIA H100 80GB HBM3", where=where).source == "our contract"
    assert known.find("NVIDIA L40S").on_demand_gpu_hour == Decimal("0.72")


def test_what_an_unknown_gpu_says_to_add_is_enough(tmp_path):
    with pytest.raises(ConfigError, match=r"price\.catalog=my-prices\.yaml") as refused:
        Catalog.load().find("NVIDIA H200", "spot")
    lines = str(refused.value).splitlines()
    added = "\n".join(lines[lines.index("prices:") : -1])
    own = tmp_path / "my-prices.yaml"
    own.write_text(added)
    with pytest.raises(ConfigError, match=r"my-prices\.yaml: prices\.0\.spot_gpu_hour = 'PRICE'"):
        Catalog.load(own)
    own.write_text(added.replace("PRICE", "1.25"))
    assert Catalog.load(own).find("NVIDIA H200", "spot").spot_gpu_hour == Decimal("1.25")


def test_a_gpu_that_is_not_offered_so_says_how_it_is(tmp_path):
    with pytest.raises(ConfigError, match=r"there is gpu-cloud on_demand 0\.72 USD"):
        Catalog.load().find("NVIDIA L40S", "spot")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file"),
        ("prices:\n  - {gpu: H100, date: 2026-01-01, source: s}\n", "give one, or no row"),
        ("prices:\n  - {gpu: H100, on_demand_gpu_hour: 1, source: s}\n", r"prices\.0\.date: is required"),
        ("prices:\n  - {gpu: H100, on_demand: 1, date: 2026-01-01, source: s}\n", "on_demand_gpu_hour"),
    ],
)
def test_a_wrong_catalog_is_refused_with_its_name(tmp_path, text, says):
    path = tmp_path / "my-prices.yaml"
    if text:
        path.write_text(text)
    with pytest.raises(ConfigError, match=f"my-prices.yaml.*{says}"):
        Catalog.load(path)


def test_a_stale_price_is_warned_of_once():
    prices._warn.cache_clear()
    prices._tell.cache_clear()
    fresh = price("H100", date=TODAY - timedelta(days=STALE_DAYS))
    stale = price("H200", date=TODAY - timedelta(days=STALE_DAYS + 1))
    with capture_logs() as logs:
        for _ in range(2):
            catalog(fresh, stale).find("H100")
            catalog(fresh, stale).find("H200")
    told = [(each["event"], each["log_level"], each["gpu"]) for each in logs if each["event"] != "price_found"]
    assert told == [("price_is_old", "warning", "H200")]


def test_a_catalog_is_what_it_was_after_it_was_written(tmp_path):
    rows = catalog(
        price("H100", on_demand_gpu_hour=None, spot_gpu_hour="0.000001250", gpus_per_instance=8),
        price("H200", on_demand_gpu_hour="2", currency="EUR", source="so: #1 of 'all'"),
    )
    path = tmp_path / "prices.yaml"
    path.write_text(rows.as_yaml())
    assert Catalog.read(path) == rows


def test_settings_name_a_catalog_and_a_market():
    config = load(SummarizeConfig, None, ["input.sources=[a]", "price.catalog=my.yaml", "price.market=spot"])
    assert (config.price.catalog, config.price.market) == ("my.yaml", "spot")
    with pytest.raises(ConfigError, match=r"price\.market"):
        load(SummarizeConfig, None, ["input.sources=[a]", "price.market=cheap"])


def test_every_shipped_price_has_a_source_and_is_not_of_the_future():
    for row in Catalog.read(SHIPPED).prices:
        assert row.source and (row.age_days is None or row.age_days >= 0)


def test_a_price_of_an_unknown_day_counts_where_its_provider_is_named():
    rows = catalog(price("H100", provider="a", on_demand_gpu_hour="1", date=None), price("H100", provider="b"))
    assert rows.find("H100").provider == "b"
    assert rows.find("H100", where=Where("a")) is rows.prices[0]
    assert rows.prices[0].is_stale and not rows.prices[1].is_stale


@pytest.mark.parametrize("gpu", ["B200", "H100", "H200", "L40S", "NVIDIA RTX PRO 6000"])
def test_the_shipped_rows_know_gpus_of_today(gpu):
    assert Catalog.load().find(gpu, where=Where("verda")).is_stale
