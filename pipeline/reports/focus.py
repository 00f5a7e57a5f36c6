"""`costs` as FOCUS has it: the FinOps Open Cost and Usage Specification 1.3, or 1.2 where that is asked for.

Each row of `costs` is one charge. What it was split from (FOCUS: the origin charge) is an actor, whose whole time was
metered, and the written rule is `longhaul-share-of-tokens`:

1. The time of a pass through the model goes to the documents in it, by their share of its tokens. What that comes to
   for an attempt at a document is a charge allocated to the document, including lost work.
2. Time that served no document (`startup`, `load`, `idle`, `snapshot`, `drain`, and `wasted` of no one document) stays
   with the actor under its name in `x_Kind`, allocated to nothing, and so does the time of a node that holds no actor
   (`node`). It is never silently spread over documents; `full_cost` in `summaries` spreads it in proportion to cost.
3. Seconds are whole microseconds and the largest remainders round up: an actor's charges sum to its time and its cost.

All this is an estimate, from configured prices, and `x_EstimateStatus` says so on every row. A provider's
bill makes it `reconciled`: BilledCost and EffectiveCost are then parts of the bill, by the rule in
`pipeline.reports.reconciliation`; ListCost and ContractedCost stay what the prices say, and `x_EstimatedCost` what the
meter said.

A charge's period is its own, within the actor's, in whole seconds, as FOCUS writes times.

ListCost and ContractedCost are the products of PricingQuantity and their unit prices, of an hour as they were given,
rounded to the 18 decimals of a cost. BilledCost and EffectiveCost are what was metered: by the second, at a price of
12 decimals (`price_per_second`), so that they sum to the bill exactly. The two differ by at most 5e-13 in each second.

A charge whose device or price is not known has no SkuPriceId, and then none of UNPRICED either.

Version 1.2 names the provider and the publisher where 1.3 names who provides the service and who hosts it. What is new
in 1.3 is in an export of 1.2 as columns of our own, under `x_`.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pyarrow as pa

from configs import VERSION
from pipeline.billing.metering import NODE, SECONDS_PER_HOUR
from pipeline.billing.money import EXACT, MICROSECOND, MONEY, PRICE_PER_HOUR, SECONDS, TIME, amount_of, proportioned
from pipeline.reports import reconciliation as reconciling
from pipeline.reports.reconciliation import RATIO_DIGITS, RATIO_STEPS, Charge, Reconciliation
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.tables import Row
from pipeline.storage import objects

METHOD_ID = "longhaul-share-of-tokens"
NAME = "Longhaul"
HOURS = pa.decimal128(38, 20)
HOUR_STEP = Decimal("1e-20")
COST_STEP = Decimal("1e-18")
UNIT_PRICE = pa.decimal128(28, PRICE_PER_HOUR.scale)
SECOND = timedelta(seconds=1)
NO_CURRENCY = "XXX"
ROWS_AT_ONCE = 20_000
CATEGORIES = {"spot": "Dynamic"}
"""By market; any other price was set beforehand, which FOCUS calls Standard."""

COLUMNS = pa.schema(
    [
        ("AllocatedMethodDetails", pa.string()),
        ("AllocatedMethodId", pa.string()),
        ("AllocatedResourceId", pa.string()),
        ("AllocatedResourceName", pa.string()),
        ("AllocatedTags", pa.string()),
        ("BilledCost", MONEY),
        ("BillingAccountId", pa.string()),
        ("BillingAccountName", pa.string()),
        ("BillingCurrency", pa.string()),
        ("BillingPeriodEnd", TIME),
        ("BillingPeriodStart", TIME),
        ("ChargeCategory", pa.string()),
        ("ChargeClass", pa.string()),
        ("ChargeDescription", pa.string()),
        ("ChargeFrequency", pa.string()),
        ("ChargePeriodEnd", TIME),
        ("ChargePeriodStart", TIME),
        ("CommitmentDiscountStatus", pa.string()),
        ("ConsumedQuantity", SECONDS),
        ("ConsumedUnit", pa.string()),
        ("ContractedCost", MONEY),
        ("ContractedUnitPrice", UNIT_PRICE),
        ("EffectiveCost", MONEY),
        ("HostProviderName", pa.string()),
        ("InvoiceId", pa.string()),
        ("InvoiceIssuerName", pa.string()),
        ("ListCost", MONEY),
        ("ListUnitPrice", UNIT_PRICE),
        ("PricingCategory", pa.string()),
        ("PricingQuantity", HOURS),
        ("PricingUnit", pa.string()),
        ("RegionId", pa.string()),
        ("RegionName", pa.string()),
        ("ResourceId", pa.string()),
        ("ResourceName", pa.string()),
        ("ResourceType", pa.string()),
        ("ServiceCategory", pa.string()),
        ("ServiceName", pa.string()),
        ("ServiceProviderName", pa.string()),
        ("ServiceSubcategory", pa.string()),
        ("SkuId", pa.string()),
        ("SkuMeter", pa.string()),
        ("SkuPriceDetails", pa.string()),
        ("SkuPriceId", pa.string()),
        ("SubAccountId", pa.string()),
        ("SubAccountName", pa.string()),
        ("SubAccountType", pa.string()),
        ("Tags", pa.string()),
        ("x_EstimateStatus", pa.string()),
        ("x_EstimatedCost", MONEY),
        ("x_Kind", pa.string()),
        ("x_TokensRead", pa.int64()),
    ],
)
"""BillingAccountId is the output and SubAccountId the run: the ledger is Longhaul's own, and knows no account of the
provider's. InvoiceId and CommitmentDiscountStatus are always null, as no invoice is known and nothing was committed to;
rules about other columns refer to them."""

UNPRICED = (
    "ConsumedQuantity",
    "ConsumedUnit",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "SkuId",
    "SkuMeter",
)
"""Null where SkuPriceId is: what was used of an SKU that has no price cannot be told. `x_TokensRead` still can."""
NEW_IN_1_3 = (
    "AllocatedMethodDetails",
    "AllocatedMethodId",
    "AllocatedResourceId",
    "AllocatedResourceName",
    "AllocatedTags",
    "HostProviderName",
    "ServiceProviderName",
)
GONE_IN_1_3 = ("ProviderName", "PublisherName")
"""Deprecated by 1.3, and removed by 1.4."""

CHARGES = f"""
    WITH runs AS (
        SELECT run_id, any_value(model_id) AS model_id, any_value(currency) AS run_currency FROM jobs GROUP BY run_id
    )
    SELECT charges.*, model_id, run_currency FROM ({reconciling.COSTS}) AS charges LEFT JOIN runs USING (run_id)
    WHERE $run IS NULL OR run_id = $run
    ORDER BY run_id, actor_id, started_at, kind, document_id, attempt, ordinal
