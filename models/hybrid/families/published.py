"""From a published config.json to our architecture, by its `model_type`."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from models.hybrid.architecture import HybridConfig
from models.hybrid.families import llama
from models.hybrid.families.fields import Fields
from models.hybrid.families.sources import Names

FAMILIES: tuple[ModuleType, ...] = (llama,)
BY_TYPE = {model_type: family for family in FAMILIES for model_type in family.MODEL_TYPES}
BUFFERS = (".rotary_emb.inv_freq",)
"""Ends of the names of tensors that published files may hold and that follow from their config."""


def is_known(published: Mapping[str, Any]) -> bool:
    """Whether a config.json is of one of these families."""
    return published.get("model_type") in BY_TYPE


def read(published: Mapping[str, Any]) -> HybridConfig:
    """Of a known family. Raises ValueError naming the field that is missing or not supported."""
    try:
        config: HybridConfig = BY_TYPE[published["model_type"]].config(Fields(published))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return config


def tensors(published: Mapping[str, Any], config: HybridConfig) -> Names:
    """What our tensors are called in the files beside that config.json."""
    names: Names = BY_TYPE[published["model_type"]].names(config)
    return names


def spelled(name: str) -> str | None:
    """A tensor's name as these families spell it today, or None for what no model here needs."""
    return None if name.endswith(BUFFERS) else name
