"""Whether actors get GPUs, and on which nodes, before there is one."""

import pytest

from configs.errors import ConfigError
from configs.labels import ACCELERATOR_LABEL, MARKET_LABEL
from configs.loader import load
from configs.placement import LABEL_VALUE
from configs.settings import SummarizeConfig
from pipeline.billing.rates import Rates
from pipeline.driver.dataset import READER_MEMORY, Cluster, off_gpus, require_memory, wanted_actors
from pipeline.driver.devices import best, nodes_of_choice, on_gpu, usable_gpus
from pipeline.planning.extracting import Extracting

MIB = 2**20


def config(*overrides: str) -> SummarizeConfig:
    return load(SummarizeConfig, None, ["input.sources=[docs/]", *overrides])


def nodes(of: SummarizeConfig, cluster: Cluster, gpus: bool):
    return nodes_of_choice(of, Extracting(), Rates(), cluster, gpus)


def test_on_this_machine_alone_the_fewest_actors_must_have_a_gpu():
    assert on_gpu(config("model.device=cuda", "engine.actors={min: 1, max: 8}"), Cluster(1, can_grow=False))
    with pytest.raises(ConfigError, match=r"model\.device = 'cuda': 2 actors need a GPU each, Ray finds 1 here"):
        on_gpu(config("model.device=cuda", "engine.actors=2"), Cluster(1, can_grow=False))
    with pytest.raises(ConfigError, match=r"placement\.gpus = \('H100',\): 1 actors"):
        on_gpu(config("placement.gpus=H100"), Cluster(0, can_grow=False))


@pytest.mark.parametrize("override", ["model.device=cuda", "placement.gpus=H100"])
def test_in_a_cluster_they_are_waited_for(override):
    assert on_gpu(config(override), Cluster(0, can_grow=True))
    assert not on_gpu(config(), Cluster(0, can_grow=True))


def test_this_machine_alone_is_chosen_or_refused():
    here = Cluster(1, can_grow=False, gpu_nodes=[("L40S", {})])
    assert nodes(config("placement.market=spot_first", "placement.gpus=[H100, L40S]"), here, True) == ({},)
    with pytest.raises(ConfigError, match=r"placement\.market = 'spot': .* this machine alone"):
        nodes(config("placement.market=spot"), here, False)
    with pytest.raises(ConfigError, match=r"placement\.gpus = \['H100'\]: the GPUs of this machine are L40S"):
        nodes(config("placement.gpus=H100"), here, True)


def test_gpus_that_no_actor_may_have_need_no_price():
    spot, on_demand = {MARKET_LABEL: "spot"}, {MARKET_LABEL: "on-demand"}
    there = [("A100", on_demand), ("T4", spot), ("A100", spot), ("H100", spot)]
    cluster = Cluster(4, can_grow=True, gpu_nodes=there)
    chosen = nodes(config("placement.market=spot_first", "placement.gpus=[H100, A100]"), cluster, True)
    assert usable_gpus(cluster, chosen) == [("H100", spot), ("A100", spot), ("A100", on_demand)]
    assert best(chosen, "cuda") == ("H100", {MARKET_LABEL: "spot", ACCELERATOR_LABEL: "H100"})
    assert best(nodes(config(), cluster, True), "cuda") == ("cuda", {})


def test_an_actor_may_move_to_any_node_of_choice():
    of = config("placement.market=spot_first", "placement.memory_gib=2", "engine.cpus_per_actor=3")
    wanted = wanted_actors(of, False, nodes(of, Cluster(0, can_grow=True), False))
    assert wanted.options == {
        "num_cpus": 3,
        "memory": 2 * 1024 * MIB,
        "label_selector": {MARKET_LABEL: "spot"},
        "fallback_strategy": [{"label_selector": {MARKET_LABEL: "!spot"}}],
    }
    # Without a choice Ray hears of none.
    assert wanted_actors(config(), True, ({},)).options == {"num_cpus": 0, "num_gpus": 1}


def test_readers_prefer_nodes_without_any_gpu_that_is_known_or_named():
    chosen, anywhere = off_gpus(["T4"])["label_selector"], off_gpus([])["fallback_strategy"]
    types = chosen[ACCELERATOR_LABEL].removeprefix("!in(").removesuffix(")").split(", ")
    assert {"T4", "H100", "L40S", "RTX-4090"} <= set(types)
    # Ray refuses others in a selector.
    assert all(LABEL_VALUE.fullmatch(name) for name in types)
    assert anywhere == [{"label_selector": {}}]


def test_a_machine_without_memory_for_its_actors_beside_a_reader_is_refused():
    of = config("placement.memory_gib=1", "engine.actors={min: 2, max: 9}", f"input.max_document_memory={64 * MIB}")
    needed = READER_MEMORY + 64 * MIB + 2 * 1024 * MIB
    require_memory(needed, of)
    with pytest.raises(ConfigError, match=r"placement\.memory_gib = 1\.0: engine\.actors\.min = 2 reserve"):
        require_memory(needed - 1, of)
