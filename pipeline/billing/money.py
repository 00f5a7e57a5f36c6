"""Money and time as integers of their last digit, so that what is split sums exactly to the whole.

Money adds up exactly: seconds have 6 decimals, prices per second 12, so that every product has at most 18
and no cost is ever rounded. Ratios are: those of money to 12 decimals, shares to 6.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from decimal import Context, Decimal

import pyarrow as pa

SECONDS = pa.decimal128(18, 6)
PRICE_PER_SECOND = pa.decimal128(18, 12)
PRICE_PER_HOUR = pa.decimal128(18, 10)
"""A price per second of 12 decimals comes to 10 of an hour's; prices are given with 9 at most."""
MONEY = pa.decimal128(38, 18)
TIME = pa.timestamp("us", tz="UTC")

MICROSECOND = Decimal("0.000001")
PRICE_STEP = Decimal("0.000000000001")
RATIO_STEP = Decimal("1e-12")
MILLION = 1_000_000

EXACT = Context(prec=76)
"""Decimal's own 28 digits would round large sums."""


def units(amount: Decimal) -> int:
    """An amount as a number of units of MONEY's last digit; further digits are rounded."""
    return int(EXACT.scaleb(amount, MONEY.scale).to_integral_value(context=EXACT))


def amount_of(number: int, digits: int = MONEY.scale) -> Decimal:
    """The inverse of `units`: an exact amount from a number of units of the last of `digits` decimals."""
    return EXACT.scaleb(Decimal(number), -digits)


def proportioned(amount: int, weights: Sequence[int]) -> list[int]:
    """Integer parts in proportion to the weights, which sum to the amount exactly."""
    shares: dict[Hashable, int] = dict(enumerate(weights))
    parts = split(amount, shares)
    return [parts[place] for place in shares]


def rounded_sum(amounts: Iterable[Decimal]) -> Decimal:
    """The sum of amounts, each rounded to the digits of MONEY first."""
    return amount_of(sum(map(units, amounts)))


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """The sum of amounts with all their digits, which on a bill may be more than MONEY has."""
    total = Decimal(0)
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def split(amount: int, shares: Mapping[Hashable, int]) -> dict[Hashable, int]:
    """Integer parts of `amount` in proportion to `shares`, which sum to it exactly; the largest remainders round up."""
    total = sum(shares.values())
    assert total > 0, "time must go to somebody"
    parts = {key: amount * share // total for key, share in shares.items()}
    by_remainder = sorted(shares, key=lambda key: amount * shares[key] % total, reverse=True)
    for key in by_remainder[: amount - sum(parts.values())]:
        parts[key] += 1
    return parts


def per(amount: Decimal, number: int | Decimal | None, unit: int = 1) -> Decimal | None:
    """The amount per `unit` of the number, to 12 decimals; None if the number is 0 or None."""
    return (amount * unit / number).quantize(RATIO_STEP) if number else None


def part(some: Decimal, whole: Decimal) -> float | None:
    """A share between 0 and 1, to 6 decimals; None if the whole is 0."""
    return min(1.0, round(float(some / whole), 6)) if whole else None
