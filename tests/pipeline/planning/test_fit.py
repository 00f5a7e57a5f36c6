"""What a token costs on each GPU, by arithmetic, and which is the cheapest."""

from decimal import Decimal

import pytest

from configs.hardware import GPUS, USUAL, Gpu
from configs.prices import Catalog, Price
from models.mamba.architecture import MambaConfig
from pipeline.planning.fit import Fit, cheapest, dollars_per_million, fit, planning_table
from pipeline.planning.planned import SIZES, of_checkpoint
from tests import published_checkpoint

LENGTHS = (16_000, 32_000, 128_000, 1_000_000)


def price(gpu: str, on_demand: str | None, spot: str | None = None, currency: str = "USD") -> Price:
    hours = {"on_demand_gpu_hour": on_demand, "spot_gpu_hour": spot, "currency": currency}
    return Price.model_validate({"gpu": gpu, "date": "2100-01-01", "source": "a test", **hours})


CATALOGUE = Catalog(
    prices=(price("H100 SXM5 80 GB", "2.90", "0.80"), price("L40S", "0.72"), price("A100 40 GB", "0.01"))
)


def on(gpu: str, name: str = "mamba3-7b", num_tokens: int = 16_000) -> Fit:
    return fit(SIZES[name].model, 2, GPUS[gpu], num_tokens, CATALOGUE)


@pytest.mark.parametrize(
    ("hour", "tokens_per_second", "expected"), [("0.80", 150_000, "0.0015"), ("2.25", 100_000, "0.0063")]
)
def test_dollars_are_those_of_the_break_even_formula(hour, tokens_per_second, expected):
    found = dollars_per_million(Decimal(hour), tokens_per_second)
    assert found.quantize(Decimal("0.0001"), "ROUND_HALF_UP") == Decimal(expected)


def test_the_papers_model_is_read_at_nearly_the_papers_speed():
    """129,000 tokens a second, near 32 % of the peak; here it is 30 %."""
    config = MambaConfig.model_validate(published_checkpoint.config("mamba3-siso-1.5b"))
    found = fit(of_checkpoint("1.5B", config), 2, GPUS["H100"], 16_384, CATALOGUE)
    assert found.tokens_per_second == pytest.approx(129_000, rel=0.1)


def test_each_market_has_its_price_and_the_lower_one_counts():
    found = on("H100")
    assert found.per_million["spot"] / found.per_million["on_demand"] == pytest.approx(
        Decimal("0.80") / Decimal("2.90")
    )
    assert (found.market, found.lowest) == ("spot", found.per_million["spot"])
    assert on("L40S").market == "on_demand"


def test_the_cheapest_is_found_among_those_that_fit_and_have_a_price():
    best = cheapest(map(on, GPUS))
    assert best is not None and best.gpu == "H100"
    best = cheapest(on(gpu) for gpu in ("L40S", "H200"))
    assert best is not None and best.gpu == "L40S"
    assert cheapest([on("H200")]) is None
    assert cheapest([on("H100", "transformer-34b")]) is None


def test_the_price_of_a_smaller_gpu_of_that_name_is_not_taken():
    assert on("A100").per_million == {}
    assert on("A100").tokens_per_second


def test_prices_in_another_currency_are_not_taken():
    catalog = Catalog(prices=(price("L40S", "0.5", currency="EUR"),))
    assert fit(SIZES["mamba3-7b"].model, 2, GPUS["L40S"], 1000, catalog).per_million == {}


def test_where_no_document_fits_there_is_no_speed_and_no_price():
    found = on("H100", "transformer-7b", 1_000_000)
    assert (found.documents, found.tokens_per_second, found.lowest) == (0, None, None)
    assert on("L40S", "transformer-34b").documents is None


def test_the_planning_table_names_the_smallest_gpu_that_holds_each_size():
    rows = planning_table([GPUS[name] for name in USUAL], LENGTHS, ["bfloat16", "float8"], CATALOGUE)
    assert {(row.size.model.name, row.dtype): row.smallest_gpu for row in rows} == {
        ("mamba3-7b", "bfloat16"): "L40S",
        ("mamba3-7b", "float8"): "L40S",
        ("mamba3-34b", "bfloat16"): "A100",
        # The published table takes an A100, though 39 GB are held by an L40S of 48.
        ("mamba3-34b", "float8"): "L40S",
        ("mamba3-70b", "bfloat16"): None,
        # It takes an H100 for 78 GB here and below; an A100 has as much memory.
        ("mamba3-70b", "float8"): "A100",
        ("transformer-7b", "bfloat16"): "L40S",
        ("transformer-7b", "float8"): "L40S",
        ("transformer-34b", "bfloat16"): "A100",
        ("transformer-34b", "float8"): "L40S",
    }
    by_name = {(row.size.model.name, row.dtype): row for row in rows}
    assert [each.documents for each in by_name["transformer-7b", "bfloat16"].fits] == [14, 7, 1, 0]
    assert len({each.documents for each in by_name["mamba3-7b", "bfloat16"].fits}) == 1
    nothing = by_name["mamba3-70b", "bfloat16"]
    assert (nothing.fits, nothing.cheapest) == ([], None)


def test_a_gpu_without_room_for_the_libraries_is_not_the_smallest():
    tight = Gpu("tight", round(SIZES["mamba3-34b"].model.vram_bytes(2, 3_000_000_000)), 1e12, 1e12)
    rows = planning_table([tight], LENGTHS, ["bfloat16"], CATALOGUE)
    assert {row.size.model.name: row.smallest_gpu for row in rows}["mamba3-34b"] is None
