"""A run whose documents fail in numbers stops; ten documents of which six fail do not."""

import pytest

from configs.settings import RunSettings
from pipeline.driver.error_budget import ErrorBudget


def after(settings: RunSettings, ok: int, failed: int, stopped: int = 0) -> ErrorBudget:
    budget = ErrorBudget(settings)
    for status, count in {"ok": ok, "failed": failed, "stopped": stopped}.items():
        for number in range(count):
            kind = "EmptyDocumentError" if number % 4 else "CorruptError"
            error = {"error_class": kind, "error_message": f"no field 'text' in line {number}"}
            budget.add({"status": status} | (error if status == "failed" else {}))
    return budget


@pytest.mark.parametrize(
    ("ok", "failed", "is_spent"),
    [(4, 6, False), (0, 999, False), (0, 1000, True), (500, 500, False), (499, 501, True), (9_000, 1_000, False)],
)
def test_more_than_half_of_at_least_a_thousand(ok, failed, is_spent):
    assert after(RunSettings(), ok, failed).is_spent == is_spent


def test_what_was_stopped_has_neither_succeeded_nor_failed():
    assert not after(RunSettings(), 0, 999, stopped=5000).is_spent


def test_one_never_stops_it():
    assert not after(RunSettings(max_failed_share=1.0), 0, 5000).is_spent


def test_the_most_frequent_reason_is_named():
    assert str(after(RunSettings(), 188, 812)) == (
        "812 of 1,000 documents failed, 609 of them with EmptyDocumentError, as: no field 'text' in line 1"
    )
    assert str(after(RunSettings(), 1, 0)) == "0 of 1 documents failed"
