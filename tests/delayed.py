"""A device that works by itself: what it gives cannot be looked at before somebody has waited for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map_only

from models.engine.backend import Backend, Handle, Limits, Mark, SavedState, Work

LOOKS = {getattr(Tensor, name) for name in ("tolist", "item", "numpy", "cpu", "__bool__", "__int__", "__float__")}
"""What takes numbers to the host at once."""


@dataclass
class Stream:
    """Passes that were asked for and done, counted."""

    asked: int = 0
    done: int = 0
    most_under_way: int = 0


class Later(Tensor):
    """A tensor on the device, and all that is made of it."""

    stream: Stream
    number: int
    """Of the pass that was the last one asked for."""

    @staticmethod
    def of(tensor: Tensor, stream: Stream) -> "Later":
        later = tensor.as_subclass(Later)
        later.stream, later.number = stream, stream.asked
        return later

    @classmethod
    def __torch_function__(cls, func: Callable, types: Any, args: Sequence = (), kwargs: Any = None) -> Any:
        first = next(
            each for each in (*args, *(args[0] if isinstance(args[0], list | tuple) else ())) if isinstance(each, Later)
        )
        assert func not in LOOKS or first.number <= first.stream.done, f"{func} does not wait for the device"
        result = super().__torch_function__(func, types, args, kwargs or {})
        return tree_map_only(Later, lambda each: cls._marked(each, first), result)

    @staticmethod
    def _marked(made: "Later", of: "Later") -> "Later":
        if not hasattr(made, "stream"):
            made.stream, made.number = of.stream, of.number
        return made


class _Mark:
    def __init__(self, stream: Stream, breaks: bool) -> None:
        self._stream, self._number, self._breaks = stream, stream.asked, breaks

    def wait(self) -> None:
        self._stream.done = max(self._stream.done, self._number)
        if self._breaks:
            raise RuntimeError("CUDA error: unspecified launch failure")

    def ended_ns(self) -> int | None:
        return None if self._breaks else self._number * 1_000_000


class Delayed:
    """A backend of another one's, `ahead` passes at once; the device breaks in pass `breaks_at`, which shows when that
    is waited for."""

    def __init__(self, backend: Backend, ahead: int = 1, breaks_at: int | None = None) -> None:
        self._backend, self._ahead, self._breaks_at = backend, ahead, breaks_at
        self.stream = Stream()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    @property
    def limits(self) -> Limits:
        return replace(self._backend.limits, passes_ahead=self._ahead)

    def run(self, work: Sequence[Work]) -> Tensor:
        self.stream.asked += 1
        self.stream.most_under_way = max(self.stream.most_under_way, self.stream.asked - self.stream.done)
        # The device may look at what it holds itself.
        seen = [
            replace(each, tokens=each.tokens.as_subclass(Tensor)) if isinstance(each.tokens, Later) else each
            for each in work
        ]
        return Later.of(self._backend.run(seen), self.stream)

    def export(self, handle: Handle, since: int = 0) -> SavedState:
        self.stream.done = self.stream.asked
        return self._backend.export(handle, since)

    def mark(self) -> Mark:
        return _Mark(self.stream, self._breaks_at is not None and self.stream.asked >= self._breaks_at)
