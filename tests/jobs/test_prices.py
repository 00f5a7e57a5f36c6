"""`jobs.prices` shows the catalog and brings it up to date, from an AWS that is moto's."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from moto.server import ThreadedMotoServer

from configs.errors import ConfigError
from configs.prices import Catalog, Where
from jobs import exits, prices
from pipeline.billing import spot_prices
from pipeline.reports.warehouse import Warehouse
from tests.jobs.conftest import ROOT
from tests.jobs.test_summarize import write_documents


def today() -> date:
    """Now, since tests may be collected before midnight and run after it."""
    return datetime.now(UTC).date()


MOTOS_PRICE = Decimal("0.00001")
"""Of any instance."""


@pytest.fixture(scope="module")
def moto_url():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto_url, monkeypatch) -> None:
    """The environment of somebody with credentials."""
    nobody(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL_EC2", moto_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def nobody(monkeypatch) -> None:
    for name in ("PROFILE", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "REGION", "DEFAULT_REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    for name in ("CONFIG_FILE", "SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(f"AWS_{name}", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def job(warm):
    return lambda *arguments, name="prices": warm(f"jobs.{name}", arguments)


def test_refresh_writes_a_catalog_that_a_run_can_use(aws, tmp_path, capsys):
    path = tmp_path / "prices.yaml"
    prices.refresh(["us-east-1", "us-west-2"], ["p5.48xlarge", "p4d.24xlarge", "x9.huge"], str(path))
    rows = Catalog.read(path).prices
    assert {(row.gpu, row.region, row.instance_type, row.gpus_per_instance) for row in rows} == {
        ("H100 80GB", "us-east-1", "p5.48xlarge", 8),
        ("A100 40GB", "us-east-1", "p4d.24xlarge", 8),
        ("H100 80GB", "us-west-2", "p5.48xlarge", 8),
        ("A100 40GB", "us-west-2", "p4d.24xlarge", 8),
    }
    assert {(row.provider, row.date, row.source) for row in rows} == {("aws", today(), spot_prices.SOURCE)}
    assert {row.spot_gpu_hour for row in rows} == {MOTOS_PRICE / 8}
    found = Catalog.load(path).find("NVIDIA H100 80GB HBM3", "spot", where=Where("aws", "us-west-2"))
    assert (found.provider, found.region) == ("aws", "us-west-2")
    assert "not offered on the spot market: x9.huge in us-east-1" in capsys.readouterr().out


def test_refresh_leaves_other_rows_and_what_is_said_of_them_alone(aws, tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text(
        "# Ours.\nprices:\n"
        "  - {gpu: H200, provider: us, on_demand_gpu_hour: 3.10, date: 2026-01-02, source: our contract}\n"
        "  - {gpu: H100 SXM5 80 GB, provider: aws, region: us-east-1, instance_type: p5.48xlarge,\n"
        "     gpus_per_instance: 8, on_demand_gpu_hour: 6.88, spot_gpu_hour: 2.5,\n"
        "     date: 2026-01-02, source: the price list}\n"
    )
    ours = Catalog.read(path).prices[0]
    for _ in range(2):
        prices.refresh(["us-east-1"], ["p5.48xlarge", "g6e.xlarge"], str(path))
        first, p5, l40s = Catalog.read(path).prices
        assert first == ours
        assert (p5.gpu, p5.date) == ("H100 SXM5 80 GB", today())
        assert (p5.on_demand_gpu_hour, p5.spot_gpu_hour) == (Decimal("6.88"), MOTOS_PRICE / 8)
        assert p5.source == f"{spot_prices.SOURCE}; on demand as of 2026-01-02, the price list"
        assert Catalog(prices=(l40s,)).find("NVIDIA L40S", "spot") == l40s
    assert path.read_text().startswith("# Ours.\nprices:\n")


def test_the_price_is_the_latest_of_the_cheapest_zone():
    now = datetime.now(UTC)
    history = [
        {"InstanceType": kind, "AvailabilityZone": zone, "SpotPrice": price, "Timestamp": now - timedelta(minutes=age)}
        for kind, zone, price, age in [
            ("p5.48xlarge", "us-east-1a", "19.200000", 5),
            ("p5.48xlarge", "us-east-1a", "12.000000", 90),
            ("p5.48xlarge", "us-east-1b", "18.400000", 60),
            ("p4d.24xlarge", "us-east-1b", "9.100000", 1),
        ]
    ]
    assert spot_prices.cheapest_zones(history) == {"p5.48xlarge": Decimal("18.4"), "p4d.24xlarge": Decimal("9.1")}


def test_what_has_no_gpu_or_is_offered_nowhere_is_refused(aws, tmp_path):
    path = tmp_path / "prices.yaml"
    with pytest.raises(ConfigError, match=r"m5\.large: has no whole GPU"):
        prices.refresh(["us-east-1"], ["m5.large"], str(path))
    with pytest.raises(ConfigError, match="none of these"):
        prices.refresh(["us-east-1"], ["x9.huge"], str(path))
    with pytest.raises(ConfigError, match="--region"):
        prices.refresh(["nowhere at all"], ["p5.48xlarge"], str(path))
    assert not path.exists()


def test_without_credentials_nothing_is_asked(monkeypatch, tmp_path, job):
    nobody(monkeypatch)
    path = tmp_path / "prices.yaml"
    done = job("refresh", "--output", str(path))
    assert (done.returncode, done.stdout, path.exists()) == (2, "", False)
    assert "refused: AWS: Unable to locate credentials" in done.stderr and "AWS_PROFILE" in done.stderr


def test_the_region_is_that_of_the_environment(aws, monkeypatch):
    assert spot_prices.default_region() == "us-east-1"
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert spot_prices.default_region() == "eu-west-1"


def test_list_shows_each_price_with_date_and_source(job):
    done = job("list", "--gpu", "NVIDIA H100 80GB HBM3")
    assert done.returncode == 0
    for shown in ("H100 SXM5 80 GB", "p5.48xlarge", "$2.90", "$0.80", "$2.25", "2026-04-18", "price list"):
        assert shown in done.stdout
    assert "L40S" not in done.stdout
    unknown = job("list", "--gpu", "T5")
    assert unknown.returncode == 2 and "the catalog knows H100 SXM5 80 GB, A100" in unknown.stderr


def test_a_run_records_the_market_of_its_node(summarize, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_NODE_MARKET_TYPE", "spot")
    monkeypatch.setenv("RAY_NODE_REGION", "eu-north-1")
    write_documents(tmp_path / "docs", ["A document of no great length."])
    done = summarize.alone([str(tmp_path / "docs")], "price.provider=ours")
    assert done.returncode == 0, done.stderr
    found = Warehouse(summarize.output).rows("select distinct market, region, provider, instance_type from costs")
    assert found == [{"market": "spot", "region": "eu-north-1", "provider": "ours", "instance_type": None}]


def test_a_gpu_without_a_price_stops_the_run_before_it_starts(summarize, tmp_path, monkeypatch):
    """Ray is told of a GPU that this machine need not have."""
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"GPU": 1, "accelerator_type:T4": 1}')
    write_documents(tmp_path / "docs", ["A document."])
    done = summarize.alone([str(tmp_path / "docs")])
    assert done.returncode == 2
    assert "refused: no price for an hour of one T4" in done.stderr and "price.catalog=" in done.stderr


def test_a_spot_gpu_whose_provider_nobody_knows_is_refused_with_the_settings_that_say(tmp_path, job):
    (tmp_path / "a.txt").write_text("A document.")
    asked = ["configs/demo.yaml", f"input.sources=[{tmp_path}]", f"output.uri={tmp_path / 'output'}"]
    done = job(*asked, "--gpu", "H100", "price.market=spot", name="plan")
    assert done.returncode == 2
    assert "price.provider=aws|gpu-cloud" in done.stderr and "gpu-cloud spot 0.8 USD" in done.stderr
    done = job(*asked, "--gpu", "H100", "price.market=spot", "price.provider=aws", name="plan")
    assert done.returncode == 0, done.stderr


SKYPILOT = """InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Region,SpotPrice,Price,AvailabilityZone,Info
cpu.4,,,4,16,FIN-01,,0.1,FIN-01,
8H200.141S,H200,8.0,176,1480,FIN-01,9.6,27.2,FIN-01a,"{'Gpus': [{'Name': 'H200'}]}"
8H200.141S,H200,8.0,176,1480,FIN-01,9.52,27.12,FIN-01b,"{'Gpus': [{'Name': 'H200'}]}"
1L40S,L40S,1.0,20,60,ICE-01,,0.91,ICE-01,
half,L40S,0.5,20,60,ICE-01,0.1,0.4,ICE-01,
"""


def test_refresh_takes_a_file_of_skypilots_catalog(tmp_path, capsys):
    source = tmp_path / "verda" / "vms.csv"
    source.parent.mkdir()
    source.write_text(SKYPILOT)
    path = tmp_path / "prices.yaml"
    prices.refresh(output=str(path), skypilot=str(source))
    rows = Catalog.read(path).prices
    found = [(row.gpu, row.provider, row.region, row.on_demand_gpu_hour, row.spot_gpu_hour, row.date) for row in rows]
    assert found == [
        ("H200", "verda", "FIN-01", Decimal("3.39"), Decimal("1.19"), None),
        ("L40S", "verda", "ICE-01", Decimal("0.91"), None, None),
    ]
    assert "H200 in FIN-01 (8H200.141S): $3.39 on demand, $1.19 spot, an hour" in capsys.readouterr().out
    prices.refresh(["ICE-01"], output=str(tmp_path / "ice.yaml"), skypilot=str(source))
    assert [row.gpu for row in Catalog.read(tmp_path / "ice.yaml").prices] == ["L40S"]
    source.write_text(SKYPILOT.replace("27.12", "32"))
    prices.refresh(output=str(path), skypilot=str(source))
    assert [row.on_demand_gpu_hour for row in Catalog.read(path).prices] == [4, Decimal("0.91")]
    with pytest.raises(ConfigError, match="no GPU of these"):
        prices.refresh(["nowhere"], output=str(path), skypilot=str(source))


@pytest.mark.parametrize(
    ("text", "says"), [("a,b\n1,2\n", "no columns Acc"), (SKYPILOT.replace("9.6", "x"), "no file")]
)
def test_what_is_no_file_of_it_is_refused(tmp_path, text, says):
    (tmp_path / "vms.csv").write_text(text)
    with pytest.raises(ConfigError, match=says):
        prices.refresh(output=str(tmp_path / "prices.yaml"), skypilot=str(tmp_path / "vms.csv"))
    with pytest.raises(ConfigError, match="no file"):
        prices.refresh(output=str(tmp_path / "prices.yaml"), skypilot=str(tmp_path / "none.csv"))


def test_check_says_what_a_run_would_be_charged_and_what_is_old(tmp_path, capsys):
    row = f"gpu: H100, provider: a, on_demand_gpu_hour: 3, date: {datetime.now(UTC).date()}, source: a list"
    (tmp_path / "prices.yaml").write_text(f"prices: [{{{row}}}]")
    catalog = f"price.catalog={tmp_path / 'prices.yaml'}"
    demo = ROOT / "configs" / "demo.yaml"
    assert prices.check(demo, [catalog, "price.market=on_demand"], ["H100"]) == exits.SUCCESS
    assert "H100 on_demand: $3.00 an hour, 0 days old, a list" in capsys.readouterr().out
    assert prices.check(demo, ["price.provider=verda"], ["H200"]) == exits.PARTIAL
    assert capsys.readouterr().out.count("OLD  H200") == 2
    with pytest.raises(ConfigError, match="no price for an hour of one H100"):
        prices.check(demo, [catalog, "price.provider=a"], ["H100"])
    with pytest.raises(ConfigError, match="--gpu"):
        prices.check(demo, [catalog])
