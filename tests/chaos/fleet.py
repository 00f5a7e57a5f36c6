"""The nodes of a cluster that a run needs: some for actors, one for readers; what has gone is replaced."""

from pathlib import Path

from tests.chaos.cluster import Cluster, Node
from tests.waiting import wait_for

CPUS_PER_ACTOR = 2
ACTOR = "SummarizeStage"


class Fleet:
    """An actor fills a node of two CPUs, a reader one of one: an actor that has lost its node waits for another."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._readers: set[Node] = set()

    def muster(self, actors: int = 2) -> None:
        """Until so many nodes for actors live, and one for readers, and none that is going away."""
        self._wait_for_the_dead()
        if not any(node in self._readers for node in self._living()):
            self._readers.add(self.cluster.add_node(num_cpus=1))
        self.replace(actors)
        self.cluster.wait_for_nodes(len(self._living()))

    def replace(self, actors: int = 2) -> None:
        """Add nodes for actors until there are so many that have not ended."""
        for _ in range(actors - len(self.for_actors())):
            self.add()

    def add(self) -> Node:
        """Another node for an actor, which registers some seconds later."""
        return self.cluster.add_node(num_cpus=CPUS_PER_ACTOR)

    def for_actors(self) -> list[Node]:
        return [node for node in self._living() if node not in self._readers]

    def homes(self) -> list[Node]:
        """Nodes with an actor."""
        return [node for node in self.for_actors() if node.workers(ACTOR)]

    def home(self, node_id: str) -> Node:
        """By Ray's id."""
        return next(node for node in self.homes() if node.node_id == node_id)

    def logs(self) -> list[Path]:
        """What Ray and its workers have written."""
        return [file for file in self.cluster.folder.rglob("*") if file.suffix in (".log", ".out", ".err")]

    def _living(self) -> list[Node]:
        return [node for node in self.cluster.nodes[1:] if node.process.poll() is None]

    def _wait_for_the_dead(self) -> None:
        alive, leaving = self.cluster.alive(), self.cluster.draining()
        for node in self._living():
            # A drained raylet ends by itself; its `ray start --block` stays.
            if node.node_id in leaving or node.node_id not in alive:
                node.kill()
        wait_for(lambda: len(self.cluster.alive()) == len(self._living()) + 1, "Ray knows who lives", self.cluster.log)
