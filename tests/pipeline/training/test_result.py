"""What a training's output already holds."""

import json

import pytest

from configs.errors import ConfigError
from configs.training import TrainConfig
from pipeline.training import result


def test_an_output_holds_the_result_of_these_very_settings_or_none(tmp_path):
    config = TrainConfig(output=str(tmp_path / "out"))
    assert not result.is_there(config)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / result.FIGURES).write_text(json.dumps({"recipe": config.model_dump(mode="json")}))
    assert result.is_there(config)
    assert not result.is_there(config.model_copy(update={"seed": 1}))
    (tmp_path / "out" / result.FIGURES).write_text("{")
    assert not result.is_there(config)


def test_an_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match=r"^output = '.*/out' is a file: give a directory"):
        result.is_there(TrainConfig(output=str(tmp_path / "out")))
