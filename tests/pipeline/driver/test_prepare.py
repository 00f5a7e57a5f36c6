"""What a start refuses before anything is started."""

import pytest

from configs.errors import ConfigError
from configs.loader import load
from configs.settings import SummarizeConfig
from pipeline.driver.prepare import prepare


@pytest.mark.parametrize("named", [["run.id=r1"], []])
def test_a_run_does_not_go_on_in_another_currency(tmp_path, named):
    (tmp_path / "a.txt").write_text("a line")
    given = [f"input.sources=[{tmp_path / 'a.txt'}]", f"output.uri={tmp_path / 'output'}", *named]
    begun = prepare(load(SummarizeConfig, None, given))
    begun.command.claim(begun.ledger.run_id)
    about = {"started_at": "2026-11-22T12:00:00+00:00", "settings_sha256": begun.settings_sha256}
    begun.ledger.begin(about | {"config": begun.config.model_dump(mode="json")})
    with pytest.raises(ConfigError, match=r"price\.currency = 'EUR'.*begun with prices in USD.*price\.currency=USD"):
        prepare(load(SummarizeConfig, None, [*given, "price.currency=EUR"]))
    assert prepare(load(SummarizeConfig, None, given)).ledger.run_id == begun.ledger.run_id
