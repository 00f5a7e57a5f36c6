"""In which order nodes are asked for."""

import json
from decimal import Decimal

import pytest

from configs.errors import ConfigError
from configs.labels import ACCELERATOR_LABEL, MARKET_LABEL
from configs.loader import load
from configs.prices import Catalog, Price
from configs.settings import SummarizeConfig
from pipeline.billing.rates import Rates
from pipeline.planning.choices import choices
from pipeline.planning.footprint import Footprint
from tests.outputs import STARTED, cost_row, job_row, write_part

CHEAPEST_FIRST = ("placement.gpus=[H100, L40S, A100]", "placement.cheapest_first=true")
SMALL = Footprint(parameters=1_500_000_000, state_bytes=0, flops_per_token=3e9)
LARGE = Footprint(parameters=30_000_000_000, state_bytes=0, flops_per_token=6e10)


class Reads:
    """As a quote knows a model."""

    revision = "m"

    def __init__(self, footprint: Footprint) -> None:
        self.footprint = footprint


def row(gpu: str, on_demand: str, spot: str | None) -> Price:
    return Price(
        gpu=gpu,
        on_demand_gpu_hour=Decimal(on_demand),
        spot_gpu_hour=None if spot is None else Decimal(spot),
        date=None,
        source="test",
    )


PRICES = (row("H100", "3", "1.5"), row("A100", "1.6", "0.9"), row("L40S", "0.7", None))


def config(output, *overrides: str) -> SummarizeConfig:
    return load(SummarizeConfig, None, ["input.sources=[x]", f"output.uri={output}", *overrides])


def asked(of: SummarizeConfig, footprint: Footprint = SMALL) -> list[tuple[str | None, str | None]]:
    """Markets and types, the best first."""
    found = choices(of, Reads(footprint), Rates(of.price, 1, Catalog(prices=PRICES)), True)
    return [(each.get(MARKET_LABEL), each.get(ACCELERATOR_LABEL)) for each in found]


def test_nothing_is_asked_of_nodes_unless_it_is_set(tmp_path):
    assert asked(config(tmp_path)) == [(None, None)]


def test_every_type_on_spot_before_any_on_demand(tmp_path):
    of = config(tmp_path, "placement.market=spot_first", "placement.gpus=[H100, A100]")
    assert asked(of) == [("spot", "H100"), ("spot", "A100"), ("!spot", "H100"), ("!spot", "A100")]


def test_on_cpus_markets_alone_count(tmp_path):
    of = config(tmp_path, "placement.market=on_demand")
    assert choices(of, Reads(SMALL), Rates(), False) == ({MARKET_LABEL: "!spot"},)


def test_the_cheapest_by_rated_speed_and_the_price_of_each_market(tmp_path):
    of = config(tmp_path, "placement.market=spot_first", *CHEAPEST_FIRST)
    # L40S: 0.7 for 362 TFLOP/s, H100: 3 for 989, A100: 1.6 for 312. On spot, H100 for half, and no L40S.
    assert asked(of) == [("spot", "H100"), ("spot", "A100"), ("!spot", "L40S"), ("!spot", "H100"), ("!spot", "A100")]


def test_what_was_measured_counts_more_than_what_is_rated(tmp_path):
    write_part(tmp_path, "jobs", "one", [job_row("1", STARTED, model_revision="m", config=json.dumps({"prompts": []}))])
    measured = {"device_type": "NVIDIA A100-SXM4-80GB", "device_seconds": Decimal(1), "decode_seconds": None}
    spent = cost_row("document", "0", "a", tokens_read=10_000_000, outcome="finished") | measured
    write_part(tmp_path, "costs", "one", [spent | {"actor_id": "a"}])
    of = config(tmp_path, "placement.market=spot", *CHEAPEST_FIRST)
    assert asked(of) == [("spot", "A100"), ("spot", "H100")]


def test_a_gpu_that_does_not_hold_the_model_is_none(tmp_path):
    of = config(tmp_path, "placement.market=on_demand", *CHEAPEST_FIRST)
    assert asked(of, LARGE) == [("!spot", "H100"), ("!spot", "A100")]


def test_without_a_price_the_run_is_refused_with_the_reason(tmp_path):
    of = config(tmp_path, *CHEAPEST_FIRST)
    with pytest.raises(ConfigError, match=r"placement\.cheapest_first = True: .* H100: no price for an hour of one"):
        choices(of, Reads(SMALL), Rates(of.price, 1, Catalog(prices=())), True)
