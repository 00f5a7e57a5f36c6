"""Bills of several kinds are read; others are refused with what was looked for."""

import gzip
from datetime import date
from pathlib import Path

import pytest

from configs.errors import ConfigError
from pipeline.reports.bill import LAYOUTS, Bill, read_bill

DAY = date(2026, 3, 1)


def read(folder: Path, bill: str | bytes) -> Bill:
    path = folder / "bill.csv"
    path.write_bytes(bill.encode() if isinstance(bill, str) else bill)
    return read_bill(str(path))


def test_every_kind_of_bill_is_read(tmp_path):
    zone = "2026-02-28T23:30:00-01:00"
    bills = {
        "FOCUS": f"ResourceId,BilledCost,ChargePeriodStart,BillingCurrency\n,8,{zone},USD\n",
        "AWS CUR": "lineItem/UsageStartDate,lineItem/UnblendedCost,x\n2026-03-01T23:00:00Z,5.5,y\n"
        "2026-03-01T00:00:00Z,2.5,y\n",
        "AWS CUR 2.0": "line_item_usage_start_date,line_item_unblended_cost\n2026-03-01 01:00:00.000,8E0\n",
        "plain": "\ufeffCurrency, Date ,COST\nusd,2026-03-01,9\n\n,2026-03-01,-1\n",
    }
    assert bills.keys() == {layout.name for layout in LAYOUTS}
    for bill in bills.values():
        for data in (bill.encode(), gzip.compress(bill.encode())):
            lines = read(tmp_path, data).lines
            assert {line.day for line in lines} == {DAY}
            assert sum(line.cost for line in lines) == 8


def test_a_machine_has_every_name_that_the_bill_gives_it(tmp_path):
    bill = "ResourceId,ResourceName,BilledCost,ChargePeriodStart\narn:x:instance/i-01,Worker-1,8,2026-03-01\n"
    (line,) = read(tmp_path, bill).lines
    assert line.names == {"arn:x:instance/i-01", "i-01", "worker-1"}


@pytest.mark.parametrize(
    ("bill", "reasons"),
    [
        ("Tag,Total\nx,1\n", ["BilledCost", "lineItem/UnblendedCost", "date and cost", "Found: Tag, Total"]),
        ("", ["Found: nothing"]),
        ("date,cost\n2026-03-01,1\nTotal,1\n", ["line 3", "date is 'Total'", "2026-03-01"]),
        ("date,cost\n2026-03-01,$5\n", ["line 2", "cost is '$5'", "12.34"]),
        ("date,cost\n2026-03-01,NaN\n", ["cost is 'NaN'"]),
        ("date,cost\n2026-03-01\n", ["cost is ''"]),
        ("date,cost,currency\n2026-03-01,1,EUR\n2026-03-01,1,USD\n", ["EUR, USD", "one currency"]),
        (b"PAR1\x15\x04\xff\xfe", ["UTF-8", "as CSV"]),
        (b"\x1f\x8b\x08damaged", ["cannot be read"]),
    ],
)
def test_a_bill_that_cannot_be_used_is_refused_with_what_was_looked_for(tmp_path, bill, reasons):
    with pytest.raises(ConfigError) as refused:
        read(tmp_path, bill)
    assert [reason for reason in reasons if reason not in str(refused.value)] == []


def test_a_bill_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.csv: cannot be read"):
        read_bill(str(tmp_path / "gone.csv"))
