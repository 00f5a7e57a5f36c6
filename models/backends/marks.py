"""When a device came to the end of each pass, by its own clock, without stopping it to ask."""

import time
from collections.abc import Callable

import torch

from models.backends import device as devices
from models.engine.backend import Mark

Event = torch.cuda.Event


class EventMark:
    """A `models.engine.backend.Mark` on a GPU: an event on the stream behind what was asked before."""

    def __init__(
        self,
        previous: "EventMark | None" = None,
        make_event: Callable[[], Event] = lambda: Event(enable_timing=True, blocking=True),
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """`previous` is the mark before this one."""
        self._previous, self._clock_ns = previous, clock_ns
        self._ended_ns: int | None = None
        self._event = make_event()
        self._event.record()

    def wait(self) -> None:
        """As `Mark.wait`. Waited for, it ended when the host woke; else so long after the mark before it as the device
        took: either way late observation does not make a pass longer."""
        if self._ended_ns is not None:
            return
        previous, self._previous = self._previous, None
        if previous is not None:
            previous.wait()
        was_late = self._event.query()
        self._event.synchronize()
        ended = self._clock_ns()
        if was_late and previous is not None and previous._ended_ns is not None:
            # Milliseconds in fp32: passes are short enough for differences of two neighbors to be exact to some ns.
            took_ns = round(previous._event.elapsed_time(self._event) * 1e6)
            ended = min(ended, previous._ended_ns + took_ns)
        self._ended_ns = ended

    def ended_ns(self) -> int | None:
        """As `Mark.ended_ns`."""
        try:
            self.wait()
        except RuntimeError:  # torch's, of a broken device; who waits for tokens hears of it
            return None
        return self._ended_ns


class Marks:
    """Of one device, by one thread."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last: EventMark | None = None

    def mark(self) -> Mark | None:
        """As `Backend.mark`. A device without events is waited for."""
        if self._device.type == "cuda":
            self._last = EventMark(self._last)
        else:
            devices.synchronize(self._device)
        return self._last
