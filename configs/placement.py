"""How many actors a run has, and on which of a cluster's nodes."""

import re
from collections.abc import Mapping
from typing import Any, Literal, Self, TypeAlias

from pydantic import Field, field_validator, model_serializer, model_validator

from configs.labels import ACCELERATOR_LABEL, MARKET_LABEL
from configs.loader import Settings
from configs.prices import Market

LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
OF_MARKETS: dict[Market, str] = {"spot": "spot", "on_demand": "!spot"}
"""Ray's selectors by market: a node that has no label counts as on demand, as in `pipeline.billing.rates`."""

Selector: TypeAlias = dict[str, str]
"""Labels of nodes, as Ray selects by them."""


class ActorCount(Settings):
    """How many actors a run has. A number stands for as many at least and at most."""

    min: int = Field(1, ge=1)
    """So many are asked for from the start. The run begins with the first that is there; the others join it as nodes
    do, and none of them is waited for."""
    max: int = Field(1, ge=1)
    """Up to so many are asked for while all that there are have as many documents as they take. Beyond min, actors
    without documents are given up again. On CPUs, those beyond min take nodes that are there, and leave the readers
    their CPUs."""

    @model_validator(mode="before")
    @classmethod
    def _take_number(cls, value: Any) -> Any:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return {"min": value, "max": value} if is_number else value

    @model_serializer
    def _as_number(self) -> int | dict[str, int]:
        return self.min if self.min == self.max else {"min": self.min, "max": self.max}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min = {self.min} is more than max = {self.max}")
        return self


class PlacementSettings(Settings):
    """Which nodes actors run on, by the nodes' labels."""

    market: Literal["any", "spot_first", "spot", "on_demand"] = "any"
    """How the nodes are bought, by their Ray label ray.io/market-type; a node without the label is on demand.
    `spot_first`: on demand only where spot is not to be had for fallback_after."""
    gpus: tuple[str, ...] = ()
    """Types of GPU in order of preference, as in Ray's label ray.io/accelerator-type: `[H100, A100]`. Others are not
    used. Unset: any."""
    cheapest_first: bool = False
    """Whether the order of `gpus` is that of dollars per token instead: by the catalog's price on each market, and the
    speed that was measured in earlier runs of this output, else is rated."""
    fallback_after: float = Field(300.0, ge=0)
    """Seconds that an actor waits for a node of one choice before the next is asked for too; of spot_first and two GPUs
    the choices are spot with the first, spot with the second, on demand with the first and with the second. An actor
    whose node is lost takes any of them that is free, at once, since documents wait with it."""
    memory_gib: float | None = Field(None, gt=0)
    """Memory of the host that each actor reserves from Ray. Unset: none."""

    @field_validator("gpus", mode="before")
    @classmethod
    def _take_one(cls, value: object) -> object:
        return (value,) if isinstance(value, str) and value.strip() else value

    @field_validator("gpus")
    @classmethod
    def _check_gpus(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not LABEL_VALUE.fullmatch(name):
                raise ValueError(f"{name!r} is no value of a label; write the type as Ray does, such as A100")
        if len(set(names)) < len(names):
            raise ValueError("name each type once")
        return names

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cheapest_first and not self.gpus:
            raise ValueError("cheapest_first orders gpus, and gpus is empty: name the types that there are")
        return self

    @property
    def markets(self) -> tuple[Market | None, ...]:
        """In order of preference; None is any."""
        if self.market == "any":
            return (None,)
        return ("spot", "on_demand") if self.market == "spot_first" else (self.market,)

    @property
    def memory_bytes(self) -> int | None:
        """Of `memory_gib`."""
        return None if self.memory_gib is None else int(self.memory_gib * 2**30)


def selector(market: Market | None, gpu: str | None) -> Selector:
    """Of nodes of a market with a type of GPU; None is any."""
    labels = {MARKET_LABEL: market and OF_MARKETS[market], ACCELERATOR_LABEL: gpu}
    return {name: value for name, value in labels.items() if value is not None}


def fits(choice: Selector, labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels is one of choice."""
    return all(
        labels.get(name) != value[1:] if value.startswith("!") else labels.get(name) == value
        for name, value in choice.items()
    )
