"""Reads the fields of a published config.json, and refuses by name what is not supported."""

from collections.abc import Mapping, Sequence
from typing import Any

SAME_LAYERS = {"mamba": "linear_attention", "attention": "full_attention"}
"""What configs of before transformers 5 call the types of layers, and what they are called since."""


class Fields:
    """The fields of a config.json."""

    def __init__(self, published: Mapping[str, Any]) -> None:
        self.published = published

    def of(self, name: str, default: Any = None) -> Any:
        """A field, or the default where it is absent or null. JSON has infinity as {"__float__": "Infinity"}."""
        value = self.published.get(name)
        return default if value is None else _plain(value)

    def count(self, name: str, default: int | None = None) -> int:
        """A whole number. Raises ValueError where it is none, or is missing and has no default."""
        value = self.of(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name} = {value!r}: a whole number is needed")
        return value

    def require(self, name: str, *supported: Any) -> None:
        """Refuse a field whose value is none of those supported; absent means the first."""
        if (value := self.of(name, supported[0])) not in supported:
            raise ValueError(f"{name} = {value!r}: supported with {' or '.join(map(repr, supported))} only")

    def layer_types(self, spellings: Sequence[str], default: Sequence[str]) -> list[str]:
        """The types of layers under the first of these spellings that is there, as transformers 5 calls them."""
        for name in spellings:
            if given := self.of(name):
                return [SAME_LAYERS.get(each, each) for each in given]
        return list(default)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value["__float__"]) if isinstance(value, dict) and "__float__" in value else value
