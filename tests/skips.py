"""In CI a test that skips has failed, unless it needs what a fresh machine may lack: a GPU, ../shared, tesseract, or
the programs of requirements-infra.lock, systemd and Prometheus, which not every platform has, or gpuhunt, which no
lock may hold.

Elsewhere a skip is a skip. Nothing is green because somebody once installed by hand what a test looks for.
"""

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

ALLOWED = (
    "torch sees no CUDA device",
    "../shared is absent",
    "tesseract is not installed",
    "requirements-infra.lock is not installed",
    "the package of SmolLM2 cannot be had",
    "systemd-analyze is not installed",
    "gpuhunt is not installed",
    "Prometheus is not installed",
)
"""Reasons that skip in CI too."""

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _judged((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """For a file that skips as a whole."""
    return _judged((yield))


def _judged(report: Report) -> Report:
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        *_, reason = report.longrepr
        if reason.removeprefix("Skipped: ") not in ALLOWED:
            report.outcome = "failed"
            report.longrepr = f"{reason}\nIn CI only these may skip a test: {', '.join(ALLOWED)}"
    return report
