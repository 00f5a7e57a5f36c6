"""Figures of a report against rows whose sums are known."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
import time_machine

from pipeline.reports import report as reporting
from pipeline.reports.breakdown import REST, Breakdown
from pipeline.reports.report import Account, Spot
from pipeline.reports.warehouse import Warehouse
from tests.nights import ACTORS, HOSTILE, ON_DEMAND, SECTIONS, SPOT, write_nights
from tests.outputs import STARTED, cost_row, job_row, write_part

TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
def week(tmp_path_factory):
    root = tmp_path_factory.mktemp("week")
    return write_nights(root, TODAY), Warehouse(str(root))


@pytest.fixture(scope="module")
def account(week) -> Account:
    (found,) = reporting.report(week[1]).accounts
    return found


def costs(nights):
    return [row for night in nights for row in night.costs]


def test_everything_sums_to_the_bill(week, account):
    bill = sum(row["cost"] for row in costs(week[0]))
    assert account.cost == bill
    for parts in (account.spent, account.nights, account.runs, *account.by.values()):
        assert sum(each.cost for each in parts) == bill


def test_the_overview_counts_what_was_done(week, account):
    nights, rows = week[0], costs(week[0])
    documents = sum(len({row["document_id"] for row in night.summaries}) for night in nights)
    tokens = sum(row.get("tokens_read") or 0 for row in rows)
    assert (account.documents, account.documents_failed, account.tokens_read) == (documents, 7, tokens)
    assert account.attempts == {"finished": documents, "failed": 7, "lost": 2}
    assert float(account.cost_per_million_tokens) == pytest.approx(float(account.cost) * 1e6 / tokens)
    assert float(account.cost_per_document) == pytest.approx(float(account.cost) / documents)
    assert (account.first_day, account.last_day) == (TODAY - timedelta(days=6), TODAY)


def test_waste_has_its_cause_and_failed_documents_a_line_of_their_own(account):
    (wasted,) = account.spent_on("wasted")
    assert (wasted.cause, wasted.cost, wasted.parts) == ("lost", 160 * SPOT, 2)
    assert account.wasted == wasted.cost
    assert [each.cause for each in account.spent_on("prefill")] == [None, "failed"]
    assert [each.kind for each in account.spent][2:] == ["startup", "load", "idle", "snapshot", "wasted"]


def test_spot_saving_is_against_the_work_without_what_was_lost(week, account):
    kept = sum(row["device_seconds"] for row in costs(week[0]) if row["kind"] != "wasted")
    assert account.spot == Spot(account.cost, kept * ON_DEMAND, kept * ON_DEMAND - account.cost)


def test_a_spot_price_that_is_the_only_price_known_saves_nothing(tmp_path):
    write_part(tmp_path, "jobs", "night", [job_row("1")])
    row = cost_row("document", "1", "a", price_per_second=Decimal("0.5"), market="spot")
    write_part(tmp_path, "costs", "night", [row | {"on_demand_price_per_second": Decimal("0.5")}])
    assert reporting.report(Warehouse(str(tmp_path))).accounts[0].spot is None


def test_a_quote_is_compared_with_the_cost(account):
    quote = account.runs[0].quote
    assert float(quote.difference) == pytest.approx(1 / 0.93 - 1, rel=1e-3)


@pytest.mark.parametrize(
    "quote", ['{"cost": "1", "currency": "EUR"}', '{"tokens": 3}', '{"cost": "1", "documents": 2}', "null"]
)
def test_a_quote_in_another_currency_of_other_documents_or_without_a_cost_is_none(tmp_path, quote):
    write_part(tmp_path, "jobs", "night", [job_row("1", quote=quote)])
    assert reporting.report(Warehouse(str(tmp_path))).accounts[0].runs[0].quote is None


def test_the_dearest_documents_are_of_all_runs(account):
    assert len(account.top_documents) == reporting.MAX_DOCUMENTS
    amounts = [each.cost for each in account.top_documents]
    assert amounts == sorted(amounts, reverse=True)
    hostile = next(each for each in account.top_documents if each.title == HOSTILE)
    assert (hostile.attempts, hostile.runs) == (7, 7)


def test_one_run_or_the_last_days_are_told_apart(week):
    nights, warehouse = week
    (run,) = reporting.report(warehouse, nights[2].run_id).accounts
    assert run.cost == sum(row["cost"] for row in nights[2].costs)
    # The nights were made when the tests began, which may have been yesterday.
    with time_machine.travel(datetime.combine(TODAY, time(12), UTC)):
        days = reporting.report(warehouse, days=3)
    assert [each.run_id for each in days.runs] == [night.run_id for night in nights[:-4:-1]]
    assert days.since == TODAY - timedelta(days=2)


def test_a_run_that_is_gone_on_with_costs_on_both_nights(tmp_path):
    write_part(tmp_path, "jobs", "one", [job_row("3")])
    second = STARTED + timedelta(days=1)
    rows = [
        cost_row("document", "1", "a", tokens_read=10, outcome="stopped", run_started_at=STARTED),
        cost_row("document", "1.5", "a", tokens_read=20, outcome="finished", run_started_at=second),
        cost_row("idle", "0.5", run_started_at=second),
    ]
    for row, minutes in zip(rows, (7, 2, 3), strict=True):
        row["finished_at"] = row["run_started_at"] + timedelta(minutes=minutes)
    write_part(tmp_path, "costs", "one", rows)
    (account,) = reporting.report(Warehouse(str(tmp_path))).accounts
    assert [(night.day, night.cost, night.documents, night.runs) for night in account.nights] == [
        (second.date(), Decimal("2.0"), 1, 1),
        (STARTED.date(), Decimal("1"), 0, 1),
    ]
    assert (account.first_day, account.last_day) == (STARTED.date(), second.date())
    assert [run.seconds for run in account.runs] == [600]
    assert [(each.name, each.cost) for each in account.by[Breakdown.DAY]] == [
        (str(second.date()), Decimal("2.0")),
        (str(STARTED.date()), Decimal("1")),
    ]


def test_currencies_are_not_added_up(tmp_path):
    write_part(tmp_path, "jobs", "old", [job_row("1")])
    later = job_row("4", datetime(2026, 3, 2, tzinfo=UTC), currency="EUR")
    write_part(tmp_path, "jobs", "new", [later], day="2026-03-02")
    # An actor that died before its first heartbeat had told no currency.
    write_part(tmp_path, "costs", "new", [cost_row("document", "0", "a", currency="")], day="2026-03-02")
    accounts = reporting.report(Warehouse(str(tmp_path))).accounts
    assert [(each.currency, each.cost) for each in accounts] == [("EUR", 4), ("USD", 1)]
    assert len(accounts[0].spent) == 1


def test_an_empty_output_has_no_account(tmp_path):
    (tmp_path / "_runs").mkdir()
    assert reporting.report(Warehouse(str(tmp_path))).accounts == []


def test_costs_by_day_model_source_and_section(week, account):
    by = account.by
    assert [each.name for each in by[Breakdown.DAY]] == [str(TODAY - timedelta(days=ago)) for ago in range(7)]
    assert [each.share for each in by[Breakdown.MODEL]] == [1.0]
    sources = {each.name: each for each in by[Breakdown.SOURCE]}
    folders = {f"s3://filings/us/{name}" for name in ("10-K", "10-Q", "calls")}
    assert sources.keys() == {*folders, "(no source known)", REST}
    assert sum(sources[name].documents for name in folders) == account.documents
    assert account.by[Breakdown.SOURCE][-1].is_rest
    sections = {each.name: each for each in by[Breakdown.SECTION]}
    assert sections.keys() == {*SECTIONS, "(whole documents)", REST}
    assert sections[SECTIONS[0]].documents == sources["s3://filings/us/calls"].documents


@pytest.mark.parametrize(
    ("uris", "names"),
    [
        (["/data/a/x.txt", "/data/a/b/y.txt", "/data/c/z.txt"], {"/data/a", "/data/c"}),
        (["/data/a/x.txt", "/data/a/y.txt"], {"/data/a"}),
        (["s3://one/x.txt", "s3://two/in/y.txt"], {"s3://one/", "s3://two/in"}),
    ],
)
def test_sources_are_told_apart_by_the_first_folder_that_they_do_not_share(tmp_path, uris, names):
    write_part(tmp_path, "jobs", "night", [job_row("1")])
    write_part(tmp_path, "summaries", "night", [{"document_id": uri, "source_uri": uri} for uri in uris])
    write_part(tmp_path, "costs", "night", [cost_row("document", "1", uri, tokens_read=1) for uri in uris])
    groups = reporting.report(Warehouse(str(tmp_path))).accounts[0].by[Breakdown.SOURCE]
    assert {each.name for each in groups if not each.is_rest} == names


def test_slices_of_the_newest_run_hold_all_its_time(week, account):
    rows = week[0][-1].costs
    slices = account.newest_run
    assert sum(each.device_seconds for each in slices) == pytest.approx(
        float(sum(row["device_seconds"] for row in rows)), 1e-4
    )
    reading = sum(each.device_seconds * each.used for each in slices if each.used is not None)
    on_documents = sum(row["device_seconds"] for row in rows if row["kind"] == "document")
    assert reading == pytest.approx(float(on_documents), rel=0.02)
    assert max(each.device_seconds for each in slices) <= ACTORS * slices[0].seconds * 1.01
    assert slices[0].used < 0.7 < max(each.used for each in slices)


def test_rows_without_times_give_no_slices(tmp_path):
    write_part(tmp_path, "jobs", "night", [job_row("1")])
    write_part(tmp_path, "costs", "night", [cost_row("document", "1", "a")])
    (account,) = reporting.report(Warehouse(str(tmp_path))).accounts
    assert account.newest_run == []
    assert account.runs[0].day == date(2026, 3, 1)


def test_answers_that_hold_what_their_document_does_not_are_counted(tmp_path):
    write_part(tmp_path, "jobs", "night", [job_row("1")])
    write_part(tmp_path, "costs", "night", [cost_row("document", "1", "a")])
    rows = [{"document_id": name, "unsupported": found} for name, found in {"a": ["15"], "b": [], "c": None}.items()]
    write_part(tmp_path, "summaries", "night", rows)
    (account,) = reporting.report(Warehouse(str(tmp_path))).accounts
    assert account.answers_unsupported == 1
