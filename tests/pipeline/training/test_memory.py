"""What cannot fit on a GPU is refused before its weights are loaded there."""

import pytest

from configs.errors import ConfigError
from configs.loader import load
from configs.training import TrainConfig
from models.mamba.architecture import MambaConfig
from pipeline.training import memory
from tests import published_checkpoint

ARCHITECTURE = MambaConfig.model_validate(published_checkpoint.config("mamba3-siso-1.5b"))
WEIGHTS = published_checkpoint.SIZES["mamba3-siso-1.5b"][-1]


@pytest.mark.parametrize(("more", "per_weight"), [((), 16), (("lora.rank=8",), 4)], ids=["full", "lora"])
def test_a_byte_too_few_is_refused(more, per_weight):
    config = load(TrainConfig, None, ["output=model", "start_from=somewhere", *more])
    memory.require(config, ARCHITECTURE, per_weight * WEIGHTS)
    with pytest.raises(
        ConfigError, match=r"start_from = 'somewhere': weights, gradients and optimizer take [\d.]+ GiB"
    ):
        memory.require(config, ARCHITECTURE, per_weight * WEIGHTS - 1)
