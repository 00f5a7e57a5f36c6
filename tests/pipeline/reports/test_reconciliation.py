"""Bills of several kinds against metered costs: the sums are exact, and what is not the actors' is named."""

import tempfile
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError
from configs.labels import INSTANCE_LABEL, PROVIDER_LABEL
from configs.settings import PriceSettings
from pipeline.billing.rates import Rates
from pipeline.ledger.commit import commit
from pipeline.ledger.run_folder import Ledger
from pipeline.reports import focus
from pipeline.reports.reconciliation import COSTS, Reconciliation, reconcile
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.document import Document
from tests.outputs import cost_row, write_part
from tests.worker import ABOUT, Worker

DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(start: datetime, hours: float, kind: str, cost: str, document_id: str | None = None, **others):
    times = {"started_at": start, "finished_at": start + timedelta(hours=hours)}
    return cost_row(kind, cost, document_id, **times | {"actor_id": "actor-1", "node": "node-1"} | others)


def output(root: Path, *rows, run_id: str = "night") -> Path:
    write_part(root, "costs", run_id, list(rows))
    return root


def reconciled(root: Path, bill: str, run_id: str | None = None) -> Reconciliation:
    path = root.parent / "bill.csv"
    path.write_text(bill)
    return reconcile(Warehouse(str(root)), str(path), run_id)


def scaled(result: Reconciliation) -> dict[tuple, Decimal]:
    """By run, kind and document."""
    return {key[:3]: charge.cost for key, charge in result.charges.items()}


@pytest.fixture
def one_day(tmp_path: Path) -> Path:
    return output(
        tmp_path / "output",
        at(NOON, 1, "document", "3", "a"),
        at(NOON, 1, "document", "1", "b", node="node-2", actor_id="actor-2"),
    )


def test_a_days_bill_is_spread_in_proportion_to_metered_cost(one_day):
    result = reconciled(one_day, "date,cost\n2026-03-01,5\n")
    assert scaled(result) == {("night", "document", "a"): Decimal("3.75"), ("night", "document", "b"): Decimal("1.25")}
    (day,) = result.days
    assert [day.day, day.estimate, day.bill, day.difference, day.factor] == [DAY, 4, 5, 1, Decimal("1.25")]
    assert [result.currency, result.estimate, result.bill, result.difference] == ["USD", 4, 5, 1]
    # Without names of nodes, all that the meters do not have.
    assert result.unattributed == 1


def test_a_bill_below_the_estimate_scales_down_and_holds_nothing_beyond(one_day):
    result = reconciled(one_day, "date,cost\n2026-03-01,1\n")
    assert [result.days[0].factor, result.difference, result.unattributed] == [Decimal("0.25"), -3, 0]
    assert sum(scaled(result).values()) == 1


def test_a_bill_that_names_every_node_is_matched_by_node_and_the_rest_is_spread(one_day):
    bill = "date,cost,node\n2026-03-01,3,NODE-1\n2026-03-01,3,arn:x:instance/node-2\n2026-03-01,2,head\n"
    result = reconciled(one_day, bill)
    assert scaled(result) == {("night", "document", "a"): Decimal("4.5"), ("night", "document", "b"): Decimal("3.5")}
    assert [result.bill, result.unattributed] == [8, 2]


def test_a_bill_that_names_instances_is_matched_by_them_whatever_the_pods_are_called(tmp_path):
    rows = [
        at(NOON, 1, "document", "3", "a", node="pod-1", instance_id="i-0AA1"),
        at(NOON, 1, "document", "1", "b", node="pod-2", instance_id="i-0AA1", actor_id="actor-2"),
        at(NOON, 1, "document", "4", "c", node="pod-3", instance_id="i-0bb2", actor_id="actor-3"),
    ]
    bill = [(8, "i-0aa1"), (2, "arn:aws:ec2:us-east-1:1:instance/i-0bb2"), (1, "i-0head")]
    lines = [f"2026-03-01,{cost},{name}" for cost, name in bill]
    result = reconciled(output(tmp_path / "output", *rows), "\n".join(["date,cost,node", *lines]))
    rest = [Decimal("0.375"), Decimal("0.125"), Decimal("0.5")]
    assert list(scaled(result).values()) == [6 + rest[0], 2 + rest[1], 2 + rest[2]]
    assert [result.bill, result.unattributed] == [11, 1]


