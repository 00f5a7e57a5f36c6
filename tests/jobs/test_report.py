"""`python -m jobs.report` as a person runs it."""

import csv
import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from jobs import exits
from tests.nights import write_nights
from tests.outputs import STARTED, cost_row, job_row, write_part

LONG_TITLE = "A very long report " * 10


@pytest.fixture
def report(warm):
    return lambda output, *arguments: warm("jobs.report", [str(output), *arguments])


def cells(text: str, first: str) -> list[str]:
    """Of the row that begins with `first`."""
    lines = [line.strip() for line in text.splitlines()]
    return next(re.split(r"\s{2,}", line) for line in lines if line.startswith(f"{first} "))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    write_part(root, "jobs", "monday", [job_row("0.00042")])
    later = STARTED + timedelta(days=1)
    write_part(root, "jobs", "tuesday", [job_row("4", later, status="partial", currency="EUR")], day="2026-03-02")
    costs = [
        cost_row("idle", "0.5"),
        cost_row("document", "2", "books/1", tokens_read=900_000),
        cost_row("document", "0.5", "books/1", tokens_read=100_000, attempt=2),
        cost_row("document", "0.00042", "a[bold]b[/bold].txt", tokens_read=12),
        cost_row("startup", "0.99958"),
    ]
    write_part(root, "costs", "tuesday", [row | {"currency": "EUR"} for row in costs], day="2026-03-02")
    title = {"document_id": "books/1", "title": LONG_TITLE, "size_bytes": 3 << 20}
    write_part(root, "summaries", "tuesday", [title | {"prompt_id": name} for name in "xy"], day="2026-03-02")
    failures = [("CorruptError", "z.pdf"), ("CorruptError", "y.pdf"), ("EmptyDocumentError", "empty.txt")]
    rows = [{"error_class": kind, "document_id": name, "error_message": f"bad {name}"} for kind, name in failures]
    write_part(root, "failures", "tuesday", rows, day="2026-03-02")
    return root


def test_runs_are_listed_newest_first_with_rounded_figures(output, report):
    shown = report(output).stdout
    assert shown.index("tuesday") < shown.index("monday")
    started = "2026-03-01 12:00"
    work, cost = shown.split("What they cost")
    assert cells(work, "monday") == ["monday", "succeeded", started, "3m 12s", "2", "1", "1.2M", "6,250/s"]
    assert cells(cost, "monday") == ["monday", "3m 10s", "cpu", "$0.00042", "$0.00035", "$0.00021"]
    assert cells(work, "tuesday")[1] == "partial"
    assert cells(cost, "tuesday")[-3:] == ["€4.00", "€3.33", "€2.00"]


def test_the_newest_run_is_detailed_by_kind_with_shares(output, report):
    shown = report(output).stdout
    assert "Cost of tuesday by kind" in shown
    assert re.search(r"prefill +€2\.50 +62\.5% +3\.00s +3", shown)
    assert [cells(shown, kind)[1:3] for kind in ("startup", "idle")] == [["€1.00", "25.0%"], ["€0.50", "12.5%"]]


def test_attempts_of_a_document_are_one_line_and_names_are_shown_literally(output, report):
    shown = report(output).stdout
    assert cells(shown, "A very long report")[-3:] == ["3 MiB", "1M", "€2.50"]
    assert cells(shown, "a[bold]b[/bold].txt")[-3:] == ["-", "12", "€0.00042"]


def test_failures_are_grouped_with_an_example(output, report):
    shown = report(output).stdout
    assert cells(shown, "CorruptError") == ["CorruptError", "2", "y.pdf: bad y.pdf"]
    assert cells(shown, "EmptyDocumentError")[1] == "1"


def test_a_chosen_run_is_detailed_instead(output, report):
    shown = report(output, "--run", "monday").stdout
    assert "tuesday" in shown
    assert "Cost of" not in shown
    assert report(output, "--run", "tuesday").stdout == report(output).stdout


def test_an_unknown_run_is_refused_with_a_suggestion(output, report):
    result = report(output, "--run", "tusday")
    assert result.returncode == exits.REFUSED
    assert "did you mean tuesday?" in result.stderr


def test_no_more_than_ten_runs_and_documents_are_listed(tmp_path, report):
    for number in range(12):
        write_part(tmp_path, "jobs", f"run-{number:02d}", [job_row("1", STARTED + timedelta(hours=number))])
    costs = [cost_row("document", str(Decimal(number) / 100), f"doc-{number:02d}") for number in range(12)]
    write_part(tmp_path, "costs", "run-11", costs)
    shown = report(tmp_path).stdout
    assert re.findall(r"run-\d\d(?= +succeeded)", shown) == [f"run-{number:02d}" for number in range(11, 1, -1)]
    assert "and 2 older" in shown
    assert re.findall(r"doc-\d\d", shown) == [f"doc-{number:02d}" for number in range(11, 1, -1)]


