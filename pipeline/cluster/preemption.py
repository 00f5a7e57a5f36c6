"""How an actor learns that its node is going away: Ray's list of draining nodes, and SIGTERM."""

import os
import signal
import time
from collections.abc import Callable
from threading import Event, Thread, current_thread, main_thread

import ray
import structlog
from ray._private.state import state

log = structlog.get_logger()

LEAVE_SECONDS = 5.0
"""How long Ray may take to end an actor that asked for it."""


class PreemptionWatch(Thread):
    """Polls every half second whether this process's node is draining, and listens for SIGTERM.

    A poll is a call to Ray's head that takes 1 to 20 ms. While the head is unreachable the call blocks, for a minute at
    most; then Ray ends this process. Outside of Ray nothing is watched.

    Only the main thread can set a signal handler. Ray Data constructs the stages of its pools there; Ray constructs a
    plain async actor in another thread, and then only draining is watched. The handler replaces Ray's, which ends the
    process: `on_notice` must do that instead. A node that drains or stops sends no SIGTERM to its actors; Ray sends it
    to the actors of a driver that was killed, moments before SIGKILL.
    """

    def __init__(self, on_notice: Callable[[float | None], None], poll_seconds: float = 0.5) -> None:
        """`on_notice(seconds_left)` is called once, in this thread, with None if no deadline is known."""
        super().__init__(name="preemption", daemon=True)
        self._on_notice = on_notice
        self._poll_seconds = poll_seconds
        self._terminated = Event()
        self._node_id = ray.get_runtime_context().get_node_id() if ray.is_initialized() else None
        self._lost_sight = False
        if self._node_id is not None and current_thread() is main_thread():
            signal.signal(signal.SIGTERM, lambda number, frame: self._terminated.set())

    def run(self) -> None:
        """Waits for the node's draining or SIGTERM, calls `on_notice` once and ends. Without Ray it ends at once."""
        if self._node_id is None:
            return
        deadline_ms = None
        while deadline_ms is None and not self._terminated.wait(self._poll_seconds):
            deadline_ms = self._draining()
        seconds_left = deadline_ms / 1000 - time.time() if deadline_ms else None
        log.warning("node_leaves", node_id=self._node_id, seconds_left=seconds_left, sigterm=deadline_ms is None)
        self._on_notice(seconds_left)

    def _draining(self) -> int | None:
        """When this node will be gone, in ms since 1970, or 0 if that is not known; None while it is not draining."""
        assert self._node_id is not None
        try:
            deadline_ms: int | None = state.get_draining_nodes().get(self._node_id)
        except Exception as error:  # a private API of Ray, without documented errors
            if not self._lost_sight:
                log.warning("draining_nodes_unknown", error=repr(error))
            self._lost_sight = True
            return None
        self._lost_sight = False
        return deadline_ms


def leave() -> None:
    """End this actor at once; Ray restarts it on another node and reassigns its calls.

    Of all ways to end an actor this one prints least to the user's terminal.
    """
    ray.kill(ray.get_runtime_context().current_actor, no_restart=False)
    time.sleep(LEAVE_SECONDS)
    os._exit(1)