def test_what_actors_metered_on_a_clouds_machines_meets_the_bill_by_their_ids(tmp_path):
    """From meters to costs to the bill; on AWS a host's name is in no bill."""
    ledger = Ledger(str(tmp_path / "output"), "night")
    ledger.begin(ABOUT)
    documents = [Document(name, f"/{name}", "v1", 500) for name in "ab"]
    for document, id in zip(documents, ("i-0aa1", "i-0bb2"), strict=True):
        worker = Worker(ledger, Random(3))
        labels = {INSTANCE_LABEL: id, PROVIDER_LABEL: "aws"}
        worker.actor.rate = Rates(PriceSettings(gpu_hour=Decimal(2))).of_gpu("NVIDIA H200", labels)
        worker.take([document])
        worker.clock.now += 10**10
        worker.end(document.document_id, "finished")
        worker.leave()
    commit(ledger, documents)
    (day,) = {row["day"] for row in Warehouse(ledger.output_uri).rows("select started_at::date as day from costs")}
    result = reconciled(tmp_path / "output", f"date,cost,resource_id\n{day},30,i-0aa1\n{day},10,i-0bb2\n")
    billed = Warehouse(ledger.output_uri).rows(f"select * from ({COSTS})")
    by_instance = Counter()
    for row in billed:
        charge = result.charge(row)
        assert charge is not None
        by_instance[row["instance_id"]] += charge.cost
    assert by_instance == {"i-0aa1": 30, "i-0bb2": 10}
    assert result.unattributed == 0


def test_a_bill_that_names_some_nodes_alone_is_matched_by_day(one_day):
    result = reconciled(one_day, "date,cost,node\n2026-03-01,3,node-1\n2026-03-01,5,i-0123\n")
    assert scaled(result) == {("night", "document", "a"): 6, ("night", "document", "b"): 2}


def test_a_node_with_its_domain_is_the_machine_of_that_name(tmp_path):
    rows = [
        at(NOON, 1, "document", "1", "a", node="gpu-1.zone.internal"),
        at(NOON, 1, "document", "1", "b", node="gpu-2.zone.internal"),
    ]
    result = reconciled(output(tmp_path / "output", *rows), "date,cost,node\n2026-03-01,1,gpu-1\n2026-03-01,3,gpu-2\n")
    assert list(scaled(result).values()) == [1, 3]
    assert result.unattributed == 0


def test_a_cost_counts_on_its_days_by_time(tmp_path):
    root = output(tmp_path / "output", at(NOON + timedelta(hours=6), 24, "idle", "4"))
    result = reconciled(root, "date,cost\n2026-03-01,2\n2026-03-02,9\n")
    assert [(day.estimate, day.bill, day.factor) for day in result.days] == [(1, 2, 2), (3, 9, 3)]
    assert list(scaled(result).values()) == [11]


def test_days_without_a_line_stay_estimates_and_days_without_actors_are_shown_alone(one_day):
    output(one_day, at(NOON + timedelta(days=1), 1, "idle", "2"))
    result = reconciled(one_day, "date,cost\n2026-03-01,4\n2026-03-05,7\n")
    lines = [(day.day.day, day.estimate, day.bill, day.factor, day.unattributed) for day in result.days]
    assert lines == [(1, 4, 4, 1, 0), (2, 2, 0, None, 0), (5, 0, 7, None, 7)]
    assert scaled(result)["night", "idle", None] == 2
    assert [charge.reconciled for key, charge in result.charges.items() if key[1] == "idle"] == [False]
    assert result.bill == 11


def test_a_run_has_its_part_of_what_all_runs_of_the_day_are_billed(one_day):
    output(one_day, at(NOON, 1, "document", "12", "c"), run_id="other")
    result = reconciled(one_day, "date,cost\n2026-03-01,32\n2026-03-09,1\n", run_id="night")
    assert [(day.day, day.estimate, day.bill, day.factor) for day in result.days] == [(DAY, 4, 8, 2)]
    assert sum(scaled(result).values()) == 32


