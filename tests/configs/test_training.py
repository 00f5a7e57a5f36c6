"""Settings of a training that contradict each other are refused, with both named."""

import pytest

from configs.errors import ConfigError
from configs.loader import load
from configs.training import TrainConfig

FRESH = "output=model"
FURTHER = "start_from=default"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((FURTHER, "model.n_layer=3"), "start_from = 'default' brings its own shape"),
        (("lora.rank=4",), "lora = .*rank=4.* but start_from names none"),
        (("tokenizer=default",), "tokenizer = 'default' is of a checkpoint, but start_from names none"),
        (("text_weight=0", "data.pair_share=0"), "text_weight = 0 and data.pair_share = 0 leave nothing to learn"),
        (("model.headdim=48",), "model.headdim = 48 must divide twice model.d_model = 256"),
        ((FURTHER, "lora.rank=0"), "lora.rank = 0"),
        (("precision=fp16",), "precision = 'fp16'"),
        (("data.weights={a: -1}",), "data.weights.*the weight of a is -1"),
        (("workers=0",), "workers = 0"),
    ],
)
def test_it_is_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        load(TrainConfig, None, [FRESH, *given])


def test_lora_on_a_checkpoint_is_taken_with_its_defaults():
    config = load(TrainConfig, None, [FRESH, FURTHER, "lora={}"])
    assert config.lora is not None
    assert config.lora.rank == 16
