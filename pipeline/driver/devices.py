"""Which devices a run's actors get, and on which nodes."""

from collections.abc import Sequence

import structlog

from configs.errors import ConfigError
from configs.labels import ACCELERATOR_LABEL
from configs.placement import Selector, fits, selector
from configs.settings import SummarizeConfig
from pipeline.billing.rates import Labels, Rates
from pipeline.driver.dataset import Cluster
from pipeline.planning.choices import choices
from pipeline.planning.quote import Reads

log = structlog.get_logger()


def on_gpu(config: SummarizeConfig, cluster: Cluster) -> bool:
    """Whether actors run on GPUs. Raises ConfigError if they are to, and this machine is the whole cluster and has too
    few."""
    if config.is_extract_only:
        return False
    asked_by = "model.device = 'cuda'" if config.model.device == "cuda" else f"placement.gpus = {config.placement.gpus}"
    is_asked, actors = config.model.device == "cuda" or bool(config.placement.gpus), config.engine.actors
    if is_asked and cluster.num_gpus < actors.min and not cluster.can_grow:
        raise ConfigError(
            f"{asked_by}: {actors.min} actors need a GPU each, Ray finds {cluster.num_gpus:g} here; "
            "set model.device=cpu or fewer engine.actors"
        )
    if is_asked and cluster.num_gpus < actors.max and cluster.can_grow:
        log.warning("waiting_for_gpus", asked=actors.max, in_cluster=cluster.num_gpus)
    return is_asked or (config.model.device == "auto" and cluster.num_gpus > 0)


def nodes_of_choice(
    config: SummarizeConfig, reads: Reads, rates: Rates, cluster: Cluster, on_gpu: bool
) -> Sequence[Selector]:
    """Labels of nodes that actors may run on, the best first. Raises ConfigError if this machine is the whole cluster,
    and is none of them."""
    placement = config.placement
    if cluster.can_grow:
        return choices(config, reads, rates, on_gpu)
    if placement.market == "spot":
        raise ConfigError(
            "placement.market = 'spot': Ray runs on this machine alone, which has no label that says so; join a "
            "cluster with RAY_ADDRESS, or leave it out"
        )
    here = [gpu for gpu, _ in cluster.gpu_nodes]
    if placement.gpus and here and here[0] not in placement.gpus:
        raise ConfigError(f"placement.gpus = {list(placement.gpus)}: the GPUs of this machine are {here[0]}")
    return (selector(None, None),)


def best(nodes: Sequence[Selector], device: str) -> tuple[str, Labels]:
    """Device and labels of the best node, as far as they are known before it is there."""
    labels = {name: value for name, value in nodes[0].items() if not value.startswith("!")}
    return labels.get(ACCELERATOR_LABEL, device), labels


def usable_gpus(cluster: Cluster, nodes: Sequence[Selector]) -> Sequence[tuple[str, Labels]]:
    """Of the GPU nodes that are there those that actors may run on, the best first."""
    return [
        (gpu, labels)
        for choice in nodes
        for gpu, labels in cluster.gpu_nodes
        if fits(choice, {**labels, ACCELERATOR_LABEL: gpu})
    ]
