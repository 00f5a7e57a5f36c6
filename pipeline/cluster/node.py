"""What Ray knows of nodes: id and labels of this process's, which ones there are, and their GPUs."""

from typing import Any

import ray

from configs.labels import ACCELERATOR_LABEL, INSTANCE_LABEL
from pipeline.cluster import instance

ACCELERATOR_RESOURCE = "accelerator_type:"


def labels() -> dict[str, str]:
    """Labels of this process's node, completed by what its cloud tells. Outside of Ray, only the latter."""
    found: dict[str, Any] = ray.get_runtime_context().get_node_labels() if ray.is_initialized() else {}
    return {**instance.here(), **{name: str(value) for name, value in found.items()}}


def own_id() -> str:
    """Ray's id of the node that this process runs on; empty outside of Ray."""
    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def is_alive(node_id: str) -> bool:
    """Whether a node is alive, by Ray's id. Ray takes about 15 s to notice a lost node, and reassigns its calls only
    then."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # ray annotates half
    return any(node["NodeID"] == node_id and node["Alive"] for node in nodes)


def gpu_nodes() -> list[tuple[str, dict[str, str]]]:
    """Ray's name of the GPUs of each live node that has any, and the node's labels. Nodes whose GPUs Ray cannot name
    are left out."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # ray annotates half
    found = [(_gpu(node), _labels(node)) for node in nodes if node["Alive"]]
    return [(gpu, labels) for gpu, labels in found if gpu is not None]


def without_devices(on_gpu: bool, cpus_per_actor: int) -> dict[str, tuple[str, str]]:
    """Host name and instance id (empty if unknown) of each live node that can hold no actor, by Ray's id."""
    device, least = ("GPU", 1) if on_gpu else ("CPU", cpus_per_actor)
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # ray annotates half
    return {
        node["NodeID"]: (node["NodeManagerHostname"], _labels(node).get(INSTANCE_LABEL, ""))
        for node in nodes
        if node["Alive"] and node["Resources"].get(device, 0) < least
    }


def _labels(node: dict[str, Any]) -> dict[str, str]:
    """A node's labels; for this process's own node also what its cloud tells. Other nodes are not queried."""
    is_here = node["NodeID"] == own_id()
    return {**(instance.here() if is_here else {}), **node.get("Labels", {})}


def _gpu(node: dict[str, Any]) -> str | None:
    if not node["Resources"].get("GPU"):
        return None
    resources = (name for name in node["Resources"] if name.startswith(ACCELERATOR_RESOURCE))
    named: str | None = node.get("Labels", {}).get(ACCELERATOR_LABEL) or next(resources, None)
    return named and named.removeprefix(ACCELERATOR_RESOURCE)
