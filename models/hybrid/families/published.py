"""From a published config.json to our architecture, by its `model_type`."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from models.hybrid.architecture import HybridConfig
from models.hybrid.families import granite, llama, nemotron
from models.hybrid.families.fields import Fields
from models.hybrid.families.sources import Names

FAMILIES: tuple[ModuleType, ...] = (llama, granite, nemotron)
BY_TYPE = {model_type: family for family in FAMILIES for model_type in family.MODEL_TYPES}
FOLLOWING = (".rotary_emb.inv_freq",)
"""Ends of the names of tensors that published files may hold and that follow from their config."""
UNUSED = ("mtp.",)
"""Beginnings of those of parts that do not read: heads that guess several tokens ahead."""


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


def is_needed(name: str) -> bool:
    """Whether a published tensor is part of what reads; all others that no model here has are refused."""
    return not name.endswith(FOLLOWING) and not name.startswith(UNUSED)
