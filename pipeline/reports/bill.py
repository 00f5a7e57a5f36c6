"""A provider's bill as CSV: what each machine cost on each day."""

import csv
import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

from configs.errors import ConfigError
from pipeline.billing.money import units
from pipeline.storage import objects

GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Layout:
    """The columns of one format of bill."""

    name: str
    day: str
    cost: str
    currency: str
    resources: tuple[str, ...]
    """Columns that may name the machine; optional, as is the currency."""


LAYOUTS = (
    Layout("FOCUS", "ChargePeriodStart", "BilledCost", "BillingCurrency", ("ResourceId", "ResourceName")),
    Layout(
        "AWS CUR",
        "lineItem/UsageStartDate",
        "lineItem/UnblendedCost",
        "lineItem/CurrencyCode",
        ("lineItem/ResourceId",),
    ),
    Layout(
        "AWS CUR 2.0",
        "line_item_usage_start_date",
        "line_item_unblended_cost",
        "line_item_currency_code",
        ("line_item_resource_id",),
    ),
    Layout("plain", "date", "cost", "currency", ("node", "resource_id")),
)
"""Known formats, compared without case; the first that matches is used."""


@dataclass(frozen=True)
class Line:
    """A bill's cost of a resource, on the day when the charge began."""

    day: date
    cost: Decimal
    names: frozenset[str]
    """Names of the resource, in lower case."""


@dataclass(frozen=True)
class Bill:
    """What a provider charged, by day and resource."""

    currency: str | None
    lines: list[Line]


def read_bill(path: str) -> Bill:
    """Read a CSV bill, gzip too. Raises ConfigError that names the expected and the actual columns."""
    reader = csv.reader(io.StringIO(_text(path), newline=""))
    try:
        header = [name.strip() for name in next(reader, [])]
        layout = _layout(path, header)
        places = {name.casefold(): place for place, name in reversed(list(enumerate(header)))}
        currencies: set[str] = set()
        lines = []
        for cells in reader:
            if any(cell.strip() for cell in cells):
                values = {name: cells[place].strip() for name, place in places.items() if place < len(cells)}
                lines.append(_line(f"{path}, line {reader.line_num}", layout, values))
                currencies.add(values.get(layout.currency.casefold(), "").upper())
    except csv.Error as error:
        raise ConfigError(f"bill {path}: is no CSV ({error}); give the provider's bill as CSV") from error
    currencies.discard("")
    if len(currencies) > 1:
        raise ConfigError(f"bill {path}: is in {', '.join(sorted(currencies))}; give a bill in one currency")
    return Bill(next(iter(currencies), None), lines)


def _text(path: str) -> str:
    try:
        data = objects.read_bytes(path)
        if data.startswith(GZIP):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"bill {path}: is no text in UTF-8; give the provider's bill as CSV") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"bill {path}: cannot be read ({reason}); give the path of a CSV file") from error


def _layout(path: str, header: Sequence[str]) -> Layout:
    found = {name.casefold() for name in header}
    for layout in LAYOUTS:
        if {layout.day.casefold(), layout.cost.casefold()} <= found:
            return layout
    looked_for = "; ".join(f"{layout.day} and {layout.cost} ({layout.name})" for layout in LAYOUTS)
    raise ConfigError(
        f"bill {path}: none of the known pairs of columns is there: {looked_for}. "
        f"Found: {', '.join(header) or 'nothing'}. Rename two columns to date and cost"
    )


def _line(where: str, layout: Layout, values: Mapping[str, str]) -> Line:
    day, cost = values.get(layout.day.casefold(), ""), values.get(layout.cost.casefold(), "")
    try:
        began = datetime.fromisoformat(day)
    except ValueError as error:
        raise ConfigError(f"bill {where}: {layout.day} is {day!r}; expected a date such as 2026-03-01") from error
    try:
        amount = Decimal(cost)
        units(amount)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise ConfigError(f"bill {where}: {layout.cost} is {cost!r}; expected a number such as 12.34") from error
    if began.tzinfo is not None:
        began = began.astimezone(UTC)
    names = [values.get(name.casefold(), "").casefold() for name in layout.resources]
    # Of an ARN or a path the machine's name is the last part.
    return Line(began.date(), amount, frozenset({*names, *(name.rpartition("/")[2] for name in names)} - {""}))