"""


class FocusVersion(StrEnum):
    """Of the specification."""

    V1_2 = "1.2"
    V1_3 = "1.3"


def export(
    warehouse: Warehouse,
    target_uri: str,
    run_id: str | None = None,
    reconciliation: Reconciliation | None = None,
    version: FocusVersion = FocusVersion.V1_3,
) -> int:
    """Write the charges of all runs, or of one, as CSV if the name ends in `.csv`, else as Parquet; returns their
    number."""
    table = charges(warehouse, run_id, reconciliation)
    table = _of_1_2(table) if version is FocusVersion.V1_2 else table
    table = table.replace_schema_metadata({"DataGenerator": f"{NAME} {VERSION}", "FocusVersion": str(version)})
    if target_uri.lower().endswith(".csv"):
        objects.publish(target_uri, _csv(table))
    else:
        objects.publish_table(target_uri, table)
    return int(table.num_rows)


def charges(warehouse: Warehouse, run_id: str | None = None, reconciliation: Reconciliation | None = None) -> pa.Table:
    """A row per row of `costs`, with COLUMNS."""
    rows = warehouse.sql(CHARGES, run=run_id)
    assert rows is not None, "a query has rows"
    ratios = iter(_ratios(rows))
    written = [
        pa.RecordBatch.from_pylist(
            [_charge(row, next(ratios), warehouse.uri, reconciliation) for row in batch.to_pylist()], COLUMNS
        )
        for batch in rows.to_batches(max_chunksize=ROWS_AT_ONCE)
    ]
    return pa.Table.from_batches(written, COLUMNS)


def _of_1_2(table: pa.Table) -> pa.Table:
    for name in GONE_IN_1_3:
        table = table.append_column(name, pa.repeat(pa.scalar(NAME), table.num_rows))
    table = table.rename_columns([f"x_{name}" if name in NEW_IN_1_3 else name for name in table.column_names])
    return table.select(sorted(table.column_names, key=lambda name: (name.startswith("x_"), name)))


def _ratios(rows: pa.Table) -> list[Decimal | None]:
    """Each row's part of its actor's seconds; those of an actor sum to 1. None for an actor without any."""
    origins: dict[tuple[Any, ...], list[tuple[int, int]]] = defaultdict(list)
    for place, row in enumerate(rows.select(["run_id", "actor_id", "device_seconds"]).to_pylist()):
        microseconds = int((row["device_seconds"] or Decimal(0)) / MICROSECOND)
        origins[row["run_id"], row["actor_id"]].append((place, microseconds))
    ratios: list[Decimal | None] = [None] * rows.num_rows
    for origin in origins.values():
        places, weights = zip(*origin, strict=True)
        if any(weights):
            for place, ratio in zip(places, proportioned(RATIO_STEPS, weights), strict=True):
                ratios[place] = amount_of(ratio, RATIO_DIGITS)
    return ratios


def _charge(row: Row, ratio: Decimal | None, account: str, reconciliation: Reconciliation | None) -> dict[str, Any]:
    scaled = reconciliation.charge(row) if reconciliation else None
    cost = row["cost"] or Decimal(0)
    billed = scaled.cost if scaled else cost
    status = "reconciled" if scaled and scaled.reconciled else "estimate"
    currency = row["currency"] or row["run_currency"] or NO_CURRENCY
    run = row["run_id"]
    return {
        **_allocation(row, ratio, scaled, currency),
        "BilledCost": billed,
        "BillingAccountId": account,
        "BillingCurrency": currency,
        "ChargeCategory": "Usage",
        "ChargeDescription": _description(row, status),
        "ChargeFrequency": "Usage-Based",
        "EffectiveCost": billed,
        "HostProviderName": row.get("provider") or NAME,
        "InvoiceIssuerName": NAME,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": NAME,
        "ServiceProviderName": NAME,
        "ServiceSubcategory": "Natural Language Processing",
        "SubAccountId": run,
        "SubAccountName": run,
        "SubAccountType": "Run",
        **_period(row),
        **_pricing(row, cost),
        **_resource(row),
        "Tags": _tags(
            run_id=run,
            document_id=row["document_id"],
            kind=row["kind"],
            outcome=row["outcome"],
            actor_id=row["actor_id"] or None,
            model=row["model_id"],
        ),
        "x_EstimateStatus": status,
        "x_EstimatedCost": cost,
        "x_Kind": row["kind"],
        "x_TokensRead": row["tokens_read"],
    }


def _allocation(row: Row, ratio: Decimal | None, scaled: Charge | None, currency: str) -> dict[str, Any]:
    """How the row came to be: its part of the actor's time or, once reconciled, of each day's bill."""
    document = row["document_id"]
    if scaled and scaled.shares:
        elements = [
            _element(share.ratio, currency, share.metered, f', "x_Day": "{share.day}"') for share in scaled.shares
        ]
    elif ratio is not None:
        elements = [_element(ratio, f"{_device_unit(row)}-Seconds", row["device_seconds"])]
    else:
        elements = []
    return {
        "AllocatedMethodDetails": f'{{"Elements": [{", ".join(elements)}]}}' if elements else None,
        "AllocatedMethodId": reconciling.METHOD_ID if scaled and scaled.shares else METHOD_ID,
        # FOCUS requires null for the unallocated rest of an origin charge.
        "AllocatedResourceId": document,
        "AllocatedResourceName": document,
        "AllocatedTags": _tags(attempt=row["attempt"], source_etag=row["source_etag"] or None) if document else None,
    }


def _element(ratio: Decimal, unit: str, quantity: Decimal, more: str = "") -> str:
    """JSON with exact numbers, which the json module would turn into floats."""
    return f'{{"AllocatedRatio": {ratio:f}, "UsageUnit": "{unit}", "UsageQuantity": {quantity:f}{more}}}'


def _period(row: Row) -> dict[str, datetime]:
    start, end = reconciling.span(row)
    start = start.replace(microsecond=0)
    # The end is exclusive, and no charge lasts no time.
    end = max(end.replace(microsecond=0) + SECOND * bool(end.microsecond), start + SECOND)
    month = datetime(start.year, start.month, 1, tzinfo=UTC)
    return {
        "BillingPeriodEnd": (month + timedelta(days=31)).replace(day=1),
        "BillingPeriodStart": month,
        "ChargePeriodEnd": end,
        "ChargePeriodStart": start,
    }


def _pricing(row: Row, cost: Decimal) -> dict[str, Any]:
    """The columns on usage and on its list and contracted cost."""
    seconds = row["device_seconds"] or Decimal(0)
    hours = EXACT.divide(seconds, Decimal(SECONDS_PER_HOUR)).quantize(HOUR_STEP, context=EXACT)
    price = _hour(row, "price_per")
    instance = row.get("instance_type")
    sku = instance or row["device_type"]
    if price is None or not sku:
        return dict.fromkeys(UNPRICED) | {"ContractedCost": cost, "ListCost": cost}
    list_price = _hour(row, "on_demand_price_per")
    list_price = price if list_price is None else list_price
    return {
        "ConsumedQuantity": seconds,
        "ConsumedUnit": f"{_device_unit(row)}-Seconds",
        "ContractedCost": _product(hours, price),
        "ContractedUnitPrice": price,
        "ListCost": _product(hours, list_price),
        "ListUnitPrice": list_price,
        "PricingCategory": CATEGORIES.get(row.get("market") or "", "Standard"),
        "PricingQuantity": hours,
        "PricingUnit": "Hours",
        "SkuId": sku,
        "SkuMeter": "Device Time",
        "SkuPriceDetails": _tags(InstanceType=instance) if instance else None,
        "SkuPriceId": "/".join(filter(None, [sku, *(row.get(name) for name in ("provider", "region", "market"))])),
    }


def _hour(row: Row, prefix: str) -> Decimal | None:
    """Outputs of a version that kept the price of a second alone have what it comes to."""
    hour, second = row.get(f"{prefix}_hour"), row.get(f"{prefix}_second")
    return hour if hour is not None or second is None else second * SECONDS_PER_HOUR


def _product(hours: Decimal, price: Decimal) -> Decimal:
    return EXACT.multiply(hours, price).quantize(COST_STEP, context=EXACT)


def _resource(row: Row) -> dict[str, str | None]:
    """The cloud's machine if its id is known, else the actor or node that was metered."""
    actor, instance = row["actor_id"] or None, row.get("instance_id") or None
    region = row.get("region") or None
    metered = ("Node" if row["kind"] == "node" else "Actor") if actor else None
    return {
        "RegionId": region,
        "RegionName": region,
        "ResourceId": instance or actor,
        "ResourceName": (row["node"] or None) if actor else None,
        "ResourceType": "Instance" if instance else metered,
    }


def _description(row: Row, status: str) -> str:
    if row["document_id"] is None:
        about = "Time of a node that holds no actor" if row["kind"] == "node" else f"Time of an actor: {row['kind']}"
    else:
        what = "Work lost" if row["kind"] == "wasted" else "Reading"
        about = f"{what}: {row['document_id']}, attempt {row['attempt'] or 1}, {row['outcome'] or 'finished'}"
    return f"{about} ({status})"


def _device_unit(row: Row) -> str:
    return {"cpu": "CPU", NODE: "Node"}.get(row["device_type"], "GPU")


def _tags(**tags: Any) -> str:
    return json.dumps({name: value for name, value in tags.items() if value is not None}, ensure_ascii=False)


def _csv(table: pa.Table) -> bytes:
    """As FOCUS writes values: times with a Z, decimals without an exponent, nothing for null."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    for batch in table.to_batches(max_chunksize=ROWS_AT_ONCE):
        writer.writerows(_cells(row.values()) for row in batch.to_pylist())
    return text.getvalue().encode()


def _cells(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, datetime):
            yield f"{value:%Y-%m-%dT%H:%M:%SZ}"
        else:
            yield f"{value:f}" if isinstance(value, Decimal) else value
