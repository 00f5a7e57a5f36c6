"""Metered costs beside the provider's bill, day by day, and every cost scaled so that they sum to it.

The rule, which a FOCUS export names `longhaul-proportional-to-metered-cost`:

1. A cost counts on the days (UTC) that it lasted, by its time on each.
2. Where the bill names every node that was metered on a day, by its instance's id or its name, what it holds for a node
   goes to that node's costs, in proportion to them.
3. All else that it holds for the day goes to all costs of the day, in proportion to them: machines without an actor
   (the head node, readers), idle machines, and whatever price differs from what the meters were told. That is whole
   nodes, spread; `unattributed` says how much it is.
4. A day without a metered actor has nothing to spread over: it appears in the comparison only. A day without a line in
   the bill stays an estimate.

If all costs of a day or node are zero, their seconds are used instead. The bill should contain this output's machines
only, so filter an account's bill first: everything in it is spread.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from configs.errors import ConfigError
from pipeline.billing.money import EXACT, MICROSECOND, amount_of, exact_sum, proportioned, rounded_sum, units
from pipeline.reports.bill import Bill, Line, read_bill
from pipeline.reports.warehouse import Warehouse
from pipeline.schemas.tables import Row

METHOD_ID = "longhaul-proportional-to-metered-cost"
RATIO_DIGITS = 12
RATIO_STEPS = 10**RATIO_DIGITS
RATIO_STEP = Decimal("1e-12")
DAY = timedelta(days=1)

KEY = ("run_id", "kind", "document_id", "source_etag", "attempt", "actor_id", "ordinal")
COSTS = f"""
    SELECT *, row_number() OVER (PARTITION BY {", ".join(KEY[:-1])} ORDER BY started_at, finished_at, cost) AS ordinal
    FROM costs
"""
"""Rows of `costs`, told apart by KEY."""
METERED = f"""
    SELECT {", ".join(KEY)}, node, instance_id, cost, device_seconds, currency, started_at, finished_at, dt
    FROM ({COSTS})
    ORDER BY {", ".join(KEY)}
"""

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Day:
    """One day of the comparison; for a single run, the run's part of it."""

    day: date
    estimate: Decimal
    bill: Decimal
    """Zero where the bill has no line for the day; there `factor` is None too."""
    difference: Decimal
    """The bill minus the estimate."""
    factor: Decimal | None
    """None where there is no bill, or no estimate to multiply."""
    unattributed: Decimal
    """The part of the bill for resources without a metered actor. If the bill names no nodes, all that exceeds the
    estimate."""


@dataclass(frozen=True)
class Share:
    """A cost's part of one day's bill."""

    day: date
    metered: Decimal
    """The metered cost."""
    ratio: Decimal
    """Of the day's bill, 12 decimals; those of a day sum to 1."""


@dataclass(frozen=True)
class Charge:
    """A row of `costs`, scaled."""

    cost: Decimal
    reconciled: bool
    """Whether the bill has a line for all its days."""
    shares: tuple[Share, ...]
    """Of each of its days that the bill holds."""


@dataclass(frozen=True)
class Reconciliation:
    """The days in order, and each row of `costs` scaled to the bill."""

    currency: str
    days: list[Day]
    charges: Mapping[Key, Charge]

    @property
    def estimate(self) -> Decimal:
        return rounded_sum(day.estimate for day in self.days)

    @property
    def bill(self) -> Decimal:
        return rounded_sum(day.bill for day in self.days)

    @property
    def difference(self) -> Decimal:
        return EXACT.subtract(self.bill, self.estimate)

    @property
    def unattributed(self) -> Decimal:
        """The part of the bill for nodes without an actor."""
        return rounded_sum(day.unattributed for day in self.days)

    def charge(self, row: Row) -> Charge | None:
        """Of a row of COSTS."""
        return self.charges.get(key(row))


def reconcile(warehouse: Warehouse, bill_path: str, run_id: str | None = None) -> Reconciliation:
    """Compare an output with a bill: CSV, gzip too, in one of the layouts of `pipeline.reports.bill`.

    With `run_id` the bill is still spread over all runs of the output, which shared the machines; days are then that
    run's part. Raises ConfigError for a bill that cannot be read or compared.
    """
    bill = read_bill(bill_path)
    rows = warehouse.rows(METERED)
    currency = _currency(bill_path, bill, rows)
    of_days: dict[date, list[_Part]] = defaultdict(list)
    for row in rows:
        for part in _parts(row):
            of_days[part.day].append(part)
    lines: dict[date, list[Line]] = defaultdict(list)
    for line in bill.lines:
        lines[line.day].append(line)
    days = []
    for day in sorted(of_days.keys() | lines.keys()):
        parts = of_days[day]
        unmetered = _spread(parts, lines[day]) if day in lines else 0
        mine = [part for part in parts if run_id in (None, part.key[0])]
        if mine or run_id is None:
            days.append(_day(day, mine, 0 if run_id else unmetered))
    return Reconciliation(currency, days, _charges(part for parts in of_days.values() for part in parts))


def key(row: Row) -> Key:
    """What tells a row of `costs` from all others."""
    return tuple(row[name] for name in KEY)


def span(row: Row) -> tuple[datetime, datetime]:
    """When a row of `costs` began and ended; its partition's day where that is not known."""
    start, end = row["started_at"], row["finished_at"]
    if start is None or end is None:
        start = start or end or datetime.combine(row["dt"], time(), UTC)
        end = datetime.combine(start.date(), time(), UTC) + DAY
    return start, max(start, end)


