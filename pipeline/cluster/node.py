"""What Ray knows of nodes: id and labels of this process's, which ones there are, and their GPUs."""

from typing import Any

import ray

from configs.labels import INSTANCE_LABEL
from pipeline.cluster import instance

ACCELERATOR_LABEL = "ray.io/accelerator-type"
ACCELERATOR_RESOURCE = "accelerator_type:"


def labels() -> dict[str, str]:
    """Of the node that this process runs on, with what its cloud says of it; none of Ray's outside of Ray."""
    found: dict[str, Any] = ray.get_runtime_context().get_node_labels() if ray.is_initialized() else {}
    return {**instance.here(), **{name: str(value) for name, value in found.items()}}


def own_id() -> str:
    """Ray's id of the node that this process runs on; empty outside of Ray."""
    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""


def is_alive(node_id: str) -> bool:
    """Whether a node of that id is still there. Ray notices some 15 s late that one is gone, and only then gives its
    calls to others."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # ray annotates half
    return any(node["NodeID"] == node_id and node["Alive"] for node in nodes)


def gpu_nodes() -> list[tuple[str, dict[str, str]]]:
    """Of each node with GPUs that is there now, what Ray calls them, and its labels. One whose GPUs Ray cannot name is
    left out."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # ray annotates half
    found = [(_gpu(node), _labels(node)) for node in nodes if node["Alive"]]
    return [(gpu, labels) for gpu, labels in found if gpu is not None]


def without_devices(on_gpu: bool, cpus_per_actor: int) -> dict[str, tuple[str, str]]:
    """Of each node that is there now and can hold no actor: by Ray's id, the host's name and the instance's id, which
    may not be known."""
    device, least = ("GPU", 1) if on_gpu else ("CPU", cpus_per_actor)
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # ray annotates half
    return {
        node["NodeID"]: (node["NodeManagerHostname"], _labels(node).get(INSTANCE_LABEL, ""))
        for node in nodes
        if node["Alive"] and node["Resources"].get(device, 0) < least
    }


def _labels(node: dict[str, Any]) -> dict[str, str]:
    """Of this process's own node, also what its cloud says; other nodes are not asked."""
    is_here = node["NodeID"] == own_id()
    return {**(instance.here() if is_here else {}), **node.get("Labels", {})}


def _gpu(node: dict[str, Any]) -> str | None:
    if not node["Resources"].get("GPU"):
        return None
    resources = (name for name in node["Resources"] if name.startswith(ACCELERATOR_RESOURCE))
    named: str | None = node.get("Labels", {}).get(ACCELERATOR_LABEL) or next(resources, None)
    return named and named.removeprefix(ACCELERATOR_RESOURCE)
