"""How many actors a run has: as many as are wanted and as the cluster has room for, in order of preference.

An actor's labels are fixed when it is created, and it keeps its documents when it loses its node. So each may run on
all nodes of choice, and takes any that is free when it must move. Where the better ones are to be waited for, that is
done before it is created (`pipeline.cluster.room`).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from ray.data._internal.actor_autoscaler import ActorAutoscaler, ActorPoolScalingRequest, AutoscalingActorPool
from ray.data._internal.cluster_autoscaler.default_cluster_autoscaler_v2 import DefaultClusterAutoscalerV2

from configs.placement import ActorCount, Selector
from pipeline.cluster import connection
from pipeline.cluster.room import Room

if TYPE_CHECKING:
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

LOOK_SECONDS = 0.5
STEADY_SECONDS = 60.0
"""That more actors are asked for after all that there were had enough to do, and that one without documents is kept:
what readers deliver comes in fits, and each new actor has to load the model."""


@dataclass(frozen=True)
class Wanted:
    """The actors that a run wants."""

    count: ActorCount
    takes: dict[str, Any]
    """What each reserves, by Ray's names."""
    choices: Sequence[Selector]
    """Labels of the nodes that it may run on, the best first."""
    wait_seconds: float
    """For each choice but the last. With 0 there is no waiting: Ray takes the best that there is."""
    readers: int
    """CPUs that are left to them."""

    @property
    def options(self) -> dict[str, Any]:
        """Of an actor: what it reserves, and all its choices."""
        first, *others = [{"label_selector": dict(choice)} for choice in self.choices]
        return self.takes | (first if any(self.choices) else {}) | ({"fallback_strategy": others} if others else {})

    @contextmanager
    def room(self) -> Iterator[Room | None]:
        """None if actors need not be asked for one choice after the other."""
        if self.wait_seconds == 0 or len(self.choices) == 1:
            yield None
            return
        with Room(self.takes, self.choices, self.wait_seconds) as room:
            yield room


def wait_for_the_first(wanted: Wanted, room: Room, is_over: Callable[[], bool]) -> int:
    """For how many actors there is room: one, or none where the run is over before."""
    while not is_over():
        room.ask(wanted.count.min)
        if room.take():
            return 1
        sleep(LOOK_SECONDS)
    return 0


def size_pool(executor: "StreamingExecutor", wanted: Wanted, room: Room | None) -> None:
    """Take the place of what Ray Data sizes pools and clusters by, before an execution begins."""
    executor._actor_autoscaler = Growing(executor, wanted, room)
    if any(wanted.choices):
        # By itself it asks for more nodes of any kind, of which the actors may run on some alone.
        executor._cluster_autoscaler = DefaultClusterAutoscalerV2(
            executor._resource_manager, executor._dataset_id, cluster_scaling_up_util_threshold=inf
        )


class Growing(ActorAutoscaler):
    """Sizes the pool of a run. `room` is None where no choice is waited for."""

    def __init__(self, executor: "StreamingExecutor", wanted: Wanted, room: Room | None) -> None:
        assert executor._topology is not None
        super().__init__(executor._topology, executor._resource_manager)
        self._wanted, self._room = wanted, room
        self._looked_at = 0.0
        self._full_at = -STEADY_SECONDS
        """When all actors last had as many documents as they take."""
        self._busy_at = 0.0
        """When there was last no actor to spare."""
        self._settled_at = monotonic()
        """When last no actor was about to come."""

    def try_trigger_scaling(self) -> None:
        """Called by Ray Data many times a second."""
        if monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = monotonic()
        for operator, state in self._topology.items():
            queued = state.total_enqueued_input_blocks()
            is_last = operator.has_completed() or (operator._inputs_complete and not queued)
            for pool in operator.get_autoscaling_actor_pools():
                self._shrink_to_the_end(pool) if is_last else self._fit(pool, queued)

    def _shrink_to_the_end(self, pool: AutoscalingActorPool) -> None:
        """All documents are with actors: one that has none goes, one that lost its node still needs another."""
        if self._room is not None:
            self._with_room(pool, self._room, 0)
        idle = pool.num_idle_actors() + pool.num_pending_actors()
        if idle:
            pool.scale(ActorPoolScalingRequest.downscale(delta=-idle, force=True, reason="no more documents"))

    def _fit(self, pool: AutoscalingActorPool, queued: int) -> None:
        now, size, count = monotonic(), pool.current_size(), self._wanted.count
        if queued and not pool.num_pending_actors() and not pool.can_schedule_task():
            self._full_at = now
        wanted = self._most() if now - self._full_at < STEADY_SECONDS else size
        lacking = max(count.min, wanted) - size
        if self._room is not None:
            lacking = self._with_room(pool, self._room, max(0, lacking))
        if lacking > 0:
            pool.scale(ActorPoolScalingRequest.upscale(delta=lacking, reason="there are documents"))
        if lacking > 0 or size <= count.min or not pool.num_idle_actors():
            self._busy_at = now
        elif now - self._busy_at > STEADY_SECONDS:
            pool.scale(ActorPoolScalingRequest.downscale(delta=-1, reason="there are no documents"))

    def _with_room(self, pool: AutoscalingActorPool, room: Room, lacking: int) -> int:
        """Of the actors that are lacking those that there is room for: one at a time."""
        if not pool.num_pending_actors():
            self._settled_at = monotonic()
        elif monotonic() - self._settled_at < STEADY_SECONDS:
            # What asks for room must not be in that of an actor which is about to come.
            return 0
        # One that lost its node, or found none in spite of all, takes the room itself.
        homeless = pool.num_restarting_actors() + pool.num_pending_actors()
        room.ask(lacking + homeless)
        return 1 if room.take() and lacking and not homeless else 0

    def _most(self) -> int:
        """On CPUs no more than there are, since actors that wait for one would take the readers'."""
        cpus = self._wanted.takes.get("num_cpus")
        if not cpus:
            return self._wanted.count.max
        there = connection.resources().get("CPU", 0.0)
        return min(self._wanted.count.max, int((there - self._wanted.readers) // cpus))
