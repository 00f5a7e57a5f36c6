"""A limit of CPU time, which other work on the machine does not use up."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


class CpuLimitExceededError(AssertionError):
    """What was measured took more CPU time than it may. An AssertionError: nothing here handles one."""


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    """Raises CpuLimitExceededError in the main thread, also within a regular expression, after so much of the process's
    CPU time."""

    def give_up(*_: object) -> None:
        raise CpuLimitExceededError(f"more than {seconds} s of CPU time")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