def test_an_output_before_its_first_commit_says_so(tmp_path, report):
    (tmp_path / "_runs").mkdir()
    result = report(tmp_path)
    assert result.returncode == exits.SUCCESS
    assert result.stdout.strip() == "No run has been committed yet."


def test_a_run_that_read_nothing_divides_by_nothing(tmp_path, report):
    none = {"documents_succeeded": 0, "tokens_read": 0, "finished_at": STARTED}
    write_part(tmp_path, "jobs", "nothing", [job_row("0", **none)])
    cost = report(tmp_path).stdout.split("What they cost")[1]
    assert cells(cost, "nothing")[-3:] == ["$0", "-", "-"]


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("week")
    write_nights(root, datetime.now(UTC).date())
    return root


def test_the_overview_has_all_runs_beside_the_detailed_one(week, report):
    shown = report(week, "--by", "source").stdout
    overview = shown.partition("What they cost")[0]
    assert cells(overview, "total cost")[1:] == ["$32.94", "$4.82"]
    assert cells(overview, "per 1M tokens")[1:] == ["$0.18", "$0.184"]
    assert cells(overview, "wasted")[1:] == ["$0.10 (0.3%)", "$0"]
    assert cells(overview, "saved with spot")[1:] == ["$45.88 (58.2%)", "$6.75 (58.3%)"]
    assert cells(overview, "quoted")[1:] == ["$30.64 (cost 7.5% more)", "$4.48 (cost 7.5% more)"]
    assert cells(overview, "attempts that did not finish")[1:] == ["7 failed, 2 lost", "1 failed"]
    assert "USD by source, 7 runs" in shown
    assert cells(shown, "s3://filings/us/10-K")[1:3] == ["$9.51", "28.9%"]


def test_currencies_have_columns_of_their_own(output, report):
    overview = report(output).stdout.partition("What they cost")[0]
    assert cells(overview, "total cost")[1:] == ["€4.00", "$0.00042", "€4.00"]


def test_json_is_everything_with_exact_money(week, report):
    found = json.loads(report(week, "--json").stdout)
    (account,) = found["accounts"]
    assert Decimal(account["cost"]) == sum(Decimal(each["cost"]) for each in account["spent"])
    assert account["by"].keys() == {"day", "model", "source", "section"}
    assert len(account["runs"]) == 7
    one = json.loads(report(week, "--json", "--run", account["runs"][3]["run_id"]).stdout)
    assert one["accounts"][0]["cost"] == account["runs"][3]["cost"]


def test_days_leave_older_runs_out(week, output, report):
    assert len(json.loads(report(week, "--json", "--days", "2").stdout)["accounts"][0]["runs"]) == 2
    assert report(output, "--days", "1").stdout.startswith("No run since ")
    refused = report(week, "--days", "2", "--run", f"nightly-{datetime.now(UTC).date() - timedelta(days=5)}")
    assert refused.returncode == exits.REFUSED


def test_a_page_and_an_export_scaled_to_the_bill_are_written(week, tmp_path, report):
    today = datetime.now(UTC).date()
    (tmp_path / "bill.csv").write_text(f"date,cost\n{today},5.00\n")
    written = ["--html", str(tmp_path / "report.html"), "--focus", str(tmp_path / "focus.csv")]
    result = report(week, *written, "--reconcile", str(tmp_path / "bill.csv"))
    assert result.returncode == exits.SUCCESS, result.stderr
    assert cells(result.stdout, f"{today}")[1:] == ["$4.82", "$5.00", "$0.182", "1.0377"]
    assert cells(result.stdout, "days in the bill")[1:] == ["$4.82", "$5.00", "$0.182"]
    assert "scaled to the bill" in result.stdout
    assert "Against the bill" in (tmp_path / "report.html").read_text()
    header, *rows = csv.reader((tmp_path / "focus.csv").read_text().splitlines())
    billed = sum(Decimal(row[header.index("BilledCost")]) for row in rows if f"nightly-{today}" in row)
    assert billed == Decimal(5)
    assert "HostProviderName" in header and "ProviderName" not in header
    older = report(week, "--focus", str(tmp_path / "older.csv"), "--focus-version", "1.2")
    assert "(FOCUS 1.2), an estimate" in older.stdout
    header = (tmp_path / "older.csv").read_text().splitlines()[0].split(",")
    assert "ProviderName" in header and "HostProviderName" not in header
    assert report(week, "--focus", "focus.csv", "--focus-version", "1.1").returncode == exits.REFUSED


def test_an_export_of_some_days_is_refused(week, tmp_path, report):
    result = report(week, "--days", "2", "--focus", str(tmp_path / "focus.csv"))
    assert result.returncode == exits.REFUSED
    assert "--run" in result.stderr
