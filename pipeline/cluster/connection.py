"""Joining a Ray cluster, or starting Ray on this machine."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from pipeline.cluster.submission import is_submitted

ROOT = Path(__file__).parents[2]


@contextmanager
def joined(address: str | None, least_cpus: int, watched: bool = False) -> Iterator[bool]:
    """Join the cluster at `address` or RAY_ADDRESS, or start Ray on this machine with at least so many CPUs, and leave
    it in the end. Gives whether the cluster can grow, which one that was started here cannot. If `watched`, what other
    processes log is shown here, and a Ray that is started here has its dashboard, which Ray Train asks.

    A process that has joined a cluster already stays in that one.
    """
    if ray.is_initialized():
        yield True
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    sigterm = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": watched}
    if address == "local":
        # Its C++ parts warn on the terminal of what only matters on a cluster.
        if not watched:
            os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        # Without an address of its own, init() would join any cluster that it finds on this machine.
        ray.init("local", num_cpus=max(least_cpus, os.cpu_count() or 1), include_dashboard=watched, **quiet)
    else:
        # `ray job submit` has already sent the working directory; a driver started by hand sends it now.
        ray.init(address, runtime_env=None if is_submitted() else {"working_dir": str(ROOT)}, **quiet)
    if threading.current_thread() is threading.main_thread():
        # Ray has put a handler of its own in its place, which ends the process at once.
        signal.signal(signal.SIGTERM, sigterm or signal.SIG_DFL)
    try:
        yield address != "local"
    finally:
        ray.shutdown()


def resources() -> dict[str, float]:
    """What the cluster has, by Ray's names."""
    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]  # ray annotates half
    return found
