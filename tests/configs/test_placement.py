"""How many actors, and on which nodes: what may be written, and what it means."""

import pytest

from configs.errors import ConfigError
from configs.labels import ACCELERATOR_LABEL, MARKET_LABEL
from configs.loader import load
from configs.placement import fits, selector
from configs.settings import SummarizeConfig


def config(*overrides: str) -> SummarizeConfig:
    return load(SummarizeConfig, None, ["input.sources=[docs/]", *overrides])


@pytest.mark.parametrize(
    ("written", "least", "most"),
    [("3", 3, 3), ("{min: 1, max: 3}", 1, 3), ("{max: 5}", 1, 5)],
)
def test_actors_are_a_number_or_two(written, least, most):
    actors = config(f"engine.actors={written}").engine.actors
    assert (actors.min, actors.max) == (least, most)


@pytest.mark.parametrize("written", ["3", "{min: 1, max: 3}"])
def test_what_is_kept_of_a_run_reads_as_it_was_written(written):
    kept = config(f"engine.actors={written}").model_dump(mode="json")
    assert kept["engine"]["actors"] == (3 if written == "3" else {"min": 1, "max": 3})
    assert SummarizeConfig.model_validate(kept) == config(f"engine.actors={written}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("engine.actors=0", "engine.actors.min = 0: "),
        ("engine.actors=many", "engine.actors = 'many': has fields of its own"),
        ("engine.actors={min: 4, max: 3}", "engine.actors: min = 4 is more than max = 3"),
        ("engine.actors={least: 1}", "engine.actors.least = 1: there is no such field"),
        ("placement.market=spott", "placement.market = 'spott': "),
        ("placement.gpus=[H100, H100]", "name each type once"),
        ("placement.cheapest_first=true", "cheapest_first orders gpus, and gpus is empty"),
        ("placement.gpus=['!H100']", "'!H100' is no value of a label"),
        ("placement.fallback_after=-1", "placement.fallback_after = -1: "),
        ("placement.memory_gib=0", "placement.memory_gib = 0: "),
    ],
)
def test_what_cannot_be_is_refused_by_name(override, message):
    with pytest.raises(ConfigError) as raised:
        config(override)
    assert message in str(raised.value)


@pytest.mark.parametrize("why", ["model.device=cpu", "prompts=[{kind: extract}]"])
def test_gpus_are_not_chosen_for_what_runs_on_cpus(why):
    with pytest.raises(ConfigError, match=r"placement\.gpus = \('H100',\), and .* on CPUs"):
        config("placement.gpus=H100", why)


@pytest.mark.parametrize(
    ("market", "labels", "suits"),
    [
        ("spot", {MARKET_LABEL: "spot"}, True),
        ("spot", {}, False),
        ("on_demand", {MARKET_LABEL: "spot"}, False),
        ("on_demand", {MARKET_LABEL: "on-demand"}, True),
        # As it is billed.
        ("on_demand", {}, True),
        (None, {}, True),
    ],
)
def test_a_node_suits_a_market_as_it_is_billed(market, labels, suits):
    assert fits(selector(market, None), labels) is suits


def test_a_node_suits_if_all_its_labels_do():
    chosen = selector("spot", "H100")
    assert fits(chosen, {MARKET_LABEL: "spot", ACCELERATOR_LABEL: "H100"})
    assert not fits(chosen, {MARKET_LABEL: "spot", ACCELERATOR_LABEL: "A100"})
