"""The FOCUS export against the specification's own list of columns, and against `costs` to the last digit."""

import csv
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.reports import focus
from pipeline.reports.reconciliation import METHOD_ID as RECONCILED_METHOD
from pipeline.reports.reconciliation import reconcile
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.tables import COSTS
from pipeline.storage import objects as storage
from tests.outputs import cost_row, job_row, mark, write_part

# Of FOCUS 1.2 (May 2025), all that is mandatory, and what is exported of the rest; from 1.3 the split cost allocation
# and the names of providers, in whose place 1.2 has OLD. Read in November 2026 in the specification's repository.
# Level, whether nulls are allowed, and type of each. focus-validator 2.2.1 needs Python 3.12 and numpy 1, so it is
# none of our dependencies; run by hand over what was exported as 1.2, estimates and reconciled, Parquet and CSV, it
# found one alternative of a rule that holds as a whole: InvoiceId-C-005-C, of charges with an invoice, where
# InvoiceId-C-004-C is of those without.
SPECIFICATION = """
AllocatedMethodDetails      recommended  null      json
AllocatedMethodId           conditional  null      string
AllocatedResourceId         conditional  null      string
AllocatedResourceName       conditional  null      string
AllocatedTags               conditional  null      json
BilledCost                  mandatory    not-null  decimal
BillingAccountId            mandatory    not-null  string
BillingAccountName          mandatory    null      string
BillingCurrency             mandatory    not-null  string
BillingPeriodEnd            mandatory    not-null  date/time
BillingPeriodStart          mandatory    not-null  date/time
ChargeCategory              mandatory    not-null  string
ChargeClass                 mandatory    null      string
ChargeDescription           mandatory    null      string
ChargeFrequency             recommended  not-null  string
ChargePeriodEnd             mandatory    not-null  date/time
ChargePeriodStart           mandatory    not-null  date/time
CommitmentDiscountStatus    conditional  null      string
ConsumedQuantity            conditional  null      decimal
ConsumedUnit                conditional  null      string
ContractedCost              mandatory    not-null  decimal
ContractedUnitPrice         conditional  null      decimal
EffectiveCost               mandatory    not-null  decimal
HostProviderName            mandatory    not-null  string
InvoiceId                   recommended  null      string
InvoiceIssuerName           mandatory    not-null  string
ListCost                    mandatory    not-null  decimal
ListUnitPrice               conditional  null      decimal
PricingCategory             conditional  null      string
PricingQuantity             mandatory    null      decimal
PricingUnit                 mandatory    null      string
RegionId                    conditional  null      string
RegionName                  conditional  null      string
ResourceId                  conditional  null      string
ResourceName                conditional  null      string
ResourceType                conditional  null      string
ServiceCategory             mandatory    not-null  string
ServiceName                 mandatory    not-null  string
ServiceProviderName         mandatory    not-null  string
ServiceSubcategory          recommended  not-null  string
SkuId                       conditional  null      string
SkuMeter                    conditional  null      string
SkuPriceDetails             conditional  null      json
SkuPriceId                  conditional  null      string
SubAccountId                conditional  null      string
SubAccountName              conditional  null      string
SubAccountType              conditional  null      string
Tags                        conditional  null      json
"""
OLD = {"ProviderName", "PublisherName"}
NEW = {name for name in SPECIFICATION.split() if name.startswith("Allocated") or name.endswith("ProviderName")}
LISTED = {name: (level, nulls, kind) for name, level, nulls, kind in map(str.split, SPECIFICATION.strip().splitlines())}
ALLOWED = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {None, "Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "CommitmentDiscountStatus": {None, "Used", "Unused"},
    "PricingCategory": {"Standard", "Dynamic", "Committed", "Other"},
    "ServiceCategory": {"AI and Machine Learning"},
    "ServiceSubcategory": {"Natural Language Processing"},
    "ConsumedUnit": {"GPU-Seconds", "CPU-Seconds"},
    "PricingUnit": {"Hours"},
}
NULL_WITH_THE_SKU_PRICE = {
    *("ConsumedQuantity", "ConsumedUnit", "PricingCategory", "PricingQuantity", "PricingUnit", "SkuId", "SkuMeter"),
    *("ContractedUnitPrice", "ListUnitPrice"),
}
COST_STEP = Decimal("1e-18")