def _currency(path: str, bill: Bill, rows: Iterable[Row]) -> str:
    metered = {row["currency"] for row in rows if row["currency"]}
    if len(metered) > 1:
        raise ConfigError(f"costs are in {', '.join(sorted(metered))}; a bill can be compared with one currency only")
    known = next(iter(metered), None)
    if bill.currency and known and bill.currency != known:
        raise ConfigError(
            f"bill {path}: is in {bill.currency}, costs are in {known}; give prices and a bill in one currency"
        )
    return known or bill.currency or "USD"


@dataclass
class _Part:
    """The part of a row of `costs` that falls on one day."""

    key: Key
    day: date
    node: str
    """The node's instance id if known, else its name, so that two pods on one machine are one node."""
    names: tuple[str, ...]
    """Names that a bill may have for the node."""
    metered: int
    microseconds: int
    billed: int | None = None
    unattributed: int = 0
    """Of `billed`."""
    ratio: int = 0
    """In steps of the last digit of a ratio."""


def _parts(row: Row) -> Iterator[_Part]:
    """A row by its days."""
    start, end = span(row)
    on_days: dict[date, int] = {}
    while start < end:
        midnight = datetime.combine(start.date(), time(), UTC) + DAY
        on_days[start.date()] = (min(end, midnight) - start) // timedelta(microseconds=1)
        start = midnight
    on_days = on_days or {start.date(): 1}
    lasted = list(on_days.values())
    metered = proportioned(units(row["cost"] or Decimal(0)), lasted)
    seconds = proportioned(int((row["device_seconds"] or Decimal(0)) / MICROSECOND), lasted)
    name, instance = ((row[column] or "").casefold() for column in ("node", "instance_id"))
    # A bill has the machine's name, a node may have the domain too.
    names = tuple(filter(None, (instance, name, name.partition(".")[0])))
    for day, cost, microseconds in zip(on_days, metered, seconds, strict=True):
        yield _Part(key(row), day, instance or name, names, cost, microseconds)


def _spread(parts: Sequence[_Part], lines: Sequence[Line]) -> int:
    """Give each part its share of the day's bill. Returns the rest that belongs to none of them."""
    total = units(exact_sum(line.cost for line in lines))
    weights = _weights(parts)
    if not any(weights):
        return total
    of_nodes = _of_nodes(parts, lines)
    rest = total - sum(of_nodes.values())
    # If the bill names no nodes, only the excess over the metered costs certainly belongs to other nodes.
    beyond = rest if of_nodes else max(0, total - sum(part.metered for part in parts))
    for part, billed, unattributed in zip(
        parts, proportioned(rest, weights), proportioned(beyond, weights), strict=True
    ):
        part.billed, part.unattributed = billed, unattributed
    for node, of_node in of_nodes.items():
        on_node = [part for part in parts if part.node == node]
        for part, billed in zip(on_node, proportioned(of_node, _weights(on_node)), strict=True):
            part.billed = (part.billed or 0) + billed
    billed_weights = [part.billed or 0 for part in parts]
    # Credits can make a part negative, which has no ratio.
    fit = total > 0 and min(billed_weights) >= 0
    for part, ratio in zip(parts, proportioned(RATIO_STEPS, billed_weights if fit else weights), strict=True):
        part.ratio = ratio
    return 0


def _of_nodes(parts: Sequence[_Part], lines: Sequence[Line]) -> dict[str, int]:
    """The bill's cost of each node; empty unless it names all of them."""
    on_node: dict[str, list[_Part]] = defaultdict(list)
    for part in parts:
        on_node[part.node].append(part)
    names: dict[str, str] = {}
    for part in parts:
        for name in part.names:
            names.setdefault(name, part.node)
    costs: dict[str, list[Decimal]] = defaultdict(list)
    for line in lines:
        if node := next((names[name] for name in sorted(line.names) if name in names), ""):
            costs[node].append(line.cost)
    if costs.keys() != on_node.keys() or not all(any(_weights(of_node)) for of_node in on_node.values()):
        return {}
    return {node: units(exact_sum(amounts)) for node, amounts in costs.items()}


def _weights(parts: Sequence[_Part]) -> list[int]:
    """The metered costs as weights or, if they are all zero, the seconds."""
    metered = [part.metered for part in parts]
    return metered if any(metered) else [part.microseconds for part in parts]


def _day(day: date, parts: Sequence[_Part], unmetered: int) -> Day:
    metered = sum(part.metered for part in parts)
    in_bill = any(part.billed is not None for part in parts)
    billed = unmetered + sum(part.billed or 0 for part in parts)
    factor = (Decimal(billed) / metered).quantize(RATIO_STEP, context=EXACT) if in_bill and metered else None
    return Day(
        day,
        estimate=amount_of(metered),
        bill=amount_of(billed),
        difference=amount_of(billed - metered),
        factor=factor,
        unattributed=amount_of(unmetered + sum(part.unattributed for part in parts)),
    )


def _charges(parts: Iterable[_Part]) -> dict[Key, Charge]:
    of_rows: dict[Key, list[_Part]] = defaultdict(list)
    for part in parts:
        of_rows[part.key].append(part)
    return {key: _charge(of_row) for key, of_row in of_rows.items()}


def _charge(parts: Sequence[_Part]) -> Charge:
    in_bill = [part for part in parts if part.billed is not None]
    return Charge(
        amount_of(sum(part.metered if part.billed is None else part.billed for part in parts)),
        len(in_bill) == len(parts),
        tuple(Share(part.day, amount_of(part.metered), amount_of(part.ratio, RATIO_DIGITS)) for part in in_bill),
    )
