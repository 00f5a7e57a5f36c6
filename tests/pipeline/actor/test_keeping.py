"""A state is kept only where it costs less to store than its document to read again."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from configs.settings import EngineSettings
from models.engine.request import Pass
from pipeline.actor.assignment import Assignment
from pipeline.actor.gauge import ActorGauge
from pipeline.actor.job import Job
from pipeline.actor.keeping import Keeping, storage_cost
from pipeline.billing.metering import Meter, Rate
from tests.one_actor import PATIENCE_SECONDS, TEXT, assignment_in, entries, row, run, streamed, with_settings

STATE_BYTES = 49 * 2**20
TOKENS_PER_SECOND = 400_000
"""With the price below, $0.0015 for a million."""
RATE = Rate("NVIDIA H100", 1, Decimal("2.16"), "USD")
WORTH_FROM = 733_724
"""Tokens, from which on a state is worth 30 days at $0.023 a month."""


@pytest.fixture
def told(tmp_path: Path) -> Assignment:
    return with_settings(assignment_in(tmp_path), ttl_days=30.0, storage_gib_month=Decimal("0.023"))


def actor(seconds: float) -> ActorGauge:
    """That has read for so long."""
    now_ns = [0]
    made = ActorGauge(RATE)
    made.meter = Meter(lambda: now_ns[0])
    now_ns[0] = round(seconds * 1e9)
    if seconds:
        made.count(Pass("prefill", {"a": round(seconds * TOKENS_PER_SECOND)}, 1, ()))
        # What answers take is no part of reading.
        now_ns[0] *= 3
        made.count(Pass("decode", {"a": 10}, 0, ()))
    return made


def job(cut: int | None, **values: Any) -> Job:
    cuts = [] if cut is None else [{"tokens": cut, "offset": 1, "encoding": None, "parts": 1, "digest": "ab"}]
    return Job(row(Path("a.txt"), cuts=cuts, is_streamed=False) | values, None, None)  # type: ignore[arg-type]


def test_the_price_of_storage_is_of_bytes_and_days() -> None:
    assert storage_cost(2**30, 30, Decimal("0.023")) == Decimal("0.023")
    assert storage_cost(2**29, 3, Decimal("0.02")) == Decimal("0.001")
    assert storage_cost(2**40, 30, Decimal(0)) == 0


@pytest.mark.parametrize(("tokens", "is_worth"), [(2000, False), (WORTH_FROM - 1, False), (WORTH_FROM, True)])
def test_tokens_at_their_price_are_set_against_bytes_for_their_days(
    told: Assignment, tokens: int, is_worth: bool
) -> None:
    keeping = Keeping(told, actor(2), STATE_BYTES)
    assert keeping.may_be_worth(job(tokens)) is is_worth
    # A day instead of thirty, and a thirtieth of the tokens.
    assert Keeping(with_settings(told, ttl_days=1.0), actor(2), STATE_BYTES).may_be_worth(job(WORTH_FROM // 30 + 1))
    assert not Keeping(with_settings(told, ttl_days=1.0), actor(2), STATE_BYTES).may_be_worth(job(WORTH_FROM // 30 - 1))


def test_what_is_not_known_yet_may_be_worth_it_and_what_has_no_cut_never_is(told: Assignment) -> None:
    assert Keeping(told, actor(0), STATE_BYTES).may_be_worth(job(2000))
    assert Keeping(told, actor(2), STATE_BYTES).may_be_worth(job(None, is_streamed=True))
    assert not Keeping(told, actor(0), STATE_BYTES).may_be_worth(job(None))
    free = with_settings(told, storage_gib_month=Decimal(0))
    assert Keeping(free, actor(2), STATE_BYTES).may_be_worth(job(1))
    assert not Keeping(with_settings(free, ttl_days=None), actor(2), STATE_BYTES).may_be_worth(job(1))


@pytest.mark.parametrize(("price", "is_kept"), [("0", True), ("1000000", False)])
def test_what_is_not_worth_it_is_not_stored(tmp_path: Path, price: str, is_kept: bool) -> None:
    told = with_settings(assignment_in(tmp_path), ttl_days=30.0, storage_gib_month=Decimal(price))
    _, (receipt,) = run(told, streamed(tmp_path / "a.txt", (TEXT * 6).encode()))
    assert receipt.result(PATIENCE_SECONDS)["status"] == "ok"
    entry = entries(told)["a.txt"]
    assert bool(entry.get("states")) is is_kept
    assert (tmp_path / "output" / "_states").exists() is is_kept


@pytest.mark.parametrize("slots", [1, 7])
def test_what_a_state_takes_is_that_of_one_document_however_many_there_are(tmp_path: Path, slots: int) -> None:
    keeping = with_settings(assignment_in(tmp_path), ttl_days=30.0, engine=EngineSettings(slots=slots, step_tokens=512))
    driver, (receipt,) = run(keeping, streamed(tmp_path / "a.txt", (TEXT * 6).encode()))
    assert receipt.result(PATIENCE_SECONDS)["status"] == "ok"
    (kept,) = entries(keeping)["a.txt"]["states"]
    # The object has a header and the last tokens, too.
    assert 0.5 * kept["size_bytes"] < driver._engine.state_bytes <= kept["size_bytes"]