PRICE = Decimal("0.000625000111")
CPU_HOUR, CPU_SECOND = Decimal("0.04"), Decimal("0.000011111111")
BEGAN = datetime(2026, 12, 31, 10, 0, 0, 250_000, tzinfo=UTC)
SPOT = {
    "market": "spot",
    "instance_type": "p5en.48xlarge",
    "region": "us-east-1",
    "provider": "AWS",
    "on_demand_price_per_second": PRICE * 2,
}


def metered(kind: str, seconds: str, document_id: str | None = None, **others):
    """A row as a commit writes it."""
    return (
        cost_row(kind, str(Decimal(seconds) * PRICE), document_id)
        | {
            "device_seconds": Decimal(seconds),
            "price_per_second": PRICE,
            "device_type": "NVIDIA H200",
            "actor_id": "actor-1",
            "node": "node-1",
            "started_at": BEGAN,
            "finished_at": BEGAN + timedelta(seconds=40, microseconds=5),
        }
        | others
    )


def document(seconds: str, name: str, attempt: int = 1, **others):
    about = {"attempt": attempt, "outcome": "finished", "source_etag": "e1", "tokens_read": 900_000}
    return metered("document", seconds, name, **about | others)


NIGHT = [
    document("123.456789", "books/1", **SPOT),
    metered("wasted", "3.3", "books/1", attempt=1, outcome="lost", **SPOT),
    document("17.000001", 'a"b\u2028,c', **SPOT),
    metered("idle", "1.1", **SPOT),
    metered("startup", "2", actor_id="actor-2", market="on_demand", device_type="cpu"),
    metered("load", "86400.123457", actor_id="actor-4", device_type="cpu")
    | {
        "price_per_second": CPU_SECOND,
        "on_demand_price_per_second": CPU_SECOND,
        "price_per_hour": CPU_HOUR,
        "on_demand_price_per_hour": CPU_HOUR,
        "cost": Decimal("86400.123457") * CPU_SECOND,
    },
]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    root = tmp_path / "output"
    write_part(root, "jobs", "night", [job_row("1", model_id="models/default")])
    write_part(root, "jobs", "older", [job_row("1", currency="EUR")])
    write_part(root, "costs", "night", NIGHT)
    # Of an actor that died before its first heartbeat, little is known.
    nothing = {"device_seconds": Decimal(0), "actor_id": "actor-3", "node": "", "device_type": "", "currency": ""}
    write_part(root, "costs", "older", [cost_row("document", "0", "lost.txt", **nothing), cost_row("idle", "0.5")])
    return root


def exported(root: Path, *arguments) -> list[dict]:
    target = root.parent / "focus.parquet"
    rows = focus.export(Warehouse(str(root)), str(target), *arguments)
    table = pq.read_table(target)
    assert table.num_rows == rows
    return table.to_pylist()


def of_kind(rows: list[dict], kind: str) -> dict:
    return next(row for row in rows if row["x_Kind"] == kind)


def test_columns_are_those_of_the_specification_with_their_types_and_our_own_come_last():
    names = focus.COLUMNS.names
    own = [name for name in names if name.startswith("x_")]
    assert names == [*sorted(LISTED), *sorted(own)]
    kinds = {"string": pa.types.is_string, "json": pa.types.is_string, "decimal": pa.types.is_decimal128}
    utc = {"date/time": lambda kind: kind == pa.timestamp("us", tz="UTC")}
    assert all((kinds | utc)[LISTED[name][2]](focus.COLUMNS.field(name).type) for name in LISTED)


