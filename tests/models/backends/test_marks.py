"""When passes ended, by a device's own clock."""

import pytest

from models.backends.marks import EventMark

MS = 1_000_000


class Gpu:
    """Work of so many milliseconds each, one after the other, on a clock of its own that is fast by a thousandth."""

    def __init__(self) -> None:
        self.now_ns = 7 * MS
        """The host's clock."""
        self.free_ns = 0
        self.is_broken = False

    def work(self, milliseconds: float) -> None:
        self.free_ns = max(self.free_ns, self.now_ns) + round(milliseconds * MS)

    def event(self) -> "Event":
        return Event(self)

    def mark(self, previous: EventMark | None = None) -> EventMark:
        return EventMark(previous, self.event, lambda: self.now_ns)


class Event:
    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def record(self) -> None:
        self.at_ns = max(self._gpu.free_ns, self._gpu.now_ns)

    def query(self) -> bool:
        return self._gpu.now_ns >= self.at_ns

    def synchronize(self) -> None:
        if self._gpu.is_broken:
            raise RuntimeError("CUDA error: unspecified launch failure")
        self._gpu.now_ns = max(self._gpu.now_ns, self.at_ns)

    def elapsed_time(self, other: "Event") -> float:
        return (other.at_ns - self.at_ns) * 1.001 / MS


def test_waited_for_a_pass_ended_when_the_host_woke():
    gpu, marks = Gpu(), [None]
    for milliseconds in (100, 3, 250):
        gpu.work(milliseconds)
        marks.append(gpu.mark(marks[-1]))
    ends = [mark.ended_ns() for mark in marks[1:]]
    assert ends == [107 * MS, 110 * MS, 360 * MS] and gpu.now_ns == ends[-1]


def test_observed_late_a_pass_takes_what_the_device_says():
    gpu = Gpu()
    gpu.work(100)
    first = gpu.mark()
    first.wait()
    gpu.work(40)
    second = gpu.mark(first)
    gpu.work(10)
    third = gpu.mark(second)
    gpu.now_ns += 5000 * MS
    assert third.ended_ns() == 107 * MS + round(50 * 1.001 * MS)
    assert second.ended_ns() == 107 * MS + round(40 * 1.001 * MS)
    assert gpu.now_ns == 5107 * MS


def test_no_pass_ended_in_the_future():
    gpu = Gpu()
    first = gpu.mark()
    first.wait()
    gpu.work(1000)
    second = gpu.mark(first)
    gpu.now_ns += 1000 * MS
    assert second.ended_ns() == gpu.now_ns


def test_a_device_that_broke_says_so_to_whom_it_matters():
    gpu = Gpu()
    gpu.work(1)
    mark = gpu.mark()
    gpu.is_broken = True
    assert mark.ended_ns() is None
    with pytest.raises(RuntimeError, match="launch failure"):
        mark.wait()


def test_marks_do_not_hold_all_that_came_before():
    gpu, mark = Gpu(), None
    for _ in range(5):
        gpu.work(1)
        mark = gpu.mark(mark)
        mark.wait()
        assert mark._previous is None
