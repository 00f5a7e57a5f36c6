import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError
from jobs import probe
from tests.small_model import write


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Of random weights, which remembers nothing that it could say."""
    return write(tmp_path_factory.mktemp("model"), "The secret word of Norby Mill is copper.\n" * 9)


def test_recall_and_loss_are_measured_of_any_model_and_document(model, tmp_path, capsys):
    (tmp_path / "document.txt").write_text("Nothing of note happened that year.\n" * 200, encoding="utf-8")
    for folder in ("one", "two"):
        probe.probe(
            tmp_path / folder, model, "200,1K", "0,100", trials=4, document=[str(tmp_path / "document.txt")], seed=7
        )
    rows, again = (pq.read_table(tmp_path / folder / "recall.parquet").to_pylist() for folder in ("one", "two"))
    assert rows == again, "by its seed"
    assert len(rows) == 2 * 2 * 4
    assert {(row["length"], row["depth"]) for row in rows} == {(200, 0), (200, 100), (1000, 0), (1000, 100)}
    assert all(row["chance"] == 1 / 8 and 1 <= row["rank"] <= 8 for row in rows)
    losses = pq.read_table(tmp_path / "one" / "loss.parquet").to_pylist()
    assert [(row["from"], row["to"]) for row in losses] == [(0, 512), (512, 999)]
    table = (tmp_path / "one" / "table.txt").read_text(encoding="utf-8")
    assert "by chance 12.5 %" in table and "state carried" in table
    assert all((tmp_path / "one" / name).read_text().startswith("<svg") for name in ("recall.svg", "loss.svg"))
    assert "Recall of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"lengths": "10"}, "at least 100 tokens"),
        ({"lengths": "x"}, "--lengths 'x'"),
        ({"depths": "0,101"}, "--depths"),
        ({"depths": "-1"}, "--depths"),
        ({"trials": 3}, "--trials 3"),
        ({"trials": 12}, "--trials 12"),
        ({"device": "tpu"}, "--device tpu"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, options, reason):
    with pytest.raises(ConfigError, match=reason):
        probe.probe(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
