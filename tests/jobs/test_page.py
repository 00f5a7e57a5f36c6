"""The page of a report: its figures, what hostile names do to it, and what a browser makes of it."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from jobs.look import decimals, percent, rounded
from jobs.page import page
from pipeline.reports import reconciliation as reconciling
from pipeline.reports import report as reporting
from pipeline.reports.quantities import money
from pipeline.reports.warehouse import Warehouse
from tests import chromium
from tests.nights import HOSTILE, write_nights
from tests.outputs import cost_row, job_row, write_part
from tests.parsed import Parsed

LAST = date(2026, 3, 7)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    root = tmp_path_factory.mktemp("week")
    write_nights(root, LAST)
    return Warehouse(str(root))


@pytest.fixture(scope="module")
def report(warehouse):
    return reporting.report(warehouse)


@pytest.fixture(scope="module")
def html(report):
    return page(report)


def test_the_figures_are_there_as_a_person_reads_them(report, html):
    (account,), text = report.accounts, Parsed(html).text
    for amount in (account.cost, account.cost_per_million_tokens, account.cost_per_document, account.spot.saved):
        assert money(amount, "USD") in text
    assert "1 to 7 March 2026" in text
    assert "Wasted: machine lost" in text
    assert "until it is reconciled" in text
    assert all(run.run_id in text for run in account.runs)


def test_hostile_names_stay_text(html):
    parsed = Parsed(html)
    assert HOSTILE in parsed.text
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in parsed.tags}
    assert not [attributes for _, attributes in parsed.tags if {"onerror", "onload", "src", "href"} & attributes.keys()]


def test_names_cannot_turn_the_text_around(tmp_path):
    write_part(tmp_path, "jobs", "night", [job_row("1")])
    row = cost_row("document", "1", "invoice\N{RIGHT-TO-LEFT OVERRIDE}fdp.\x00exe")
    write_part(tmp_path, "costs", "night", [row])
    html = page(reporting.report(Warehouse(str(tmp_path))))
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in html
    assert "invoice\N{REPLACEMENT CHARACTER}fdp.\N{REPLACEMENT CHARACTER}exe" in html


def test_every_plot_says_in_words_what_it_shows(html):
    plots = [attributes for _, attributes in Parsed(html).tags if attributes.get("role") == "img"]
    assert len(plots) == 4
    assert all(attributes["aria-label"] for attributes in plots)


def test_each_currency_has_its_own_figures(tmp_path):
    write_part(tmp_path, "jobs", "one", [job_row("1200.5", currency="EUR")])
    write_part(tmp_path, "jobs", "two", [job_row("2", datetime(2026, 3, 2, tzinfo=UTC), currency="CHF")])
    text = Parsed(page(reporting.report(Warehouse(str(tmp_path))))).text
    assert "Paid in EUR" in text
    assert "€1,200.50" in text
    assert "CHF 2.00" in text


def test_an_output_without_runs_has_a_page_that_says_so(tmp_path):
    (tmp_path / "_runs").mkdir()
    assert "No run has been committed" in page(reporting.report(Warehouse(str(tmp_path))))


def test_a_run_that_cost_nothing_and_read_nothing_has_a_page(tmp_path):
    none = {"documents_succeeded": 0, "tokens_read": 0, "device_seconds": Decimal(0), "started_at": None}
    write_part(tmp_path, "jobs", "night", [job_row("0") | none])
    assert "Total cost" in page(reporting.report(Warehouse(str(tmp_path))))


def test_a_bill_is_shown_beside_the_estimate(warehouse, report, tmp_path):
    bill = tmp_path / "bill.csv"
    bill.write_text("date,cost\n2026-03-01,5.00\n2026-03-09,1.00\n")
    reconciliation = reconciling.reconcile(warehouse, str(bill))
    text = Parsed(page(report, reconciliation)).text
    assert "Against the bill" in text
    assert "no line" in text
    assert "$6.00" in text


@pytest.mark.parametrize(
    ("amounts", "shown"),
    [
        (["12.5", "0.001", "0"], ["$12.50", "<$0.01", "$0.00"]),
        (["0.0345", "0.00004"], ["$0.0345", "<$0.0001"]),
        (["-3", "1234567.891"], ["-$3.00", "$1,234,567.89"]),
        (["0"], ["$0.00"]),
    ],
)
def test_a_column_of_money_has_one_number_of_decimals(amounts, shown):
    values = [Decimal(amount) for amount in amounts]
    assert [rounded(value, "USD", decimals(values)) for value in values] == shown


def test_small_shares_are_not_nothing():
    assert [percent(share) for share in (None, 0, 0.0001, 0.034, 1)] == ["-", "0.0%", "<0.1%", "3.4%", "100.0%"]


@pytest.fixture(scope="module")
def browser():
    with chromium.started() as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [chromium.DESKTOP, chromium.PHONE], ids=["desktop", "phone"])
def test_a_browser_shows_it_whole_without_asking_anybody(browser, report, html, tmp_path, viewport, scheme):
    file = tmp_path / "report.html"
    file.write_text(html, encoding="utf-8")
    with chromium.watched(browser, file, viewport, scheme) as page:
        assert page.said == []
        assert page.asked == [file.as_uri()]
        assert page.tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert money(report.accounts[0].cost, "USD") in page.tab.inner_text(".card >> nth=0")
        bars = page.tab.locator(".plot >> nth=0").locator("rect.documents")
        assert bars.count() == 7
        assert all(bar.bounding_box()["height"] > 50 for bar in bars.all())
        assert HOSTILE in page.tab.inner_text("main")
        picture = page.tab.screenshot(full_page=True, path=chromium.picture("report", viewport, scheme))
        assert len(picture) > 50_000
