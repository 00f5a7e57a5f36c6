"""An actor's price is that of its own device where its node stands, and every cost row says which it was."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from configs.errors import ConfigError
from configs.labels import INSTANCE_LABEL, INSTANCE_TYPE_LABEL, PROVIDER_LABEL
from configs.prices import Catalog, Price
from configs.settings import PriceSettings
from pipeline.actor.assignment import Assignment
from pipeline.actor.engine_driver import EngineDriver
from pipeline.actor.gauge import ActorGauge
from pipeline.billing.metering import Rate
from pipeline.billing.rates import Rates
from pipeline.ledger.commit import commit
from pipeline.ledger.records import MeterReading
from pipeline.planning.quote import Prices
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.document import Document
from tests import one_actor
from tests.waiting import PATIENCE_SECONDS

P5 = Price(
    gpu="H100 SXM5 80 GB",
    provider="aws",
    region="us-east-1",
    instance_type="p5.48xlarge",
    gpus_per_instance=8,
    on_demand_gpu_hour=Decimal("6.88"),
    spot_gpu_hour=Decimal("2.25"),
    date=datetime.now(UTC).date(),
    source="a test",
)
SPOT = {"ray.io/market-type": "spot", "ray.io/availability-region": "us-east-1"}


def rates(**price: object) -> Rates:
    return Rates(PriceSettings.model_validate(price), 2, Catalog(prices=(P5,)))


def test_the_price_on_a_spot_node_with_that_on_demand_beside_it():
    rate = rates().of_gpu("NVIDIA H100 80GB HBM3", SPOT)
    assert rate == Rate(
        "NVIDIA H100 80GB HBM3",
        1,
        Decimal("2.25"),
        "USD",
        market="spot",
        provider="aws",
        region="us-east-1",
        instance_type="p5.48xlarge",
        on_demand=Decimal("6.88"),
    )
    assert rate.on_demand_price_per_second > rate.price_per_second == Decimal("0.000625")


@pytest.mark.parametrize("labels", [{}, {"ray.io/market-type": "on-demand"}])
def test_a_node_that_says_nothing_else_was_bought_on_demand(labels):
    rate = rates().of_gpu("H100", labels)
    assert (rate.market, rate.price_per_hour) == ("on_demand", (Decimal("6.88")))
    assert rate.on_demand_price_per_second == rate.price_per_second


def test_settings_go_before_labels_and_an_explicit_price_before_the_catalog():
    assert rates(market="spot").of_gpu("H100", {}).market == "spot"
    assert rates(market="on_demand").of_gpu("H100", SPOT).market == "on_demand"
    explicit = rates(gpu_hour="1.5").of_gpu("a GPU that nobody knows", SPOT)
    assert (explicit.market, explicit.region, explicit.instance_type) == ("spot", "us-east-1", "")
    assert explicit.price_per_hour == explicit.on_demand_price_per_hour == Decimal("1.5")


def test_a_cpu_has_its_price_and_its_nodes_market():
    rate = rates(provider="aws").of_cpu(SPOT)
    assert (rate.device_type, rate.devices, rate.market, rate.provider) == ("cpu", 2, "spot", "aws")
    assert rate.price_per_hour == Decimal("0.04")


def test_a_market_that_nobody_knows_is_refused_unless_settings_name_one():
    labels = {"ray.io/market-type": "futures"}
    with pytest.raises(ConfigError, match=r"'futures'.*price\.market=spot"):
        rates().of_gpu("H100", labels)
    assert rates(market="spot").of_gpu("H100", labels).market == "spot"


def test_the_cloud_that_a_node_says_it_is_in_is_the_provider():
    """Default settings: a spot H100 of AWS was billed at the price of the first cloud in the catalog."""
    shipped = Rates(PriceSettings(), 1, Catalog.load())
    aws = {PROVIDER_LABEL: "aws", INSTANCE_TYPE_LABEL: "p5.48xlarge", INSTANCE_LABEL: "i-0abc"}
    rate = shipped.of_gpu("NVIDIA H100 80GB HBM3", SPOT | aws)
    assert rate.price_per_hour == (Decimal("2.25"))
    assert (rate.provider, rate.region, rate.instance_type, rate.instance_id) == (
        "aws",
        "us-east-1",
        "p5.48xlarge",
        "i-0abc",
    )
    with pytest.raises(ConfigError, match=r"provider gcp.*there is gpu-cloud"):
        shipped.of_gpu("NVIDIA H100 80GB HBM3", SPOT | {PROVIDER_LABEL: "gcp"})
    with pytest.raises(ConfigError, match=r"price\.provider=aws\|gpu-cloud"):
        shipped.of_gpu("NVIDIA H100 80GB HBM3", SPOT)
    # The driver cannot know what an actor will find out.
    shipped.check_gpu("H100", SPOT)
    explicit = replace(shipped, price=PriceSettings(provider="gpu-cloud"))
    assert explicit.of_gpu("H100", SPOT).price_per_hour == Decimal("0.80")
    assert explicit.of_cpu(aws).columns["instance_id"] == "i-0abc"


def test_a_quote_takes_both_markets_of_one_provider():
    shipped = Rates(PriceSettings(), 1, Catalog.load())
    quoted = Prices.of(shipped, "H100", {})
    assert [round(each, 6) for each in (quoted.now, quoted.on_demand, quoted.spot)] == [
        Decimal("2.9"),
        Decimal("2.9"),
        Decimal("0.8"),
    ]
    on_aws = Prices.of(shipped, "H100", SPOT | {PROVIDER_LABEL: "aws"})
    assert [round(on_aws.now, 6), on_aws.on_demand] == [Decimal("2.25"), None]


def test_a_gpu_without_a_price_is_refused():
    rates().check_gpu("H100", SPOT)
    with pytest.raises(ConfigError, match="one H200"):
        rates().check_gpu("H200", SPOT)


def test_an_actors_reading_says_what_it_pays():
    rate = rates().of_gpu("NVIDIA H100 80GB HBM3", SPOT)
    assert ActorGauge(rate).reading().rate == rate


def test_cost_rows_say_which_price_was_in_force(tmp_path):
    assignment = one_actor.assignment_in(tmp_path)
    driver = EngineDriver(assignment, node_labels=SPOT)
    driver.start()
    (tmp_path / "a.txt").write_text(one_actor.TEXT)
    (future,) = driver.submit([one_actor.streamed(tmp_path / "a.txt", one_actor.TEXT.encode())])
    assert future.result(PATIENCE_SECONDS)["status"] == "ok"
    rows = committed(assignment, "a.txt")
    assert {"document", "startup", "load"} <= {row["kind"] for row in rows}
    for row in rows:
        assert (row["market"], row["region"]) == ("spot", "us-east-1")
        assert row["provider"] is row["instance_type"] is None
        assert row["on_demand_price_per_second"] == row["price_per_second"] > 0
        assert row["on_demand_price_per_hour"] == row["price_per_hour"] == Decimal("0.04")
        assert row["cost"] == row["device_seconds"] * row["price_per_second"]


def committed(assignment: Assignment, *names: str) -> list[dict]:
    ledger = one_actor.ledger(assignment)
    config = {"price": {"currency": "USD"}, "model": {"uri": "m"}, "input": {"sources": ["x"]}}
    now = datetime.now(UTC).isoformat()
    ledger.begin({"started_at": now, "settings_sha256": "s", "model_revision": "m", "config": config})
    commit(ledger, [Document(name, name, "e", 1) for name in names])
    return Warehouse(ledger.output_uri).rows("select * from costs")


def test_a_device_without_a_price_stops_the_actor_with_the_refusal(tmp_path):
    assignment = one_actor.assignment_in(tmp_path)
    driver = EngineDriver(assignment, node_labels={"ray.io/market-type": "futures"})
    driver.start()
    (future,) = driver.submit([one_actor.streamed(tmp_path / "a.txt", b"a line\n")])
    with pytest.raises(ConfigError, match="futures"):
        future.result(PATIENCE_SECONDS)


def test_a_reading_from_before_markets_were_recorded_still_counts():
    now = asdict(ActorGauge(Rate("cpu", 2, Decimal("0.04"), "USD")).reading())
    added = ("market", "provider", "region", "instance_type", "on_demand_price_per_second")
    columns = MeterReading(**{name: value for name, value in now.items() if name not in added}).rate.columns
    assert columns["market"] is None and columns["region"] is None
    assert columns["on_demand_price_per_second"] == columns["price_per_second"] > 0


def test_a_reading_keeps_the_price_of_an_hour_exact_and_one_without_it_that_of_a_second():
    rate = Rate("cpu", 2, Decimal("0.04"), "USD", on_demand=Decimal("0.07"))
    now = asdict(ActorGauge(rate).reading())
    assert MeterReading(**now).rate.prices == rate.prices
    added = ("price_per_hour", "on_demand_price_per_hour")
    before = MeterReading(**{name: value for name, value in now.items() if name not in added}).rate
    assert before.price_per_second == rate.price_per_second == Decimal("0.000011111111")
    assert before.on_demand_price_per_second == rate.on_demand_price_per_second
    assert before.cost(3_600_000_000) == rate.cost(3_600_000_000)
    assert before.price_per_hour == Decimal("0.0399999996")