def test_values_keep_to_the_specification(output):
    rows = exported(output)
    for row in rows:
        nulls = {name for name in LISTED if row[name] is None}
        assert not nulls & {name for name in LISTED if LISTED[name][1] == "not-null"}
        assert nulls & NULL_WITH_THE_SKU_PRICE == (NULL_WITH_THE_SKU_PRICE if "SkuPriceId" in nulls else set())
        assert all(row[name] in allowed for name, allowed in ALLOWED.items() if name not in nulls)
        assert "" not in row.values()
        objects = [json.loads(row[name]) for name in LISTED if LISTED[name][2] == "json" and row[name]]
        assert all(isinstance(each, dict) for each in objects)
        assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"]
        assert row["ChargePeriodStart"] < row["BillingPeriodEnd"]
        assert (row["ResourceId"] is None) == (row["ResourceType"] is None)
        assert row["AllocatedMethodId"]
        assert row["AllocatedResourceName"] == row["AllocatedResourceId"]


def test_costs_sum_to_the_table_and_prices_explain_them(output):
    rows = exported(output)
    costs = [*(row["cost"] for row in NIGHT), Decimal(0), Decimal("0.5")]
    assert len(rows) == len(costs)
    assert sum(row["BilledCost"] for row in rows) == sum(row["EffectiveCost"] for row in rows) == sum(costs)
    priced = [row for row in rows if row["SkuPriceId"]]
    assert len(priced) == len(NIGHT)
    for row in priced:
        for kind in ("List", "Contracted"):
            product = focus.EXACT.multiply(row["PricingQuantity"], row[f"{kind}UnitPrice"])
            assert product.quantize(COST_STEP, context=focus.EXACT) == row[f"{kind}Cost"]
    spot = of_kind(rows, "document")
    assert spot["ListCost"] == 2 * spot["BilledCost"] == 2 * spot["ContractedCost"]
    assert spot["ContractedUnitPrice"] == Decimal("2.2500003996")


def test_the_price_of_an_hour_is_the_one_that_was_given(output):
    """That of a second has 12 decimals, of which an hour would come to 0.0399999996."""
    row = of_kind(exported(output, "night"), "load")
    assert row["ListUnitPrice"] == row["ContractedUnitPrice"] == CPU_HOUR
    assert row["ListCost"] == row["ContractedCost"] == Decimal("0.960001371744444444")
    assert row["BilledCost"] == row["ConsumedQuantity"] * CPU_SECOND


def test_of_what_has_no_price_only_the_tokens_can_be_told(output, tmp_path):
    unknown = [document("9", "books/2", device_type="", price_per_second=None), document("9", "books/3")]
    write_part(tmp_path / "unpriced", "costs", "night", [unknown[0], unknown[1] | {"price_per_second": None}])
    rows = exported(tmp_path / "unpriced")
    assert [row["SkuPriceId"] for row in rows] == [None, None]
    assert all(row[name] is None for row in rows for name in NULL_WITH_THE_SKU_PRICE)
    assert [row["x_TokensRead"] for row in rows] == [900_000, 900_000]
    assert all(row["ListCost"] == row["ContractedCost"] == row["BilledCost"] > 0 for row in rows)


def test_version_1_2_has_its_own_columns_and_what_is_newer_as_ours(output):
    rows = exported(output, None, None, focus.FocusVersion.V1_2)
    own = {name for name in focus.COLUMNS.names if name.startswith("x_")}
    names = pq.read_schema(output.parent / "focus.parquet").names
    assert names == [*sorted({*LISTED} - NEW | OLD), *sorted(own | {f"x_{name}" for name in NEW})]
    for old, row in zip(rows, exported(output), strict=True):
        assert {old[name] for name in OLD} == {"Longhaul"}
        assert {name: old[f"x_{name}"] if name in NEW else old[name] for name in row} == row