def test_costs_without_a_price_are_spread_by_time(tmp_path):
    rows = [
        at(NOON, 1, "document", "0", name, device_seconds=Decimal(seconds)) for name, seconds in (("a", 1), ("b", 3))
    ]
    result = reconciled(output(tmp_path / "output", *rows), "date,cost\n2026-03-01,8\n")
    assert list(scaled(result).values()) == [2, 6]
    assert result.days[0].factor is None


def test_rows_that_are_the_same_in_all_that_tells_rows_apart_are_each_billed(tmp_path):
    root = output(tmp_path / "output", *[at(NOON, 1, "idle", "1")] * 3)
    result = reconciled(root, "date,cost\n2026-03-01,6\n")
    assert [charge.cost for charge in result.charges.values()] == [2, 2, 2]


def test_our_own_export_is_a_bill_that_changes_nothing(one_day):
    path = one_day.parent / "own.csv"
    focus.export(Warehouse(str(one_day)), str(path))
    result = reconciled(one_day, path.read_text())
    assert [day.factor for day in result.days] == [1]
    assert list(scaled(result).values()) == [3, 1]


def test_a_bill_whose_digits_are_finer_than_money_is_rounded_as_a_whole(one_day):
    finer = "2026-03-01,0.0000000000000000004\n"
    assert reconciled(one_day, f"date,cost\n{finer * 5}").bill == Decimal("2e-18")


def test_a_bill_in_another_currency_than_the_costs_is_refused(one_day):
    with pytest.raises(ConfigError, match="is in EUR, costs are in USD"):
        reconciled(one_day, "date,cost,currency\n2026-03-01,1,EUR\n")


def test_costs_in_two_currencies_are_refused(one_day):
    output(one_day, at(NOON, 1, "idle", "1", currency="EUR"), run_id="other")
    with pytest.raises(ConfigError, match="costs are in EUR, USD"):
        reconciled(one_day, "date,cost\n2026-03-01,1\n")


AMOUNTS = st.integers(0, 10**24).map(lambda digits: str(Decimal(digits).scaleb(-18)))
ROWS = st.lists(
    st.tuples(AMOUNTS, st.integers(0, 60 * 86_400), st.integers(0, 3 * 86_400 * 10**6), st.sampled_from("xyz")),
    min_size=1,
    max_size=12,
)
BILLS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(-(10**20), 10**26), st.sampled_from(["", "x", "y", "z", "head"])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, bill=BILLS)
def test_parts_sum_exactly_to_the_bill(rows, bill):
    costs = [
        at(
            NOON + timedelta(seconds=start % (2 * 86_400)),
            0,
            "idle",
            amount,
            node=node,
            finished_at=NOON + timedelta(seconds=start % (2 * 86_400), microseconds=length),
        )
        for amount, start, length, node in rows
    ]
    lines = [f"2026-03-{1 + day:02d},{Decimal(amount).scaleb(-18):f},{node}" for day, amount, node in bill]
    with tempfile.TemporaryDirectory() as folder:
        result = reconciled(output(Path(folder) / "output", *costs), "\n".join(["date,cost,node", *lines]))
    spread = {share.day for charge in result.charges.values() for share in charge.shares}
    billed = {date(2026, 3, 1 + day) for day, _, _ in bill}
    assert {day.day for day in result.days if day.estimate and day.day in billed} <= spread <= billed
    # Other days stay as they were metered.
    assert exact(charge.cost for charge in result.charges.values()) == exact(
        day.bill if day.day in spread else day.estimate for day in result.days
    )
    assert exact(day.estimate for day in result.days) == exact(row["cost"] for row in costs)
    assert exact(day.bill for day in result.days) == sum(amount for _, amount, _ in bill)
    for day in result.days:
        shares = [share.ratio for charge in result.charges.values() for share in charge.shares if share.day == day.day]
        assert not shares or sum(shares) == 1


def exact(amounts) -> int:
    """Units of the last digit, as many digits as there are."""
    return sum(int(amount.scaleb(18)) for amount in amounts)
