"""Every settings file that ships here loads."""

from pathlib import Path

import pytest

from configs.loader import load
from configs.prices import Catalog
from configs.settings import SummarizeConfig
from configs.training import TrainConfig

SHIPPED = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_file_loads(path):
    kind = TrainConfig if path.name.startswith("train_") else SummarizeConfig
    assert load(Catalog if path.name == "prices.yaml" else kind, path)


def test_there_are_shipped_files():
    assert "demo.yaml" in {path.name for path in SHIPPED}