def test_a_row_says_what_was_used_where_and_for_what(output):
    rows = exported(output, "night")
    row = next(row for row in rows if row["AllocatedResourceId"] == "books/1" and row["x_Kind"] == "document")
    assert row["PricingCategory"] == "Dynamic"
    assert [row["ConsumedQuantity"], row["ConsumedUnit"]] == [Decimal("123.456789"), "GPU-Seconds"]
    assert [row["ResourceId"], row["ResourceName"], row["RegionId"]] == ["actor-1", "node-1", "us-east-1"]
    assert [row["SkuId"], row["SkuPriceId"]] == ["p5en.48xlarge", "p5en.48xlarge/AWS/us-east-1/spot"]
    assert [row["SubAccountId"], row["HostProviderName"], row["ServiceName"]] == ["night", "AWS", "Longhaul"]
    about = {"run_id": "night", "document_id": "books/1", "kind": "document", "outcome": "finished"}
    assert json.loads(row["Tags"]) == about | {"actor_id": "actor-1", "model": "models/default"}
    assert json.loads(row["AllocatedTags"]) == {"attempt": 1, "source_etag": "e1"}
    assert [row["x_EstimateStatus"], row["x_TokensRead"]] == ["estimate", 900_000]
    assert row["ChargeDescription"] == "Reading: books/1, attempt 1, finished (estimate)"
    assert row["ChargePeriodStart"] == BEGAN.replace(microsecond=0)
    assert row["ChargePeriodEnd"] == datetime(2026, 12, 31, 10, 0, 41, tzinfo=UTC)
    assert row["BillingPeriodEnd"] == datetime(2027, 1, 1, tzinfo=UTC)


def test_a_machine_that_its_cloud_has_named_is_the_resource(tmp_path):
    root = tmp_path / "output"
    write_part(root, "costs", "night", [metered("idle", "1", instance_id="i-0abc"), metered("load", "1")])
    named, other = sorted(exported(root), key=lambda row: row["x_Kind"])
    assert [named["ResourceId"], named["ResourceName"], named["ResourceType"]] == ["i-0abc", "node-1", "Instance"]
    assert [other["ResourceId"], other["ResourceType"]] == ["actor-1", "Actor"]


def test_time_that_served_no_document_stays_with_its_actor_by_name(output):
    rows = exported(output, "night")
    idle, startup = of_kind(rows, "idle"), of_kind(rows, "startup")
    assert idle["AllocatedResourceId"] is idle["AllocatedTags"] is None
    assert idle["ChargeDescription"] == "Time of an actor: idle (estimate)"
    assert [startup["ResourceId"], startup["ConsumedUnit"]] == ["actor-2", "CPU-Seconds"]
    assert startup["PricingCategory"] == "Standard"
    assert of_kind(rows, "wasted")["AllocatedResourceId"] == "books/1"


def test_the_ratios_of_an_actors_charges_sum_to_one(output):
    ratios: dict[str, Decimal] = {}
    for row in exported(output, "night"):
        assert row["AllocatedMethodId"] == focus.METHOD_ID
        (element,) = json.loads(row["AllocatedMethodDetails"], parse_float=Decimal)["Elements"]
        assert element["UsageQuantity"] == row["ConsumedQuantity"]
        ratios[row["ResourceId"]] = ratios.get(row["ResourceId"], 0) + element["AllocatedRatio"]
    assert ratios == {"actor-1": 1, "actor-2": 1, "actor-4": 1}


def test_what_is_not_known_is_null_or_taken_from_the_run(output):
    rows = exported(output, "older")
    lost, idle = of_kind(rows, "document"), of_kind(rows, "idle")
    assert [lost["BillingCurrency"], lost["ResourceName"], lost["RegionId"]] == ["EUR", None, None]
    assert lost["AllocatedMethodDetails"] is None
    assert [idle["ListUnitPrice"], idle["ListCost"]] == [None, Decimal("0.5")]
    # Without times of its own a charge is its partition's day's.
    assert idle["ChargePeriodStart"] == datetime(2026, 3, 1, tzinfo=UTC)
    assert idle["ChargePeriodEnd"] == datetime(2026, 3, 2, tzinfo=UTC)


def test_outputs_of_a_version_without_prices_by_market_are_exported(tmp_path):
    folder = tmp_path / "output" / "costs" / "dt=2026-03-01" / "run=old"
    folder.mkdir(parents=True)
    schema = pa.schema([field for field in COSTS if field.name not in SPOT])
    row = {"run_id": "old", "currency": "USD"} | {name: value for name, value in NIGHT[0].items() if name not in SPOT}
    pq.write_table(pa.Table.from_pylist([row], schema), folder / "part-0001-00000.parquet")
    mark(tmp_path / "output", "old")
    (exported_row,) = exported(tmp_path / "output")
    assert exported_row["PricingCategory"] == "Standard"
    assert exported_row["ListCost"] == exported_row["BilledCost"] == NIGHT[0]["cost"]
    assert exported_row["SkuId"] == "NVIDIA H200"


