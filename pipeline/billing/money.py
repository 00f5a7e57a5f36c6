"""Money as whole units of its last digit, so that what is spread sums exactly to what there was."""

from collections.abc import Hashable, Iterable, Sequence
from decimal import Context, Decimal

from pipeline.billing.metering import split
from pipeline.schemas.tables import MONEY

EXACT = Context(prec=76)
"""Decimal's own 28 digits would round large sums."""


def units(amount: Decimal) -> int:
    """Of the last digit of MONEY; digits beyond it are rounded."""
    return int(EXACT.scaleb(amount, MONEY.scale).to_integral_value(context=EXACT))


def amount_of(number: int, digits: int = MONEY.scale) -> Decimal:
    return EXACT.scaleb(Decimal(number), -digits)


def proportioned(amount: int, weights: Sequence[int]) -> list[int]:
    """Whole parts in proportion to the weights, which sum to the amount exactly."""
    shares: dict[Hashable, int] = dict(enumerate(weights))
    parts = split(amount, shares)
    return [parts[place] for place in shares]


def rounded_sum(amounts: Iterable[Decimal]) -> Decimal:
    """Each is rounded to the digits of MONEY first."""
    return amount_of(sum(map(units, amounts)))


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """With all digits there are, which on a bill may be more than MONEY has."""
    total = Decimal(0)
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total
