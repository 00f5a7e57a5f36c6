"""Tests wait for what happens, not for time to pass; how long a machine takes is no reason to fail."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 240
"""For what takes a moment on an idle machine."""


def wait_for(
    condition: Callable[[], object],
    what: str = "what is waited for",
    told: Callable[[], str] = str,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Until it holds; what had been `told` until then is in the message of a test that fails."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}\n{told()}"
        time.sleep(0.02)