def test_an_output_without_costs_gives_a_file_without_rows(tmp_path):
    (tmp_path / "output" / "_runs").mkdir(parents=True)
    assert exported(tmp_path / "output") == []


def test_csv_has_the_same_rows_as_focus_writes_them(output, tmp_path):
    assert focus.export(Warehouse(str(output)), str(tmp_path / "FOCUS.CSV")) == len(NIGHT) + 2
    with (tmp_path / "FOCUS.CSV").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for text, typed in zip(rows, exported(output), strict=True):
        assert list(text) == focus.COLUMNS.names
        for name, value in typed.items():
            if isinstance(value, datetime):
                assert text[name] == value.strftime("%Y-%m-%dT%H:%M:%SZ")
            elif isinstance(value, Decimal):
                assert Decimal(text[name]) == value
                assert "E" not in text[name]
            else:
                assert text[name] == ("" if value is None else str(value))


def test_a_reconciled_export_sums_to_the_bill_and_says_so(output, tmp_path):
    bill = tmp_path / "bill.csv"
    bill.write_text("date,cost\n2026-12-31,7.07\n")
    for part in (output / "costs" / "dt=2026-03-01" / "run=older").iterdir():
        part.unlink()
    reconciliation = reconcile(Warehouse(str(output)), str(bill))
    rows = exported(output, None, reconciliation)
    assert sum(row["BilledCost"] for row in rows) == sum(row["EffectiveCost"] for row in rows) == Decimal("7.07")
    assert sum(row["x_EstimatedCost"] for row in rows) == sum(row["cost"] for row in NIGHT) == reconciliation.estimate
    ratios = Decimal(0)
    for row, estimated in zip(rows, exported(output), strict=True):
        assert row["x_EstimateStatus"] == "reconciled"
        assert row["ChargeDescription"].endswith("(reconciled)")
        assert row["AllocatedMethodId"] == RECONCILED_METHOD
        assert [row["ListCost"], row["ContractedCost"]] == [estimated["ListCost"], estimated["ContractedCost"]]
        (element,) = json.loads(row["AllocatedMethodDetails"], parse_float=Decimal)["Elements"]
        assert [element["UsageUnit"], element["UsageQuantity"]] == ["USD", row["x_EstimatedCost"]]
        assert element["x_Day"] == "2026-12-31"
        ratios += element["AllocatedRatio"]
    assert ratios == 1


def test_costs_of_a_day_without_a_bill_stay_an_estimate(output, tmp_path):
    bill = tmp_path / "bill.csv"
    bill.write_text("date,cost\n2026-12-30,7.07\n")
    for part in (output / "costs" / "dt=2026-03-01" / "run=older").iterdir():
        part.unlink()
    rows = exported(output, None, reconcile(Warehouse(str(output)), str(bill)))
    assert {row["x_EstimateStatus"] for row in rows} == {"estimate"}
    assert {row["AllocatedMethodId"] for row in rows} == {focus.METHOD_ID}
    assert sum(row["BilledCost"] for row in rows) == sum(row["cost"] for row in NIGHT)


def test_an_export_goes_to_an_object_store_too(output, s3):
    bucket = s3.new_bucket()
    for name in ("focus.parquet", "focus.csv"):
        assert focus.export(Warehouse(str(output)), f"{bucket}/{name}", "night") == len(NIGHT)
    assert storage.read_table(f"{bucket}/focus.parquet").num_rows == len(NIGHT)
    assert storage.read_bytes(f"{bucket}/focus.csv").startswith(b"AllocatedMethodDetails,")


def test_the_file_names_the_version_it_keeps_to(output, tmp_path):
    exported(output)
    metadata = pq.read_schema(output.parent / "focus.parquet").metadata
    assert metadata[b"FocusVersion"] == b"1.3"
    exported(output, "night", None, focus.FocusVersion.V1_2)
    assert pq.read_schema(output.parent / "focus.parquet").metadata[b"FocusVersion"] == b"1.2"
