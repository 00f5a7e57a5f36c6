"""The cache of a transformers model as named arrays, and back: whatever its class keeps in it, of one sequence.

A cache is objects, lists and dicts with tensors at their ends, and a few counters. Its tensors are named by where they
are, without the layer's number: `keys`, `values`, `conv_states.0`, `recurrent_states.0`. Layers are stacked where they
have one shape.
"""

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from configs.errors import StateError
from models.engine.backend import GROWING, SavedState, grows

COUNTERS = "counters"
"""The sequence's tokens, then what some caches count beside their tensors."""
WINDOW = "window_"
"""Before the name of keys and values that are forgotten again: their axis of tokens is no sequence's."""
Key: TypeAlias = str | int


class Leaf(NamedTuple):
    """A tensor, or a counter, and the place that holds it."""

    holder: Any
    """An object's attributes, a list or a dict."""
    key: Key
    name: str
    layer: int
    value: Any

    def put(self, value: Any) -> None:
        """Replace it."""
        self.holder[self.key] = value


def tensors(cache: Any) -> dict[str, dict[int, Leaf]]:
    """By name and layer, all that are of one sequence."""
    found: dict[str, dict[int, Leaf]] = defaultdict(dict)
    for leaf in _leaves(cache):
        if isinstance(leaf.value, Tensor):
            found[leaf.name][leaf.layer] = leaf
    return found


def nbytes(cache: Any) -> dict[str, int]:
    """Of its tensors, by name."""
    return {name: sum(leaf.value.nbytes for leaf in layers.values()) for name, layers in tensors(cache).items()}


def window_tokens(cache: Any) -> dict[str, int]:
    """How many tokens those arrays hold at most that forget, by name."""
    return {leaf.name: leaf.holder["sliding_window"] - 1 for leaf in _leaves(cache) if leaf.name.startswith(WINDOW)}


def exported(cache: Any, num_tokens: int, since: int = 0) -> SavedState:
    """A copy of everything in the cache of so many tokens; arrays that grow without the first `since`."""
    state: dict[str, np.ndarray] = {}
    for name, layers in tensors(cache).items():
        arrays = {layer: _to_numpy(name, leaf.value, since) for layer, leaf in layers.items()}
        if len({(array.shape, array.dtype) for array in arrays.values()}) == 1:
            state[name] = np.concatenate([arrays[layer] for layer in sorted(arrays)])
        else:
            state |= {f"{name}.{layer}": array for layer, array in arrays.items()}
    return state | {COUNTERS: np.array([num_tokens, *(leaf.value for leaf in _counters(cache))], np.int64)}


def restored(state: SavedState, like: Any) -> tuple[Any, int]:
    """A cache of the class of `like`, which holds a few tokens of another sequence, and how many it holds itself; none
    where they are 0.

    Raises StateError where the state has other arrays than such a cache has.
    """
    left = dict(state)
    num_tokens, *counted = left.pop(COUNTERS, np.zeros(1, np.int64)).tolist()
    if not num_tokens and not left:
        return None, 0
    cache = copy.deepcopy(like)
    counters = _counters(cache)
    if len(counters) != len(counted):
        raise _foreign()
    for leaf, value in zip(counters, counted, strict=True):
        leaf.put(value)
    for name, layers in tensors(cache).items():
        stacked = left.pop(name, None)
        if stacked is not None and len(stacked) != len(layers):
            raise _foreign()
        for place, layer in enumerate(sorted(layers)):
            found = left.pop(f"{name}.{layer}", None) if stacked is None else stacked[place : place + 1]
            layers[layer].put(_fitting(name, found, layers[layer].value))
    if left:
        raise _foreign()
    return cache, num_tokens


def _fitting(name: str, array: np.ndarray | None, like: Tensor) -> Tensor:
    if array is None:
        raise _foreign()
    tensor = _to_torch(name, array)
    has_tokens = grows(name) or name.startswith(WINDOW)
    shapes = [shape[:-2] + shape[-1:] if has_tokens else shape for shape in (tensor.shape, like.shape)]
    if shapes[0] != shapes[1] or tensor.dtype != like.dtype:
        raise _foreign()
    return tensor.to(like.device)


def _foreign() -> StateError:
    return StateError("The stored state has other tensors than this model's states.")


def _leaves(cache: Any) -> Iterator[Leaf]:
    """Tensors with a dimension for sequences, and counters, in an order that a cache's class decides."""
    if cache is not None:
        yield from _below(vars(cache) if hasattr(cache, "__dict__") else cache, (), is_window=False)


def _below(holder: Any, path: tuple[Key, ...], is_window: bool) -> Iterator[Leaf]:
    is_window |= isinstance(holder, Mapping) and holder.get("sliding_window") is not None
    for key, value in list(holder.items() if isinstance(holder, Mapping) else enumerate(holder)):
        here = (*path, key)
        if isinstance(value, Tensor):
            if value.ndim > 1:
                yield Leaf(holder, key, *_named(here, is_window), value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield Leaf(holder, key, *_named(here, is_window), value)
        elif isinstance(value, Mapping | list):
            yield from _below(value, here, is_window)
        elif type(value).__module__.startswith("transformers"):
            yield from _below(vars(value), here, is_window)


def _named(path: tuple[Key, ...], is_window: bool) -> tuple[str, int]:
    """By its attributes and further numbers, and by the first number, which is the layer's."""
    numbers = [key for key in path if isinstance(key, int)]
    words = [str(key) for key in path if not isinstance(key, int) and key != "layers"]
    name = ".".join([*words, *map(str, numbers[1:])])
    return (WINDOW + name if is_window and name in GROWING else name), (numbers or [0])[0]


def _counters(cache: Any) -> list[Leaf]:
    return [leaf for leaf in _leaves(cache) if not isinstance(leaf.value, Tensor)]


def _to_numpy(name: str, tensor: Tensor, since: int) -> np.ndarray:
    """(1, ...), of keys and values (1, T, H, D)."""
    if grows(name):
        tensor = tensor.transpose(-3, -2)[:, since:]
    tensor = tensor.detach().contiguous().cpu()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy().copy()


def _to_torch(name: str, array: np.ndarray) -> Tensor:
    tensor = torch.tensor(array)
    tensor = tensor.view(torch.bfloat16) if tensor.dtype == torch.uint16 else tensor
    return tensor.transpose(-3, -2).contiguous() if grows(name) else tensor
